"""The cost of a whole pick, lease and settlement: ``with balancer.pick(): pass``.

Every registered policy, three kinds of weights, n endpoints; in units of ``floor cycle``, an
object with one slot made by a method and used in a ``with`` block, in the same run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

from balancers import Balancer, Endpoint, InvalidEndpointError
from balancers.core import Policy
from balancers.policies import policy_named, registered
from benchmarks.floors import CycleFloor
from benchmarks.timing import Batch, Timing, contest, loop, sized, table

__all__ = [
    "SIZES",
    "WEIGHTS",
    "balancer_of",
    "cycle",
    "endpoints",
    "floor_cycle",
    "keys_of",
    "measure",
    "run",
]

SIZES = (10, 100, 1_000, 10_000)
SEED = 1
KEYS = 20_000

WEIGHTS: dict[str, Callable[[Random], float]] = {
    "equal": lambda rng: 1.0,
    "1-5": lambda rng: float(rng.randint(1, 5)),
    "float": lambda rng: rng.uniform(0.5, 5.0),
}
"""How an endpoint gets its weight, by the name of the kind."""


def endpoints(n: int, weights: str) -> list[Endpoint]:
    """Return n endpoints with weights of the kind, the same at every call."""
    rng = Random(SEED)
    draw = WEIGHTS[weights]
    return [Endpoint(f"10.0.{i >> 8}.{i & 255}:8080", weight=draw(rng)) for i in range(n)]


def balancer_of(policy: type[Policy], n: int, weights: str) -> Balancer:
    """Return a balancer of n endpoints with weights of the kind.

    Raises:
        InvalidEndpointError: If the policy does not take such weights, or so many endpoints.
    """
    return policy(endpoints(n, weights), rng=Random(SEED))


def keys_of(policy: type[Policy], count: int) -> list[Any] | None:
    """Return as many different keys as asked for, of the kind the policy takes; None if none."""
    if not policy.keyed:
        return None
    kinds: dict[str, Callable[[int], Any]] = {
        "any": lambda i: f"user-{i}",
        "address": lambda i: f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}",
        "prefix": lambda i: tuple(range(i % 64, i % 64 + 8)),  # block ids of a prompt
    }
    return [kinds[policy.key_kind](i) for i in range(count)]


def cycle(policy: type[Policy], balancer: Balancer, steps: int = KEYS) -> Batch:
    """Return a batch of pick cycles, keys supplied in turn to a policy that places by them."""
    keys = keys_of(policy, steps)
    if keys is None:
        return loop("with balancer.pick(): pass", steps, balancer=balancer)
    return loop("with balancer.pick(key): pass", keys=keys, balancer=balancer)


def floor_cycle(steps: int = KEYS) -> Batch:
    """Return a batch of floor cycles."""
    return loop("with floor.pick(): pass", steps, floor=CycleFloor())


def measure(
    names: list[str], sizes: list[int], kinds: list[str], rounds: int, steps: int, held: int = 0
) -> Iterator[tuple[str, str, dict[int, Timing | None]]]:
    """Yield policy, kind of weights, and a timing by n: None where it takes no such weights.

    Meanwhile ``held`` leases for each endpoint are open.
    """
    for policy in map(policy_named, names):
        for kind in kinds:
            row: dict[int, Timing | None] = {}
            for n in sizes:
                try:
                    balancer = balancer_of(policy, n, kind)
                except InvalidEndpointError:
                    row[n] = None
                    continue
                keys = keys_of(policy, held * n) or [None] * (held * n)
                leases = [balancer.pick(key) for key in keys]
                floor = sized(floor_cycle, limit=steps)
                side = sized(partial(cycle, policy, balancer), limit=steps)
                row[n] = contest(floor, {"cycle": side}, rounds=rounds)["cycle"]
                for lease in leases:
                    lease.done()
            yield policy.__name__, kind, row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--policies", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="N")
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS))
    parser.add_argument("--rounds", type=int, default=25, help="batches of each side (25)")
    parser.add_argument(
        "--steps", type=int, default=KEYS, help=f"cycles in a batch, at most ({KEYS})"
    )
    parser.add_argument(
        "--held", type=int, default=0, metavar="K", help="leases open for each endpoint (0)"
    )
    parser.add_argument("--ns", action="store_true", help="nanoseconds beside the ratios")


def run(options: argparse.Namespace) -> None:
    """Print the table, a row as soon as it is measured."""
    names = options.policies or list(registered())
    rows = []
    for policy, kind, row in measure(
        names, options.sizes, options.weights, options.rounds, options.steps, options.held
    ):
        print(f"  {policy}, {kind} weights", file=sys.stderr, flush=True)
        rows.append([policy, kind, *(_shown(timing, options.ns) for timing in row.values())])
    print("`with balancer.pick(): pass` in units of `floor cycle`, best of interleaved batches\n")
    if options.held:
        print(f"{options.held} leases open for each endpoint\n")
    print("? = best and median ratio disagree by more than 5 %: measure again\n")
    print(table(["policy", "weights", *(f"n = {n:,}" for n in options.sizes)], rows, text=2))


def _shown(timing: Timing | None, nanoseconds: bool) -> str:
    if timing is None:
        return "–"
    mark = "" if timing.settled else "?"
    return f"{timing.ratio:.2f}{mark}" + (f" ({timing.nanoseconds:.0f} ns)" if nanoseconds else "")
