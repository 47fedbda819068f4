"""How fast the simulator is: simulated requests a second of one core, and memory by length.

Everything is counted that a cell of a comparison does: arrivals, keys and work are drawn, the
policy picks and settles, the servers queue, latencies are recorded and their quantiles read. The
scenario is ``steady``; the best of several rounds counts, policy by policy in turn. Memory is the
peak of what Python allocates, for runs of rising length at a load whose queues stay short.
"""

from __future__ import annotations

import argparse
import tracemalloc

from balancers.simulation.cells import Cell, play
from balancers.simulation.storytelling import default_policies
from benchmarks.timing import CLOCK, table

__all__ = ["add_arguments", "peak", "run", "seconds"]

TARGET = 250_000
"""Requests a second of one core that a cheap policy should reach."""
LENGTHS = (1_000, 25_000, 50_000, 200_000)


def seconds(policy: str, requests: int) -> float:
    """Return how long one run takes, in seconds of this thread where the system can tell.

    Raises:
        RuntimeError: If the policy does not run to the end.
    """
    cell = Cell(policy, "steady", 0, {"traffic": {"requests": requests}})
    began = CLOCK()
    result = play(cell)
    took = CLOCK() - began
    if result["trouble"] is not None:
        raise RuntimeError(f"{policy}: {result['trouble']}")
    return took


def peak(requests: int) -> int:
    """Return the greatest number of bytes allocated at a time during a run."""
    traffic = {"requests": requests, "load": 0.2, "service": "lognormal:0.05:10"}
    tracemalloc.start()
    try:
        play(Cell("Random", "steady", 0, {"traffic": traffic}))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this table."""
    parser.add_argument("--requests", type=int, default=50_000, help="of a run (default: 50,000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each policy (default: 5)")


def run(options: argparse.Namespace) -> None:
    """Print the tables."""
    policies = [*default_policies(), "oracle"]
    best = dict.fromkeys(policies, float("inf"))
    for _ in range(options.rounds):
        for policy in policies:
            best[policy] = min(best[policy], seconds(policy, options.requests))
    rows = [
        [
            policy,
            f"{options.requests / took:,.0f}",
            "yes" if options.requests / took >= TARGET else "",
        ]
        for policy, took in sorted(best.items(), key=lambda item: item[1])
    ]
    print(table(["policy", "requests a second", f"≥ {TARGET:,}"], rows), end="\n\n")
    rows = [[f"{length:,}", f"{peak(length):,}"] for length in LENGTHS]
    print(table(["requests of a run", "peak bytes"], rows, text=0))
