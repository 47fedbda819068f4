"""Bytes an idle endpoint and an open pick take, by tracemalloc.

``endpoint`` is the caller's own object, its id and weight included; ``idle`` is what the
balancer adds for it; ``open pick`` is what one lease adds while it is held.
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

from balancers.policies import policy_named, registered
from benchmarks.cycles import SEED, WEIGHTS, endpoints, keys_of
from benchmarks.timing import table

__all__ = ["held", "measure", "run"]

PICKS = 10_000


def held(make: Callable[[], Any]) -> tuple[int, Any]:
    """Return the bytes that what ``make`` returns keeps allocated, and the thing itself."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, made


def measure(name: str, n: int, weights: str) -> tuple[float, float, float]:
    """Return bytes an endpoint, bytes it takes in the balancer, bytes an open pick."""
    policy = policy_named(name)
    own, members = held(lambda: endpoints(n, weights))
    idle, balancer = held(lambda: policy(members, rng=Random(SEED)))
    keys = keys_of(policy, PICKS) or [None] * PICKS
    for key in keys:  # let sets and tables grow before they are counted
        with balancer.pick(key):
            pass
    leases: list[Any] = [None] * PICKS  # so that the list's own room is not counted

    def hold() -> None:
        for i, key in enumerate(keys):
            leases[i] = balancer.pick(key)

    taken, _ = held(hold)
    for lease in leases:
        lease.done()
    return own / n, idle / n, taken / PICKS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--policies", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--size", type=int, default=1_000, metavar="N", help="endpoints (1000)")
    parser.add_argument("--weights", choices=WEIGHTS, default="equal")


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    rows = []
    for name in options.policies or list(registered()):
        own, idle, lease = measure(name, options.size, options.weights)
        rows.append([policy_named(name).__name__, f"{own:.0f}", f"{idle:.0f}", f"{lease:.0f}"])
    print(f"bytes, {options.size:,} endpoints, {options.weights} weights, {PICKS:,} open picks\n")
    print(table(["policy", "endpoint", "idle in the balancer", "open pick"], rows))
