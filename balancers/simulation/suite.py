"""Many cells, and what they say together: means over seeds, with how sure one can be.

Seeds are paired: every policy met the same arrivals under a seed, so two policies are compared
seed by seed, and the luck of a seed cancels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from balancers.simulation.bootstrap import Interval, bootstrap_mean
from balancers.simulation.cells import REFERENCES, Cell, CellResult, bound, play, result_bytes
from balancers.simulation.cluster import spread_dask
from balancers.simulation.pool import spread
from balancers.simulation.scenario import Scenario, load_scenario
from balancers.simulation.staging import TraceSpec
from balancers.simulation.store import Store

__all__ = ["Chapter", "Outcome", "Row", "chapters", "run_cells"]

Progress: TypeAlias = Callable[[int, int], object]
"""Called with the number of finished cells and of all."""

Outcome: TypeAlias = tuple[Cell, CellResult]


def run_cells(
    cells: Sequence[Cell],
    *,
    jobs: int = 1,
    dask: str | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> list[CellResult]:
    """Play cells, those in the store excepted, and return all results in the order of the cells.

    A cell that could not be played has the reason under ``trouble``; it is not kept, so that the
    next run tries it again.

    Args:
        cells: What to play.
        jobs: Processes of this machine.
        dask: Address of a Dask scheduler instead.
        store: Where finished cells are kept.
        progress: Told of every finished cell.

    Raises:
        ValueError: If Dask is not to be had.
    """
    done: dict[str, CellResult] = {}
    if store is not None:
        for cell in cells:
            if (kept := store.get(cell)) is not None:
                done[cell.id] = kept
    left = {cell.id: cell for cell in cells if cell.id not in done}
    if progress is not None:
        progress(len(done), len(cells))
    played: Iterator[tuple[Cell, CellResult | Exception]]
    if not left:
        played = iter(())
    elif dask is not None:
        played = spread_dask(play, left.values(), dask)
    else:
        played = spread(play, left.values(), min(jobs, len(left)))
    for cell, result in played:
        if isinstance(result, Exception):
            done[cell.id] = _lost(cell, result)
        else:
            # As if it came from the disk: what is made of results must not show where they were.
            done[cell.id] = json.loads(result_bytes(result))
            if store is not None:
                store.put(cell, result)
        if progress is not None:
            progress(len(done), len(cells))
    return [done[cell.id] for cell in cells]


def _lost(cell: Cell, error: Exception) -> CellResult:
    return {
        "policy": cell.policy,
        "scenario": cell.scenario,
        "seed": cell.seed,
        "trouble": f"{type(error).__name__}: {error}",
    }


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one scenario, over all seeds.

    Attributes:
        policy: Its name.
        kind: ``"policy"``, ``"oracle"``, ``"bulletin"`` or ``"bound"``.
        keyed: Whether it places by key.
        trouble: Why a seed did not run to the end, or None.
        values: By measure, one number a seed, as far as the number exists.
        intervals: By measure: mean over seeds and its 95 % interval.
        quantiles: Latency at ``cells.LEVELS``, mean over seeds.
        p99: By slice of time, mean over seeds; None where nobody answered.
        errors: Share of requests lost, by slice.
    """

    policy: str
    kind: str = "policy"
    keyed: bool = False
    trouble: str | None = None
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    quantiles: Sequence[float] = ()
    p99: Sequence[float | None] = ()
    errors: Sequence[float] = ()

    def mean(self, name: str) -> float | None:
        """Return a measure's mean over the seeds, None if it does not exist."""
        found = self.intervals.get(name)
        return None if found is None else found.mean


@dataclass(frozen=True, slots=True)
class Chapter:
    """A scenario with its rows.

    Attributes:
        scenario: The story.
        rows: Policies in the order given, then oracle and bound.
        requests: In each run.
        seeds: How many runs.
        width: Seconds of a slice of the time-lines.
        trace: What the arrivals come from, or None.
    """

    scenario: Scenario
    rows: tuple[Row, ...]
    requests: int
    seeds: int
    width: float
    trace: str | None = None


def chapters(cells: Sequence[Cell], results: Sequence[CellResult]) -> list[Chapter]:
    """Return one chapter a scenario (and layer), in the order of the cells."""
    groups: dict[tuple[str, str], list[tuple[Cell, CellResult]]] = {}
    for cell, result in zip(cells, results, strict=True):
        groups.setdefault((cell.scenario, repr(cell.layer)), []).append((cell, result))
    return [_chapter(group) for group in groups.values()]


def _chapter(group: Sequence[tuple[Cell, CellResult]]) -> Chapter:
    first = group[0][0]
    scenario = load_scenario(first.scenario, first.layer)
    by_policy: dict[str, list[CellResult]] = {}
    for cell, result in group:
        by_policy.setdefault(cell.policy, []).append(result)
    rows = [_row(policy, results) for policy, results in by_policy.items()]
    theory = bound(scenario, first.trace)
    if theory is not None:
        rows.append(_bound_row(theory))
    ended = [result for _, result in group if result["trouble"] is None]
    return Chapter(
        scenario=scenario,
        rows=tuple(sorted(rows, key=lambda row: row.kind != "policy")),
        requests=ended[0]["requests"] if ended else 0,
        seeds=len({cell.seed for cell, _ in group}),
        width=ended[0]["timeline"]["width"] if ended else 0.0,
        trace=_trace_name(first.trace),
    )


def _trace_name(trace: TraceSpec | None) -> str | None:
    return None if trace is None else trace.path.replace("\\", "/").rpartition("/")[2]


def _row(policy: str, results: Sequence[CellResult]) -> Row:
    ended = [result for result in results if result["trouble"] is None]
    trouble = next((r["trouble"] for r in results if r["trouble"] is not None), None)
    kind = policy.partition(",")[0] if policy in REFERENCES else "policy"
    if not ended:
        return Row(policy, kind, trouble=trouble)
    names = ended[0]["measures"]
    values = {
        name: [r["measures"][name] for r in ended if r["measures"][name] is not None]
        for name in names
    }
    return Row(
        policy=ended[0]["policy"],
        kind=kind,
        keyed=bool(ended[0]["keyed"]),
        trouble=trouble,
        values=values,
        intervals={name: bootstrap_mean(found) for name, found in values.items() if found},
        quantiles=_means(r["quantiles"] for r in ended if r["quantiles"]),
        p99=[_mean(part) for part in zip(*(r["timeline"]["p99"] for r in ended), strict=True)],
        errors=_means(r["timeline"]["errors"] for r in ended),
    )


def _bound_row(theory: Mapping[str, Any]) -> Row:
    measures: Mapping[str, float] = theory["measures"]
    return Row(
        policy="M/M/k bound",
        kind="bound",
        values={name: [value] for name, value in measures.items()},
        intervals={name: Interval(value, value, value) for name, value in measures.items()},
        quantiles=theory["quantiles"],
    )


def _means(columns: Iterable[Sequence[float]]) -> list[float]:
    return [sum(part) / len(part) for part in zip(*columns, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
