"""What a second thread on the same balancer costs, beside what the interpreter takes for it.

One and two threads run the same total of pick cycles on one balancer, and on ``floor cycle``,
which shares nothing: what two threads lose there is the interpreter's own lock and switches.
A figure of 1.00 says that the balancer loses no more than that.
"""

from __future__ import annotations

import argparse
import gc
import sys
import threading
import time
from collections.abc import Callable

from balancers import Balancer
from balancers.policies import policy_named, registered
from benchmarks.cycles import balancer_of, keys_of
from benchmarks.floors import CycleFloor
from benchmarks.timing import table

__all__ = ["add_arguments", "measure", "run"]

Work = Callable[[int], None]
"""Runs so many cycles."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--policies", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--size", type=int, default=100, metavar="N", help="endpoints (100)")
    parser.add_argument("--cycles", type=int, default=100_000, help="of all threads (100,000)")
    parser.add_argument("--rounds", type=int, default=7, help="of which the best counts (7)")


def measure(work: Work, floor: Work, cycles: int, rounds: int) -> tuple[float, float, float]:
    """Return the slowdown two threads bring to the work, to the floor, and their quotient."""
    best: dict[tuple[Work, int], float] = {}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for job in (work, floor):
                for threads in (1, 2):
                    took = _timed(job, threads, cycles)
                    best[job, threads] = min(took, best.get((job, threads), took))
    finally:
        if collecting:
            gc.enable()
    mine, base = best[work, 2] / best[work, 1], best[floor, 2] / best[floor, 1]
    return mine, base, mine / base


def _timed(work: Work, count: int, cycles: int) -> float:
    """Return the seconds so many threads take for the cycles, an equal part each."""
    ready = threading.Barrier(count + 1)

    def job() -> None:
        ready.wait()
        work(cycles // count)

    threads = [threading.Thread(target=job) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _cycles_of(balancer: Balancer | CycleFloor) -> Work:
    def work(count: int) -> None:
        pick = balancer.pick
        for _ in range(count):
            with pick():
                pass

    return work


def _keyed_cycles_of(balancer: Balancer, keys: list[object]) -> Work:
    def work(count: int) -> None:
        pick, some, size = balancer.pick, keys, len(keys)
        for turn in range(count):
            with pick(some[turn % size]):  # type: ignore[arg-type]
                pass

    return work


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    rows = []
    floor = _cycles_of(CycleFloor())
    for name in options.policies or list(registered()):
        policy = policy_named(name)
        balancer = balancer_of(policy, options.size, "equal")
        keys = keys_of(policy, 1_000)
        work = _cycles_of(balancer) if keys is None else _keyed_cycles_of(balancer, keys)
        print(f"  {policy.__name__}", file=sys.stderr, flush=True)
        mine, base, quotient = measure(work, floor, options.cycles, options.rounds)
        rows.append([policy.__name__, f"{mine:.2f}", f"{base:.2f}", f"{quotient:.2f}"])
    print(f"time of {options.cycles:,} cycles by two threads over that by one, best of each\n")
    print(table(["policy", "two threads", "floor", "quotient"], rows))
