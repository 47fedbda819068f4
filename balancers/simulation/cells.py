"""A cell: one policy in one scenario with one seed. The unit of work of every larger comparison.

A cell is named by plain data and its result is plain data, the same bytes in every process and
on every machine; so cells can be played anywhere, in any order, and kept on disk.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import Any, TypeAlias

from balancers.simulation.bulletin import BULLETINS, bulletin
from balancers.simulation.contenders import Contender, parse_contenders
from balancers.simulation.engine import Run
from balancers.simulation.measures import MEASURES
from balancers.simulation.oracles import ORACLE, MmkBound, oracle
from balancers.simulation.quantiles import LatencyHistogram
from balancers.simulation.scenario import Scenario, load_scenario
from balancers.simulation.service import parse_law
from balancers.simulation.staging import Cast, TraceSpec, cast, schedule
from balancers.simulation.timeline import Slicing
from balancers.simulation.watching import SAMPLE, KeyWatch, MoveWatch, recovery

__all__ = [
    "LEVELS", "REFERENCES", "SLICES", "Cell", "CellResult", "bound", "play", "references",
    "result_bytes",
]  # fmt: skip

SLICES = 50

LEVELS: tuple[float, ...] = tuple(round(1.0 - 10.0 ** (-step / 12.0), 9) for step in range(1, 43))
"""Quantiles a cell's result holds, evenly spaced on the tail: from 0.17 to 0.99968."""

VERSION = 2
"""Of the result; kept cells of another version are played again."""

CellResult: TypeAlias = dict[str, Any]

REFERENCES: tuple[str, ...] = (ORACLE, *BULLETINS)
"""What runs beside the policies and knows what they do not."""


def references(scenario: Scenario) -> list[str]:
    """Return the references a scenario has: the oracle, and readers of bulletins if any appear."""
    return [ORACLE, *(BULLETINS if scenario.fleet.bulletin else ())]


