"""Composites beside the policy inside them: ``with balancer.pick(): pass`` at n endpoints.

Each number is a whole cycle in units of the same policy's own cycle over the same endpoints, in
the same run. ``3 tiers`` is Regions over Priority over ZoneAware, all requests kept at the nearest
region, first tier and local zone; ``3 tiers, spilling`` draws at each of the three levels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from balancers import (
    Balancer,
    Endpoint,
    HealthRegistry,
    Limit,
    Priority,
    Regions,
    Sticky,
    Subset,
    ZoneAware,
)
from balancers.policies import policy_named
from benchmarks.timing import Batch, contest, loop, table

__all__ = ["add_arguments", "run"]

SEED = 1
STEPS = 5_000
POLICIES = ("RoundRobin", "PowerOfTwoChoices", "PeakEwma", "LeastConnections", "RingHash")
REGIONS = ("eu", "us", "ap", "sa", "af")
KEYS = [f"eu-{i}" for i in range(STEPS)]


def fleet(n: int) -> list[Endpoint]:
    """Return n endpoints in five regions, three zones and two tiers."""
    return [
        Endpoint(f"e{i}", region=REGIONS[i % 5], zone="abc"[i // 5 % 3], priority=i // 15 % 2)
        for i in range(n)
    ]


def _located(key: str) -> str:
    return "eu"


def three(policy: Callable[..., Balancer], spilling: bool) -> Callable[..., Balancer]:
    """Return a maker of the three tiers."""
    callers = {"a": 2.0, "b": 1.0, "c": 1.0} if spilling else None

    def zones(endpoints: Any) -> Balancer:
        return ZoneAware(endpoints, policy=policy, local_zone="a", callers=callers)

    def tiers(endpoints: Any) -> Balancer:
        return Priority(endpoints, policy=zones, overprovisioning=0.9 if spilling else 1.4)

    def make(endpoints: Sequence[Endpoint], **options: Any) -> Balancer:
        factor = 0.9 if spilling else 1.4
        return Regions(endpoints, policy=tiers, locate=_located, overprovisioning=factor, **options)

    return make


def contenders(policy: Callable[..., Balancer], n: int, health: bool) -> dict[str, Batch]:
    """Return a batch for each composite over the policy."""
    members = fleet(n)

    def keyed(make: Callable[..., Balancer]) -> Batch:
        return loop(
            "with balancer.pick(key): pass", keys=KEYS, balancer=build(make, members, health)
        )

    def plain(make: Callable[..., Balancer]) -> Batch:
        return loop("with balancer.pick(): pass", STEPS, balancer=build(make, members, health))

    by_key = bool(getattr(policy, "keyed", False))
    either = keyed if by_key else plain
    return {
        "Priority": either(lambda e, **o: Priority(e, policy=policy, **o)),
        "ZoneAware": either(lambda e, **o: ZoneAware(e, policy=policy, local_zone="a", **o)),
        "Subset": either(lambda e, **o: Subset(e, policy=policy, seed="client", **o)),
        "3 tiers": keyed(three(policy, spilling=False)),
        "3 tiers, spilling": keyed(three(policy, spilling=True)),
        "Limit": either(lambda e, **o: Limit(e, policy=policy, per_endpoint=100, **o)),
        "Sticky, table": keyed(lambda e, **o: Sticky(e, policy=policy, mode="table", **o)),
    }


def build(make: Callable[..., Balancer], members: list[Endpoint], health: bool) -> Balancer:
    """Make a balancer, following a registry or not."""
    options: dict[str, Any] = {"rng": Random(SEED)}
    if health:
        options["health"] = HealthRegistry()
    return make(members, **options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--policies", nargs="+", metavar="NAME", default=list(POLICIES))
    parser.add_argument("--n", type=int, default=10_000, help="endpoints (10,000)")
    parser.add_argument("--rounds", type=int, default=15, help="batches of each side (15)")
    parser.add_argument("--health", action="store_true", help="with a registry")


def run(options: argparse.Namespace) -> None:
    """Print the table, a policy a row."""
    rows = []
    head: list[str] = []
    for name in options.policies:
        policy = policy_named(name)
        own = build(policy, fleet(options.n), options.health)
        step = "with balancer.pick(key): pass" if policy.keyed else "with balancer.pick(): pass"
        keys = {"keys": KEYS} if policy.keyed else {"steps": STEPS}
        floor = loop(step, balancer=own, **keys)
        sides = contenders(policy, options.n, options.health)
        timings = contest(floor, sides, rounds=options.rounds)
        print(f"  {name}", file=sys.stderr, flush=True)
        head = ["policy", "own cycle, ns", *timings]
        nanoseconds = min(next(iter(timings.values())).floor) * 1e9
        rows.append([name, f"{nanoseconds:.0f}", *(f"{t.ratio:.2f}" for t in timings.values())])
    print(
        f"cycles at n = {options.n:,} in units of the policy's own, best of interleaved batches\n"
    )
    print(table(head, rows))
