"""The event loop: one policy, its servers, and time that moves only when told.

Arrivals come in batches, in order of time. What happens between two arrivals waits in one heap:
the ends of requests, and timers. Before an arrival is placed, everything due by then is settled,
so a policy sees exactly the leases that are open at that moment. At equal times an end precedes an
arrival, and of two ends the one that was scheduled first.

The loop never looks at the real clock and draws no random numbers; a run is a function of the
batches and of the stage's rng.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import repeat
from typing import Any, TypeAlias

from balancers import (
    Balancer,
    Endpoint,
    Key,
    NoEligibleEndpointError,
    NoEndpointError,
    Outcome,
    Pick,
)
from balancers.simulation.quantiles import LatencyHistogram
from balancers.simulation.servers import Reply, Server, ServerFactory

__all__ = ["Batch", "Build", "Run", "SimulatedClock", "Stage", "Timer"]

Timer: TypeAlias = Callable[[float], object]
"""Called with the simulated time it was set for."""


class SimulatedClock:
    """A clock that shows what the run last set: seconds from the start of the simulation."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the simulated time."""
        return self.now


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of the arrivals, as columns of equal length.

    Attributes:
        times: Seconds of simulated time, never falling, across batches too.
        keys: What each request is placed by; None for nothing.
        demands: Seconds of work at speed 1, > 0, drawn by request and not by endpoint, so that
            every policy meets the same work.
    """

    times: Sequence[float]
    keys: Sequence[Key | None]
    demands: Sequence[float]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the things on stage may use: policies, oracles, server models, scenarios.

    Attributes:
        endpoints: The membership at the start.
        clock: Simulated time.
        rng: The run's own generator, seeded by the run's name.
        servers: The models, by endpoint id. Oracles look here; ordinary policies do not.
        at: ``at(time, timer)`` calls ``timer(time)`` when simulated time gets there.
        complete: ``complete(ticket, outcome)`` ends a request whose model returned None.
        join: ``join(endpoint)`` puts a fresh server behind an endpoint about to be added.
    """

    endpoints: tuple[Endpoint, ...]
    clock: SimulatedClock
    rng: random.Random
    servers: Mapping[str, Server]
    at: Callable[[float, Timer], None]
    complete: Callable[[int, Outcome], None]
    join: Callable[[Endpoint], None]


Build: TypeAlias = Callable[[Stage], Balancer]

_SUCCESS = Outcome.SUCCESS


