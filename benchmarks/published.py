"""The figures of the study this library was designed by, beside those of its own simulator.

First table, latency: 20 servers with 4 workers each, first come first served, 10 ms a request,
Poisson arrivals at 0.8 of what the fleet can do, and 1, 10 or 100 clients that share nothing. An
entry is p50/p99 in milliseconds, half a millisecond of network included, and the share of errors in
percent where there are any; the published figure comes first. ``∞`` is a p99 that only grows: more
than 1 s. Nothing is published beside what the study has no figure for: its oracle did not know of
faults and ours does; its ``PeakEwma`` with a penalty for errors, as ours has, was tried with one
client. It does not say when the server that slows down does; here it is after a third of the run.

Second table, bulletins: 50 servers with one worker, load 0.9; everybody's queue length is published
every T service times; an entry is the mean response in service times.

The study ran for a minute with three seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from balancers.simulation.cells import Cell, CellResult, play
from balancers.simulation.pool import cores, spread
from benchmarks.timing import table

__all__ = [
    "BULLETINS",
    "COLUMNS",
    "LATENCIES",
    "PERIODS",
    "Figure",
    "add_arguments",
    "bulletin_cell",
    "cell",
    "figure",
    "run",
]

NETWORK = 0.5
"""Milliseconds, in the published latencies and not in the simulator."""
UNSTABLE = 1000.0
"""Milliseconds: a greater p99 is one that only grows."""


@dataclass(frozen=True, slots=True)
class _Column:
    scenario: str = "steady"
    service: str = "exponential:0.01"
    event: Mapping[str, Any] | None = None


_WHOLE = {"begin": 0.0, "end": 1.0}

COLUMNS: Mapping[str, _Column] = {
    "equal servers": _Column(),
    "log-normal": _Column(service="lognormal:0.01:10"),
    "half at half speed": _Column("heterogeneous-2x"),
    "a quarter 10× slower": _Column("heterogeneous-10x"),
    "1 fails in 1 ms": _Column(event={"kind": "fail", "after": 0.001, **_WHOLE}),
    "1 slows 10×": _Column(event={"kind": "slow", "factor": 10.0, "begin": 1 / 3, "end": 1.0}),
    "1 delays 10 % 30×": _Column(
        event={"kind": "intermittent", "factor": 30.0, "share": 0.1, **_WHOLE}
    ),
    "1 hangs 5 s": _Column(event={"kind": "hang", "after": 5.0, **_WHOLE}),
}
"""What is published, by the name of the column, as a scenario."""


class Figure(NamedTuple):
    """One entry: milliseconds and percent; None where it was not published."""

    p50: float | None
    p99: float | None
    errors: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.p99 is not None and self.p99 > UNSTABLE:
            parts.append("∞")
        elif self.p50 is not None and self.p99 is not None:
            parts.append(f"{self.p50:.1f}/{self.p99:.0f}")
        if self.errors is not None:
            parts.append(f"{self.errors:.2f} %")
        return " ".join(parts) or "–"


def _row(text: str) -> dict[str, Figure]:
    """Read a published row: a column a word, ``p50/p99``, ``errors%``, both, ``∞`` or ``–``."""
    found = {}
    for name, word in zip(COLUMNS, text.split(), strict=True):
        latency, _, errors = word.partition(",") if "%" in word and "," in word else (word, "", "")
        if latency.endswith("%"):
            latency, errors = "", latency
        low, _, high = latency.partition("/")
        found[name] = Figure(
            float(low) if high else None,
            inf if low == "∞" else float(high) if high else None,
            float(errors.rstrip("%")) if errors else None,
        )
    return found


LATENCIES: Mapping[int, Mapping[str, Mapping[str, Figure]]] = {
    1: {
        "Random": _row("13.8/69 14.9/395 ∞ ∞ 13.8/71,4.96% ∞ ∞ 4.95%"),
        "RoundRobin": _row("10.4/53 12.2/375 ∞ ∞ 10.3/53,5.00% ∞ ∞ 5.00%"),
        "WeightedRoundRobin": _row("10.4/53 12.2/375 12.7/83 10.8/168 5.00% ∞ ∞ 5.00%"),
        "LeastConnections": _row("7.5/47 3.6/111 9.2/73 7.8/138 7.4/47,27.45% 7.6/51 7.6/48 0.02%"),
        "PowerOfTwoChoices": _row("8.4/48 4.7/113 11.2/79 ∞ 8.1/47,9.51% 9.1/56 9.0/52 0.03%"),
        "PeakEwma": _row("8.6/48 6.5/116 11.2/73 ∞ 9.4/49,0.00% 9.4/50 9.4/49 0.01%"),
        "Adaptive": _row("7.7/47 3.8/112 9.9/67 8.1/48 7.9/47,0.00% 7.9/48 7.9/47 0.00%"),
        "oracle": _row("7.5/47 3.6/111 9.8/65 7.6/47 – – – –"),
    },
    10: {
        "RoundRobin": _row("11.0/54 11.8/314 ∞ ∞ 5.00% ∞ ∞ 5.00%"),
        "LeastConnections": _row("9.7/50 6.0/115 13.2/88 10.1/289 7.65% 10.3/60 10.2/57 0.03%"),
        "PowerOfTwoChoices": _row("10.7/51 7.4/123 16.6/108 ∞ 6.68% 11.9/63 11.6/79 0.10%"),
        "PeakEwma": _row("10.7/51 8.5/129 13.5/81 ∞ – 12.0/54 11.9/54 0.02%"),
        "Adaptive": _row("9.6/49 5.8/114 11.9/71 10.4/52 10.3/50,0.01% 10.3/51 10.2/51 0.01%"),
    },
    100: {
        "RoundRobin": _row("13.1/61 14.2/317 ∞ ∞ 5.00% ∞ ∞ 5.00%"),
        "LeastConnections": _row("13.0/60 12.1/172 25.0/267 ∞ 5.23% 15.0/77 14.6/593 0.32%"),
        "PowerOfTwoChoices": _row("13.2/60 11.9/179 25.1/313 ∞ 5.25% 14.9/77 14.7/648 0.43%"),
        "PeakEwma": _row("13.7/63 16.3/188 16.7/93 ∞ – 16.1/70 15.7/70 0.12%"),
        "Adaptive": _row("12.7/58 11.0/151 16.6/82 13.8/66 14.5/63,0.08% 14.4/64 14.1/65 0.05%"),
        "oracle": _row("7.5/47 3.6/112 9.9/65 7.6/47 – – – –"),
    },
}
"""The published latencies by number of clients, policy and column."""

PERIODS = (0.02, 0.1, 1.0, 4.0, 20.0)
"""Service times between two bulletins."""

BULLETINS: Mapping[str, tuple[float, ...]] = {
    "Random": (9.3, 9.3, 9.3, 9.3, 9.3),
    "bulletin, least": (1.29, 1.69, 4.57, 10.8, 51.5),
    "bulletin, two choices": (2.71, 2.73, 3.03, 3.83, 7.24),
    "bulletin, interpreted": (1.24, 1.50, 2.46, 3.66, 5.72),
}
"""The published mean responses by rule, a number a period."""

SERVICE = 0.05
"""Seconds: a service time of the scenario with bulletins."""


def cell(clients: int, policy: str, column: str, seconds: float, seed: int = 0) -> Cell:
    """Return what plays one entry of the table of latencies."""
    wanted = COLUMNS[column]
    layer: dict[str, Any] = {
        "traffic": {"service": wanted.service, "seconds": seconds, "clients": clients}
    }
    if wanted.event:
        layer["events"] = [wanted.event]
    if policy == "WeightedRoundRobin":
        layer["fleet"] = {"told": True}  # of true speeds, as published
    return Cell(policy, f"{wanted.scenario}+as-published", seed, layer)


def figure(result: CellResult) -> Figure:
    """Return a cell's result as an entry.

    Raises:
        RuntimeError: If it did not run to the end.
    """
    if result["trouble"] is not None:
        raise RuntimeError(f"{result['policy']}: {result['trouble']}")
    measures = result["measures"]
    lost = 100.0 * measures["error_share"]
    p99 = 1000.0 * measures["p99"] + NETWORK
    return Figure(1000.0 * measures["p50"] + NETWORK, p99, lost or None)


def bulletin_cell(rule: str, period: float, seconds: float, seed: int = 0) -> Cell:
    """Return what plays one entry of the table of bulletins."""
    layer = {"fleet": {"bulletin": period * SERVICE}, "traffic": {"seconds": seconds, "clients": 1}}
    return Cell(rule, "shared-bulletins", seed, layer)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of these tables."""
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn (default: 1)")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes")


