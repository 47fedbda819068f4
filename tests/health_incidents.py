"""One endpoint goes bad under traffic; how many requests still go to it, rule by rule.

Run as a program it prints the table that stands in ``docs/explanation/health.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from balancers import Outcome, Pick
from balancers.health import HealthPolicy, HealthRegistry
from balancers.policies import LeastConnections
from balancers.testing import ManualClock

__all__ = ["FAULTS", "RULES", "Toll", "replay"]

ENDPOINTS = 10
RATE = 200.0
"""Requests a second, Poisson."""
SERVICE = 0.1
"""Mean seconds of an answer, exponential."""
BACKGROUND = 0.001
"""Errors of every endpoint, always."""
BAD_FROM, BAD_TO, END = 30.0, 150.0, 240.0

Fault = Callable[[float, Random], tuple[bool, float] | None]
"""What the bad endpoint does with a request at a time: (works, seconds); None: as usual."""


def failing(rate: float, seconds: float) -> Fault:
    """Fail that share of requests, in that time."""
    return lambda at, rng: (False, seconds) if rng.random() < rate else None


FAULTS: dict[str, Fault] = {
    "dead, refuses in 1 ms": failing(1.0, 0.001),
    "dead, times out in 1 s": failing(1.0, 1.0),
    "fails 50 % in 1 ms": failing(0.5, 0.001),
    "fails 30 % in 100 ms": failing(0.3, 0.1),
    "fails 10 % in 100 ms": failing(0.1, 0.1),
    "flaps: 10 s dead, 10 s well": lambda at, rng: (False, 0.001) if at % 20 < 10 else None,
    "nothing": lambda at, rng: None,
}

RULES: dict[str, HealthPolicy | None] = {
    "no health": None,
    "balancers": HealthPolicy(),
    "Envoy": HealthPolicy.envoy(),
    "Envoy, cap 50 %": HealthPolicy.envoy(max_ejected=0.5),
    "gRPC A50, cap 50 %": HealthPolicy.grpc(max_ejected=0.5),
    "nginx": HealthPolicy.nginx(),
}


@dataclass
class Toll:
    """What an incident cost.

    Attributes:
        failed: Requests that failed on the bad endpoint while it was bad.
        innocent: Ejections of endpoints that were as well as ever.
        back: Requests the bad endpoint took in the last half minute, long after it was well.
    """

    failed: int = 0
    innocent: int = 0
    back: int = 0


def replay(fault: Fault, policy: HealthPolicy | None, seed: int = 1) -> Toll:
    """Run four minutes in which endpoint e0 is bad from 30 s to 150 s."""
    clock = ManualClock()
    world = Random(seed)
    registry = None if policy is None else HealthRegistry(policy, clock=clock, rng=Random(seed))
    names = [f"e{i}" for i in range(ENDPOINTS)]
    if registry is None:
        balancer = LeastConnections(names, clock=clock, rng=Random(seed))
    else:
        # nginx knows no panic.
        panic = 0.0 if policy == RULES["nginx"] else 0.5
        balancer = LeastConnections(names, health=registry, rng=Random(seed), panic_threshold=panic)
    toll = Toll()
    ends: list[tuple[float, int, Pick, bool]] = []
    count = 0
    arrival = world.expovariate(RATE)
    while arrival < END:
        if ends and ends[0][0] <= arrival:
            at, _, pick, good = heappop(ends)
            clock.advance(max(0.0, at - clock.now))
            pick.done(Outcome.SUCCESS if good else Outcome.FAILURE)
            continue
        clock.advance(max(0.0, arrival - clock.now))
        pick = balancer.pick()
        fate = (world.random() >= BACKGROUND, world.expovariate(1.0 / SERVICE))
        if pick.endpoint.id == "e0":
            if BAD_FROM <= clock.now < BAD_TO:
                struck = fault(clock.now, world)
                fate = fate if struck is None else struck
                toll.failed += struck is not None
            toll.back += clock.now >= END - 30.0
        count += 1
        heappush(ends, (clock.now + fate[1], count, pick, fate[0]))
        arrival += world.expovariate(RATE)
    for _, _, pick, good in ends:
        pick.done(Outcome.SUCCESS if good else Outcome.FAILURE)
    if registry is not None:
        toll.innocent = sum(
            event.new.value == "ejected" and (event.id != "e0" or event.at < BAD_FROM)
            for event in registry.events()
        )
    return toll


if __name__ == "__main__":
    print(f"Endpoints {ENDPOINTS}, {RATE:g} requests/s, {BACKGROUND:.1%} errors at any time")
    print("| fault | " + " | ".join(RULES) + " |")
    print("|---|" + "---:|" * len(RULES))
    for what, fault in FAULTS.items():
        tolls = [replay(fault, policy) for policy in RULES.values()]
        print(f"| {what} | " + " | ".join(f"{t.failed} ({t.innocent})" for t in tolls) + " |")
