"""The classic policies in simulation, beside the figures of the research notes.

20 servers × 4 workers, work of 10 ms on average, Poisson arrivals at load 0.8, clients that share
nothing; half a millisecond of network is added. A place in the table reads "p50/p99" in
milliseconds, then the errors in percent where there are any; in brackets what the notes have, who
simulated a minute with three seeds. "unst": the wait only grows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from balancers.simulation import Cell, play
from benchmarks.timing import table

__all__ = ["CLIENTS", "CONDITIONS", "POLICIES", "PUBLISHED", "Figures", "figures", "run"]

NETWORK = 0.0005
"""Seconds the notes' model spends on the network, there and back."""

POLICIES = (
    "Random",
    "RoundRobin",
    "LeastConnections",
    "PowerOfTwoChoices",
    "PeakEwma",
    "LeastResponseTime",
)
CLIENTS = (1, 10, 100)

CONDITIONS: dict[str, Mapping[str, Any]] = {
    "homogeneous": {},
    "lognormal": {"traffic": {"service": "lognormal:0.01:10"}},  # squared variation 10
    "het 2x": {"fleet": {"groups": [{"count": 10, "speed": 1.0}, {"count": 10, "speed": 0.5}]}},
    "het 10x": {"fleet": {"groups": [{"count": 15, "speed": 1.0}, {"count": 5, "speed": 0.1}]}},
    "fast fail": {"events": [{"kind": "fail", "begin": 0.0, "after": 0.001}]},
    "slow 10x": {"events": [{"kind": "slow", "begin": 0.0, "factor": 10.0}]},
    "10 % x30": {"events": [{"kind": "intermittent", "begin": 0.0, "factor": 30.0, "share": 0.1}]},
    "hang": {"events": [{"kind": "hang", "begin": 0.0, "after": 5.0}]},
}
"""What is laid over the scenario ``steady+as-published``, by the name of the column."""

PUBLISHED: dict[int, dict[str, Sequence[str]]] = {
    1: {
        "Random": ("13.8/69", "14.9/395", "unst", "unst", "13.8/71 4.96", "unst", "unst", "4.95"),
        "RoundRobin": ("10.4/53", "12.2/375", "unst", "unst", "10.3/53 5.00", "unst", "unst",
                       "5.00"),
        "LeastConnections": ("7.5/47", "3.6/111", "9.2/73", "7.8/138", "7.4/47 27.45", "7.6/51",
                             "7.6/48", "0.02"),
        "PowerOfTwoChoices": ("8.4/48", "4.7/113", "11.2/79", "unst", "8.1/47 9.51", "9.1/56",
                              "9.0/52", "0.03"),
        # The row with an error penalty, which ours has.
        "PeakEwma": ("8.6/48", "6.5/116", "11.2/73", "unst", "9.4/49 0.00", "9.4/50", "9.4/49",
                     "0.01"),
    },
    10: {
        "RoundRobin": ("11.0/54", "11.8/314", "unst", "unst", "5.00", "unst", "unst", "5.00"),
        "LeastConnections": ("9.7/50", "6.0/115", "13.2/88", "10.1/289", "7.65", "10.3/60",
                             "10.2/57", "0.03"),
        "PowerOfTwoChoices": ("10.7/51", "7.4/123", "16.6/108", "unst", "6.68", "11.9/63",
                              "11.6/79", "0.10"),
        # Without a penalty: the errors are not ours to meet.
        "PeakEwma": ("10.7/51", "8.5/129", "13.5/81", "unst", "–", "12.0/54", "11.9/54", "–"),
    },
    100: {
        "RoundRobin": ("13.1/61", "14.2/317", "unst", "unst", "5.00", "unst", "unst", "5.00"),
        "LeastConnections": ("13.0/60", "12.1/172", "25.0/267", "unst", "5.23", "15.0/77",
                             "14.6/593", "0.32"),
        "PowerOfTwoChoices": ("13.2/60", "11.9/179", "25.1/313", "unst", "5.25", "14.9/77",
                              "14.7/648", "0.43"),
        "PeakEwma": ("13.7/63", "16.3/188", "16.7/93", "unst", "–", "16.1/70", "15.7/70", "–"),
    },
}  # fmt: skip
"""The notes' figures by clients and policy, in the order of ``CONDITIONS``; – where they have
none that compares."""


class Figures(NamedTuple):
    """What a run comes to: quantiles in seconds, the part of requests with errors."""

    p50: float
    p99: float
    errors: float
    unstable: bool

    def __str__(self) -> str:
        if self.unstable:
            return "unst"
        text = f"{self.p50 * 1e3:.1f}/{self.p99 * 1e3:.0f}"
        return f"{text} {self.errors * 100:.2f}" if self.errors else text


def figures(policy: str, condition: str, clients: int, seconds: float, seed: int = 1) -> Figures:
    """Play one policy under one condition.

    Raises:
        RuntimeError: If the policy raised.
    """
    layer = dict(CONDITIONS[condition])
    traffic = {"seconds": seconds, "clients": clients, **layer.get("traffic", {})}
    found = play(Cell(policy, "steady+as-published", seed, {**layer, "traffic": traffic}))
    if found["trouble"]:
        raise RuntimeError(f"{policy} under {condition}: {found['trouble']}")
    measures = found["measures"]
    p99 = measures["p99"] + NETWORK
    unstable = p99 > min(2.0, seconds / 15) or (p99 > 0.4 and _grows(found["timeline"]["p99"]))
    return Figures(measures["p50"] + NETWORK, p99, measures["error_share"], unstable)


def _grows(slices: Iterable[float | None]) -> bool:
    """Whether the last third of a run is clearly worse than the one before."""
    seen = [value for value in slices if value is not None]
    third = len(seen) // 3
    return median(seen[-third:]) > 1.5 * median(seen[-2 * third : -third])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--policies", nargs="+", metavar="NAME", default=list(POLICIES))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--clients", nargs="+", type=int, default=list(CLIENTS), metavar="C")
    parser.add_argument("--seconds", type=float, default=12.0, help="simulated, each run (12)")
    parser.add_argument("--seed", type=int, default=1, help="of everything drawn (1)")


def run(options: argparse.Namespace) -> None:
    """Print a table for each number of clients, as soon as it is played."""
    print(f"{options.seconds:g} simulated seconds, seed {options.seed}")
    for clients in options.clients:
        rows = []
        for policy in options.policies:
            print(f"  {clients} clients, {policy}", file=sys.stderr, flush=True)
            row = [policy]
            for condition in options.conditions:
                ours = figures(policy, condition, clients, options.seconds, options.seed)
                row.append(f"{ours} [{_published(policy, condition, clients)}]")
            rows.append(row)
        print(f"\n{clients} client{'s' if clients > 1 else ''}\n")
        print(table(["policy", *options.conditions], rows), flush=True)


def _published(policy: str, condition: str, clients: int) -> str:
    row = PUBLISHED.get(clients, {}).get(policy)
    return "–" if row is None else row[list(CONDITIONS).index(condition)]
