"""What a health registry costs: beside a pick, at a change, and for probing a large fleet.

*Pick*: a whole cycle (``with balancer.pick(): pass``), ``pick()`` alone, and the choice alone with
a registry, over the same without one; nobody out, or every tenth endpoint out. *Change*: seconds
from the call that takes one endpoint out, or lets it back, until it returns, by when every pick
sees it. *Probing*: ``due_probes`` and ``record_probe`` of 10,000 endpoints every 5 s, as a share
of a core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from balancers import Admin, Endpoint, HealthRegistry, InvalidEndpointError
from balancers.core import Policy
from balancers.policies import policy_named, registered
from balancers.testing import ManualClock
from benchmarks.cycles import KEYS, SEED, cycle, endpoints, keys_of
from benchmarks.timing import CLOCK, Batch, Timing, contest, loop, sized, table

__all__ = ["overhead", "probing", "run", "showing"]

SIZES = (10, 1_000, 10_000)
POLICIES = (
    "RoundRobin",
    "WeightedRoundRobin",
    "Random",
    "LeastConnections",
    "PowerOfTwoChoices",
    "LeastResponseTime",
    "PeakEwma",
    "Adaptive",
    "RingHash",
    "Maglev",
)
KINDS = tuple(
    f"{k}, {out}" for k in ("cycle", "pick", "choice") for out in ("none out", "10 % out")
)
"""What is timed, in the order of the columns."""
OPEN = 500
"""Leases open at most while picks alone are timed."""


def with_registry(policy: type[Policy], members: list[Endpoint], out: int) -> Policy:
    """Return a balancer whose endpoints are known to be well, but every ``out``-th (0: none)."""
    registry = HealthRegistry()
    balancer = policy(members, health=registry, rng=Random(SEED))
    registry.record_probes([(member.id, True) for member in members])  # type: ignore[misc]
    bad = members[::out] if out else []
    registry.record_probes([(member.id, False) for member in bad for _ in range(3)])  # type: ignore[misc]
    assert registry.snapshot()["serving"] == len(members) - len(bad)
    return balancer


def picks(policy: type[Policy], balancer: Policy, steps: int) -> Batch:
    """Return a batch of picks alone; their leases are settled off the clock."""
    keys = keys_of(policy, steps)
    leases: list[Any] = []
    call = "balancer.pick()" if keys is None else "balancer.pick(key)"
    names = {"balancer": balancer, "keep": leases.append}
    inner = loop(f"keep({call})", steps, keys, **names)

    def batch(clock: Callable[[], float]) -> float:
        seconds = inner(clock)
        for lease in leases:
            lease.done()
        leases.clear()
        return seconds

    return batch


def choices(policy: type[Policy], balancer: Policy, steps: int) -> Batch | None:
    """Return a batch of choices without a lease, None where choice and lease are one step."""
    keys = keys_of(policy, steps)
    timely = getattr(balancer, "_timely_chooser", None)
    if timely is not None:
        return loop("choose(1.0)", steps, choose=timely)
    if balancer._chooser is None:
        return None
    step = "choose(None)" if keys is None else "choose(key)"
    return loop(step, steps, keys, choose=balancer._chooser)


def overhead(policy: type[Policy], n: int, rounds: int) -> dict[str, Timing]:
    """Time cycles and picks with a registry against those without."""
    members = endpoints(n, "equal")
    bare = policy(members, rng=Random(SEED))
    sides = {
        "none out": with_registry(policy, members, 0),
        "10 % out": with_registry(policy, members, 10),
    }
    found: dict[str, Timing] = {}
    kinds: dict[str, tuple[Callable[..., Any], int]] = {
        "cycle": (cycle, KEYS),
        "pick": (picks, OPEN),
        "choice": (choices, KEYS),
    }
    for kind, (make, limit) in kinds.items():
        if make(policy, bare, 1) is None:
            continue
        timings = contest(
            sized(partial(make, policy, bare), limit=limit),
            {name: sized(partial(make, policy, b), limit=limit) for name, b in sides.items()},
            rounds=rounds,
            patience=3,
        )
        found.update({f"{kind}, {name}": timing for name, timing in timings.items()})
    return found


def showing(policy: type[Policy], n: int, weights: str, turns: int = 12) -> tuple[float, float]:
    """Return the best seconds it takes to show an endpoint's going, and its coming back."""
    registry = HealthRegistry(clock=ManualClock())
    members = endpoints(n, weights)
    _owner = policy(members, health=registry, rng=Random(SEED))
    took: dict[Admin, list[float]] = {Admin.DRAINING: [], Admin.ENABLED: []}
    for turn in range(turns):
        name = members[(n // 2 + turn * 7) % n].id
        for admin, times in took.items():
            start = CLOCK()
            registry.set_admin(name, admin)
            times.append(CLOCK() - start)
    return min(took[Admin.DRAINING]), min(took[Admin.ENABLED])


def probing(n: int = 10_000, seconds: int = 20) -> tuple[float, float]:
    """Return the shares of a core for probing n endpoints, reported singly and together."""
    shares = []
    for together in (False, True):
        clock = ManualClock()
        registry = HealthRegistry(clock=clock)
        names = [member.id for member in endpoints(n, "equal")]
        registry.track(names)
        best = 1.0
        for second in range(seconds):
            start = CLOCK()
            for _ in range(20):
                clock.advance(0.05)
                due = registry.due_probes()
                if together:
                    registry.record_probes([(name, True, False, 0.001) for name in due])  # type: ignore[misc]
                else:
                    for name in due:
                        registry.record_probe(name, ok=True, latency=0.001)
            if second >= 10:  # the first interval is the newcomers'
                best = min(best, CLOCK() - start)
        shares.append(best)
    return shares[0], shares[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parts = ("pick", "change", "probing")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--policies", nargs="+", metavar="NAME", default=list(POLICIES))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="N")
    parser.add_argument("--rounds", type=int, default=25, help="batches of each side (25)")


def run(options: argparse.Namespace) -> None:
    """Print the tables asked for."""
    if "pick" in options.parts:
        _print_overhead(options)
    if "change" in options.parts:
        _print_changes()
    if "probing" in options.parts:
        singly, together = probing()
        print("\n10,000 endpoints probed every 5 s, the I/O aside: ", end="")
        print(f"{singly:.1%} of a core, {together:.1%} where results are reported together")


def _print_overhead(options: argparse.Namespace) -> None:
    rows = []
    for policy in map(policy_named, options.policies):
        for n in options.sizes:
            print(f"  {policy.__name__}, n = {n:,}", file=sys.stderr, flush=True)
            timings = overhead(policy, n, options.rounds)
            shown = {k: f"{t.ratio:.2f}{'' if t.settled else '?'}" for k, t in timings.items()}
            rows.append([policy.__name__, f"{n:,}", *(shown.get(kind, "–") for kind in KINDS)])
    print("with a registry, in units of the same without one, best of interleaved batches;")
    print("? = best and median ratio disagree by more than 5 %: measure again\n")
    print(table(["policy", "n", *KINDS], rows))


def _print_changes(n: int = 10_000) -> None:
    rows = []
    for policy in registered().values():
        row = [policy.__name__]
        for weights in ("equal", "float"):
            try:
                out, back = showing(policy, n, weights)
            except InvalidEndpointError:
                row += ["–", "–"]
                continue
            row += [f"{out * 1e3:.1f}", f"{back * 1e3:.1f}"]
        rows.append(row)
    print(f"\nms to show one change among {n:,} endpoints\n")
    print(table(["policy", "equal, out", "back", "unequal, out", "back"], rows))
