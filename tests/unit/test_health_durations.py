"""Incidents in which the time of an answer matters, replayed with exact times."""

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from balancers import Outcome, Pick
from balancers.core import Policy
from balancers.health import HealthPolicy, HealthRegistry
from balancers.policies import LeastConnections, RoundRobin
from balancers.testing import ManualClock

STEADY = HealthPolicy(ejection_jitter=0.0, probe_jitter=0.0)
"""The defaults, chance aside."""


def busy(
    balancer: Policy,
    clock: ManualClock,
    until: float,
    fate: Callable[[str, float], tuple[bool, float]],
) -> Counter[tuple[str, bool]]:
    """Send 32 requests a second that take time; count how those of each endpoint end."""
    ends: list[tuple[float, int, Pick, bool]] = []
    counts: Counter[tuple[str, bool]] = Counter()

    def settle(to: float) -> None:
        while ends and ends[0][0] <= to:
            at, _, pick, good = heappop(ends)
            clock.advance(at - clock.now)
            pick.done(Outcome.SUCCESS if good else Outcome.FAILURE)

    for turn in range(1, int(until * 32) + 1):
        settle(turn / 32)
        clock.advance(turn / 32 - clock.now)
        pick = balancer.pick()
        good, seconds = fate(pick.endpoint.id, clock.now)
        heappush(ends, (clock.now + seconds, turn, pick, good))
        counts[pick.endpoint.id, good] += 1
    settle(until + 10.0)
    return counts


def test_fast_failing_endpoint_does_not_draw_the_traffic() -> None:
    """Errors in 1 ms among answers of 250 ms: always least loaded, and out after four of them.

    Bad from 10 s to 60 s. Each probation's pick comes with the next arrival, 1/32 s later, and
    fails 1/1024 s after that; the last one takes its 250 ms.
    """
    clock = ManualClock()
    registry = HealthRegistry(STEADY, clock=clock, rng=Random(1))
    balancer = LeastConnections(list("abcd"), health=registry, rng=Random(2))

    def fate(name: str, at: float) -> tuple[bool, float]:
        return (False, 1 / 1024) if name == "a" and 10.0 <= at < 60.0 else (True, 0.25)

    counts = busy(balancer, clock, 100.0, fate)
    way = [(e.at, e.new.value) for e in registry.events("a") if e.old is not e.new]

    assert way[1:] == [
        (10.2197265625, "ejected"),
        (20.2197265625, "probation"),
        (20.2509765625, "ejected"),
        (40.2509765625, "probation"),
        (40.2822265625, "ejected"),
        (80.2822265625, "probation"),
        (80.5625, "ramping"),
        (91.0, "healthy"),
    ]
    assert counts["a", False] == 6
    assert not [e for e in registry.events() if e.new.value == "ejected" and e.id != "a"]


def test_slow_endpoint() -> None:
    """Answers of 2 s among those of 250 ms: out at the end of the interval, back once quick.

    Slow from 12 s to 45 s; compared at 10, 20, 30 s …, limit three times the median. On
    probation it is judged when its answer is there, 2 s later.
    """
    clock = ManualClock()
    registry = HealthRegistry(STEADY.but(latency_factor=3.0), clock=clock, rng=Random(1))
    balancer = RoundRobin(list("abcd"), health=registry, rng=Random(2), phase=0)

    def fate(name: str, at: float) -> tuple[bool, float]:
        return (True, 2.0 if name == "a" and 12.0 <= at < 45.0 else 0.25)

    busy(balancer, clock, 100.0, fate)
    way = [(e.at, e.new.value) for e in registry.events("a") if e.old is not e.new]

    assert way[1:] == [
        (20.0, "ejected"),
        (30.0, "probation"),
        (32.09375, "ejected"),
        (52.09375, "probation"),
        (52.4375, "ramping"),
        (62.5, "healthy"),
    ]
    assert not [e for e in registry.events() if e.new.value == "ejected" and e.id != "a"]
