"""Every contender on the same arrivals, and what came of it.

The contenders take turns, batch by batch, so that the workload is read once however many there
are, and memory does not grow with its length (queues that never drain excepted).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from balancers import Endpoint
from balancers.simulation.contenders import Contender
from balancers.simulation.engine import Batch, Run
from balancers.simulation.measures import MEASURES
from balancers.simulation.servers import ServerFactory
from balancers.simulation.workload import Workload

__all__ = ["Comparison", "EndpointResult", "Progress", "Result", "capacity", "compare"]

Progress = Callable[[int], object]
"""Called with the number of requests played so far."""


@dataclass(frozen=True, slots=True)
class EndpointResult:
    """What one endpoint got: requests, and seconds of work."""

    id: str
    weight: float
    picks: int
    busy: float


@dataclass(frozen=True, slots=True)
class Result:
    """One contender's run.

    Attributes:
        name: The contender.
        trouble: Why it did not run to the end, or None; then nothing below is meaningful.
        requests: Arrivals.
        measures: By name, see ``MEASURES``; None where a number does not exist.
        endpoints: In membership order, those that joined later after them.
        steps: The distribution of latencies: (seconds, how many were no slower), rising.
        seconds: Simulated seconds from the start to the last arrival or end.
        elapsed: Real seconds it took, by the timer given, or None. Not part of any file, which
            would then differ from run to run.
    """

    name: str
    trouble: str | None
    requests: int
    measures: dict[str, float | None]
    endpoints: tuple[EndpointResult, ...]
    steps: tuple[tuple[float, int], ...]
    seconds: float
    elapsed: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All results, and what they are the results of.

    Attributes:
        workload: ``Workload.facts()``.
        title: ``Workload.title()``.
        note: ``Workload.note()``.
        setting: How the endpoints were simulated, ready for JSON.
        load: Offered load: work that arrived a second over what the endpoints can do a second.
        results: In the order of the contenders.
    """

    workload: dict[str, object]
    title: str
    note: str
    setting: dict[str, object]
    load: float
    results: tuple[Result, ...]


def capacity(endpoints: Iterable[Endpoint], workers: int = 1) -> float:
    """Return the seconds of work the endpoints can do a second."""
    return workers * math.fsum(endpoint.weight for endpoint in endpoints)


def compare(
    workload: Workload,
    endpoints: Sequence[Endpoint],
    contenders: Sequence[Contender],
    servers: ServerFactory,
    *,
    capacity: float,
    setting: dict[str, object] | None = None,
    seed: int = 0,
    clients: int = 1,
    progress: Progress | None = None,
    timer: Callable[[], float] | None = None,
) -> Comparison:
    """Run every contender on the same arrivals.

    A contender that raises is dropped with its reason; the others go on.

    Args:
        workload: The arrivals.
        endpoints: The membership at the start; weights are speeds.
        contenders: What to run.
        servers: Factory of the models behind the endpoints, e.g. ``fifo(workers)``.
        capacity: Seconds of work the endpoints can do a second; for the offered load.
        setting: Recorded in the result.
        seed: Of the contenders' own generators.
        clients: Independent copies of each policy; the workload says who sends what.
        progress: Told after every batch.
        timer: A real clock, to measure speed by.

    Runtime complexity: O(requests · contenders · log open leases).
    """
    members = tuple(endpoints)
    lanes = [_Lane(each, members, servers, seed, clients, timer) for each in contenders]
    played, work, last = 0, 0.0, 0.0
    for batch in workload.batches():
        for lane in lanes:
            lane.guard(partial(_feed, batch))
        played += len(batch.times)
        work += math.fsum(batch.demands)
        last = batch.times[-1]
        if progress is not None:
            progress(played)
    for lane in lanes:
        lane.guard(_finish)
    return Comparison(
        workload=workload.facts(),
        title=workload.title(),
        note=workload.note(),
        setting=dict(setting or {}),
        load=work / (last * capacity) if last * capacity > 0.0 else 0.0,
        results=tuple(lane.result(played) for lane in lanes),
    )


class _Lane:
    """One contender's run, with its trouble and its stopwatch."""

    __slots__ = ("_elapsed", "_name", "_run", "_timer", "_trouble")

    def __init__(
        self,
        contender: Contender,
        endpoints: tuple[Endpoint, ...],
        servers: ServerFactory,
        seed: int,
        clients: int,
        timer: Callable[[], float] | None,
    ) -> None:
        self._name = contender.name
        self._timer = timer
        self._elapsed = 0.0
        self._trouble: str | None = None
        self._run: Run | None = None
        try:
            self._run = Run(
                contender.build,
                endpoints,
                servers,
                seed=f"{seed}/policy/{contender.name}",
                keyed=contender.keyed,
                key_kind=contender.key_kind,
                clients=1 if contender.oracle else clients,
            )
        except Exception as error:  # a policy may refuse this membership
            self._trouble = f"{type(error).__name__}: {error}"

    def guard(self, step: Callable[[Run], object]) -> None:
        """Do one step of the run, or note why it cannot go on."""
        if self._run is None:
            return
        started = self._timer() if self._timer else 0.0
        try:
            step(self._run)
        except Exception as error:  # the policy is not ours
            self._trouble = f"{type(error).__name__}: {error}"
            self._run = None
        if self._timer:
            self._elapsed += self._timer() - started

    def result(self, requests: int) -> Result:
        """Return what came of it."""
        run = self._run
        elapsed = self._elapsed if self._timer else None
        if run is None:
            return Result(self._name, self._trouble, requests, {}, (), (), 0.0, elapsed)
        weights = {endpoint.id: endpoint.weight for endpoint in run.stage.endpoints}
        return Result(
            name=self._name,
            trouble=None,
            requests=requests,
            measures={measure.name: measure.of(run) for measure in MEASURES},
            endpoints=tuple(
                EndpointResult(id_, weights.get(id_, 0.0), server.picks, server.busy)
                for id_, server in run.servers.items()
            ),
            steps=tuple(run.histogram.steps()),
            seconds=run.ended,
            elapsed=elapsed,
        )


def _feed(batch: Batch, run: Run) -> None:
    run.feed(batch)


def _finish(run: Run) -> None:
    run.finish()
    run.close()