def _wanted(options: argparse.Namespace) -> Iterator[Cell]:
    for clients, rows in LATENCIES.items():
        for policy in rows:
            for column in COLUMNS:
                yield cell(clients, policy, column, options.seconds, options.seed)
    for rule in BULLETINS:
        for period in PERIODS:
            yield bulletin_cell(rule, period, 5.0 * options.seconds, options.seed)


def run(options: argparse.Namespace) -> None:
    """Print the tables."""
    played = {}
    for each, result in spread(play, list(_wanted(options)), options.jobs):
        if isinstance(result, Exception):
            raise result
        played[each.id] = result
    for clients, rows in LATENCIES.items():
        print(f"{clients} client{'s' * (clients > 1)}\n")
        lines = []
        for policy, figures in rows.items():
            line = [policy]
            for column, published in figures.items():
                mine = cell(clients, policy, column, options.seconds, options.seed)
                line.append(f"{published} → {_alike(figure(played[mine.id]), published)}")
            lines.append(line)
        print(table(["published → ours", *COLUMNS], lines), end="\n\n")
    lines = []
    for rule, means in BULLETINS.items():
        line = [rule]
        for period, mean in zip(PERIODS, means, strict=True):
            mine = bulletin_cell(rule, period, 5.0 * options.seconds, options.seed)
            found = played[mine.id]["measures"]["mean"] / SERVICE
            line.append(f"{mean:.2f} → {found:.2f}")
        lines.append(line)
    print(table(["published → ours", *(f"T = {period:g}" for period in PERIODS)], lines))


def _alike(mine: Figure, published: Figure) -> Figure:
    """Return of ours what was published."""
    if published == Figure(None, None):
        return mine
    return Figure(
        None if published.p50 is None and published.p99 is None else mine.p50,
        None if published.p99 is None else mine.p99,
        None if published.errors is None else mine.errors or 0.0,
    )