class Run:
    """One policy in front of its own copy of the servers.

    Invariants, between calls:
        1. ``started`` = ``settled`` + open leases (on the heap or in ``_held``).
        2. ``arrived`` = ``started`` + ``refused``.
        3. The histogram holds one latency for every lease that ended, or will end, in SUCCESS;
           ``failed`` counts the others.

    Attributes:
        ended: After ``finish``: simulated time of the last arrival or end.

    Args:
        build: Makes the policy from the stage.
        endpoints: The membership; weights are speeds, unless ``servers`` says otherwise.
        servers: Makes one model an endpoint.
        seed: Text or number; the same seed gives the same run, in every process.
        keyed: Whether the policy is handed the keys; one that ignores them is spared them.

    Runtime complexity: O(log open leases) a request, besides the policy's own.
    """

    __slots__ = (
        "_events",
        "_factory",
        "_held",
        "_keyed",
        "_records",
        "_serial",
        "_serve",
        "arrived",
        "balancer",
        "clock",
        "ended",
        "failed",
        "histogram",
        "refused",
        "servers",
        "settled",
        "stage",
        "started",
    )

    def __init__(
        self,
        build: Build,
        endpoints: tuple[Endpoint, ...],
        servers: ServerFactory,
        *,
        seed: str | int = 0,
        keyed: bool = True,
    ) -> None:
        self.clock = SimulatedClock()
        self._events: list[tuple[float, int, Any, Any]] = []  # (time, serial, lease, outcome)
        self._held: dict[int, tuple[Pick, float]] = {}
        self._records: list[float] = []
        self._serial = 0
        self._keyed = keyed
        self.histogram = LatencyHistogram()
        self.arrived = self.started = self.settled = self.refused = self.failed = 0
        self.ended = 0.0
        self.servers: dict[str, Server] = {}
        self.stage = Stage(
            endpoints=endpoints,
            clock=self.clock,
            rng=random.Random(seed),
            servers=self.servers,
            at=self.at,
            complete=self.complete,
            join=self.join,
        )
        self._factory = servers
        self._serve: dict[str, Callable[[float, float, Key | None, int], Reply | None]] = {}
        for endpoint in endpoints:
            self.join(endpoint)
        self.balancer = build(self.stage)

    def join(self, endpoint: Endpoint) -> None:
        """Put a fresh server behind ``endpoint``, before it is added to the policy.

        A server of the same id is forgotten; the requests it took still end.
        """
        server = self._factory(endpoint, self.stage)
        self.servers[endpoint.id] = server
        self._serve[endpoint.id] = server.serve

    def at(self, time: float, timer: Timer) -> None:
        """Call ``timer(time)`` when simulated time reaches ``time``; not before now.

        Raises:
            ValueError: If ``time`` is in the past or no number.
        """
        if not time >= self.clock.now:
            raise ValueError(f"a timer must not be set before now ({self.clock.now}), at {time}")
        self._serial += 1
        heappush(self._events, (time, self._serial, None, timer))

    def complete(self, ticket: int, outcome: Outcome = _SUCCESS) -> None:
        """End, now, a request whose server returned None.

        Raises:
            KeyError: If the ticket is not open.
        """
        lease, arrived = self._held.pop(ticket)
        lease.done(outcome)
        self.settled += 1
        if outcome is _SUCCESS:
            self._records.append(self.clock.now - arrived)
        else:
            self.failed += 1

    def feed(self, batch: Batch) -> None:
        """Play a batch of arrivals.

        Whatever the policy raises, other than "nobody is there", passes through and leaves the
        run unusable.
        """
        # Every name used a million times is local; the tuple on the heap is the one allocation
        # a request costs beside its lease.
        events, clock, held, serve = self._events, self.clock, self._held, self._serve
        pick, record = self.balancer.pick, self._records.append
        started = settled = refused = failed = 0
        keys = batch.keys if self._keyed else repeat(None, len(batch.times))
        for now, key, demand in zip(batch.times, keys, batch.demands, strict=True):
            while events and events[0][0] <= now:
                clock.now, _, lease, what = heappop(events)
                if lease is None:
                    what(clock.now)
                else:
                    settled += lease.done(what)
            clock.now = now
            try:
                lease = pick(key)
            except (NoEligibleEndpointError, NoEndpointError):
                refused += 1
                continue
            started += 1
            # Models and timers draw serials too, so the counter lives on the instance.
            self._serial = serial = self._serial + 1
            reply = serve[lease.endpoint.id](now, demand, key, serial)
            if reply is None:
                held[serial] = lease, now
                continue
            end, outcome = reply
            heappush(events, (end, serial, lease, outcome))
            if outcome is _SUCCESS:
                record(end - now)
            else:
                failed += 1
        self.arrived += len(batch.times)
        self.started += started
        self.settled += settled
        self.refused += refused
        self.failed += failed
        self._fold()

    def finish(self) -> None:
        """Let every open request end; timers beyond that are dropped.

        Raises:
            RuntimeError: If a server keeps a request and nothing will ever end it.
        """
        events, clock = self._events, self.clock
        while self.settled < self.started:
            if not events:
                raise RuntimeError(f"{len(self._held)} requests were taken and never completed")
            clock.now, _, lease, what = heappop(events)
            if lease is None:
                what(clock.now)
            else:
                self.settled += lease.done(what)
        events.clear()
        self.ended = clock.now
        self._fold()

    def _fold(self) -> None:
        if self._records:
            self.histogram.add_all(self._records)
            self._records.clear()

    def _check(self) -> None:
        on_heap = sum(1 for event in self._events if event[2] is not None)
        assert self.started == self.settled + on_heap + len(self._held)
        assert self.arrived == self.started + self.refused
        assert self.histogram.count + self.failed + len(self._held) == self.started