@dataclass(frozen=True, slots=True)
class Cell:
    """What to play.

    Attributes:
        policy: As for ``parse_contenders``, one entry; or one of ``REFERENCES``.
        scenario: As for ``load_scenario``.
        seed: Of everything drawn.
        layer: Laid over the scenario, plain data.
        trace: Arrivals from a trace.
    """

    policy: str
    scenario: str
    seed: int
    layer: Mapping[str, Any] = field(default_factory=dict)
    trace: TraceSpec | None = None

    @property
    def id(self) -> str:
        """A name for files: the digest of everything that makes the result."""
        table = {"version": VERSION, **asdict(self)}
        text = json.dumps(table, sort_keys=True, ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def play(cell: Cell) -> CellResult:
    """Play a cell and return its result, ready for JSON.

    A policy that raises has its reason under ``trouble``; so has a scenario it cannot take.

    Raises:
        TraceError: If the trace cannot be used.
        ValueError: If the scenario or the policy is unknown, or a number makes no sense.
    """
    scenario = load_scenario(cell.scenario, cell.layer)
    who = _contender(cell.policy, scenario)
    stage = cast(scenario, cell.seed, cell.trace)
    found: CellResult = {
        "policy": who.name,
        "scenario": cell.scenario,
        "seed": cell.seed,
        "size": len(stage.endpoints),
        "keyed": who.keyed and not who.oracle,
        "trouble": None,
    }
    # A lease has no cycles, so the collector finds nothing; its passes are a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        found.update(_play(scenario, who, stage, cell.seed))
    except Exception as error:  # the policy is not ours
        found["trouble"] = f"{type(error).__name__}: {error}"
    finally:
        if collecting:
            gc.enable()
    return found


def _contender(policy: str, scenario: Scenario) -> Contender:
    if policy == ORACLE:
        return oracle()
    if policy in BULLETINS:
        return bulletin(policy, scenario.fleet.bulletin)
    return parse_contenders(policy)[0]


def result_bytes(result: CellResult) -> bytes:
    """Return a result as the bytes that are kept."""
    text = json.dumps(result, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def _play(scenario: Scenario, who: Contender, stage: Cast, seed: int) -> CellResult:
    changes = any(event.kind in ("join", "restart") for event in scenario.events)
    watch = KeyWatch() if changes or scenario.goal != "latency" else None
    slicing = Slicing(stage.seconds / SLICES, SLICES)
    run = Run(
        who.build,
        stage.endpoints,
        stage.servers,
        seed=f"{seed}/policy/{who.name}",
        keyed=who.keyed,
        key_kind=who.key_kind,
        clients=1 if who.oracle else scenario.traffic.clients,
        slicing=slicing,
        watch=watch,
    )
    batches = iter(stage.workload.batches())
    head = next(batches)
    sample = list(dict.fromkeys(islice(head.keys, 20 * SAMPLE)))[:SAMPLE]
    keyed = who.keyed and not who.oracle
    moves = MoveWatch(run, who.key_kind, sample if keyed else ())
    schedule(run, scenario, stage, moves)
    for batch in chain((head,), batches):
        run.feed(batch)
    run.finish()
    run.close()
    measures = {measure.name: measure.of(run) for measure in MEASURES}
    disturbed = _disturbed(scenario, stage.seconds)
    measures |= {
        "error_share": (run.refused + run.failed) / run.arrived if run.arrived else None,
        "affinity": watch.affinity if watch else None,
        "moved": moves.moved,
        "recovery": None if disturbed is None else recovery(run.slices, slicing.width, disturbed),
    }
    return {
        "requests": run.arrived,
        "seconds": run.ended,
        "measures": {name: _rounded(value) for name, value in measures.items()},
        "quantiles": _quantiles(run.histogram),
        "first_quantiles": _quantiles(run.first),
        "timeline": {
            "width": slicing.width,
            "p99": [_rounded(part.latencies.quantile(0.99)) for part in run.slices],
            "errors": [
                _rounded(part.lost / part.arrived if part.arrived else 0.0) for part in run.slices
            ],
        },
    }


def _rounded(value: float | None) -> float | None:
    """Return a number to nine digits: beyond those, platforms' logarithms may differ."""
    return None if value is None else float(f"{value:.9g}")


def _quantiles(histogram: LatencyHistogram) -> list[float]:
    """Return the latencies at ``LEVELS``, in one pass; empty without any."""
    steps = histogram.steps()
    found: list[float] = []
    at = 0
    for level in LEVELS if steps else ():
        while at < len(steps) - 1 and steps[at][1] < level * histogram.count:
            at += 1
        found.append(float(f"{steps[at][0]:.5g}"))
    return found


def _disturbed(scenario: Scenario, seconds: float) -> float | None:
    begins: Sequence[float] = [event.begin for event in scenario.events]
    begins = [*begins, *(surge.begin for surge in scenario.traffic.surges)]
    return min(begins) * seconds if begins else None


def bound(scenario: Scenario, trace: TraceSpec | None) -> dict[str, Any] | None:
    """Return the M/M/k bound of a scenario as mean and quantiles, or None if it has none.

    It exists for Poisson arrivals, exponential work and equal, unfailing, first-come-first-served
    workers that are loaded below 1.
    """
    fleet, traffic = scenario.fleet, scenario.traffic
    law = parse_law(traffic.service)
    speeds = {group.speed for group in fleet.groups} if not fleet.members else {
        weight for _, weight in fleet.members
    }  # fmt: skip
    plain = not (scenario.events or traffic.surges or fleet.noise or trace)
    if not (plain and fleet.server == "fifo" and fleet.queue is None):
        return None
    if law.name != "exponential" or len(speeds) != 1 or traffic.rate or traffic.load >= 1.0:
        return None
    (speed,) = speeds
    endpoints = fleet.size or len(fleet.members) or sum(group.count for group in fleet.groups)
    theory = MmkBound(endpoints * fleet.workers, traffic.load, law.mean / speed)
    return {
        "measures": {
            "mean": theory.mean,
            "p50": theory.quantile(0.5),
            "p99": theory.quantile(0.99),
            "p999": theory.quantile(0.999),
        },
        "quantiles": [theory.quantile(level) for level in LEVELS],
    }
