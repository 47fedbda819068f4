"""``explain``: what a pick would do, moving nothing."""

from __future__ import annotations

import random

import pytest

from balancers import (
    Endpoint,
    HealthRegistry,
    NoEligibleEndpointError,
    Outcome,
    Priority,
    Reason,
    RingHash,
    RoundRobin,
)
from balancers.policies import registered
from balancers.testing import ManualClock

KEYS = {"IPHash": "10.0.0.1"}


def test_skipped_says_why():
    """Whoever is not considered is skipped for a reason: weight 0, or exclude."""
    balancer = RoundRobin([Endpoint("a", weight=0), "b", "c"])
    told = balancer.explain(exclude=["b", "departed"])
    assert told.chosen == Endpoint("c")
    assert told.considered == (Endpoint("c"),)
    assert set(told.skipped) == {"a", "b"}
    assert "weight" in told.skipped["a"]
    assert "exclude" in told.skipped["b"]
    assert told.reason is Reason.NORMAL
    assert told.path == ("RoundRobin",)


def test_nobody():
    """Where a pick would raise, ``chosen`` is None, and nothing raises."""
    balancer = RoundRobin([])
    assert balancer.explain().chosen is None
    balancer.update([Endpoint("a", weight=0)])
    assert balancer.explain().chosen is None
    balancer.update(["a"])
    assert balancer.explain(exclude=["a"]).chosen is None


@pytest.mark.parametrize("name", registered())
def test_any_random_source_will_do(name):
    """``explain`` works with a source of chance that has no state to copy."""
    balancer = registered()[name](["a", "b"], rng=random.SystemRandom())
    key = KEYS.get(name, "key")
    chosen = balancer.explain(key).chosen
    assert chosen is not None
    assert chosen.id in "ab"


def test_does_not_drain():
    """``explain`` touches no ledger: a dropped lease stays for the next pick to find."""
    balancer = RoundRobin(["a"])
    balancer.pick()
    balancer.explain()
    with pytest.warns(ResourceWarning):
        balancer.snapshot()


def tree(endpoints, **options):
    """Return a round robin inside a composite."""
    return Priority(endpoints, policy=RoundRobin, **options)


def inner(endpoints, health):
    """Return the same, where the inner balancer alone follows the registry."""
    return Priority(endpoints, policy=lambda e: RoundRobin(e, health=health), clock=health.clock)


@pytest.mark.parametrize("make", [RoundRobin, RingHash, tree, inner])
def test_time_and_probation_count(make):
    """What is due by now is done, as a pick would; who has no pick left on probation is skipped."""
    clock = ManualClock()
    registry = HealthRegistry(clock=clock)
    balancer = make(["a", "b"], health=registry)
    for _ in range(5):
        registry.record("a", Outcome.FAILURE)
    assert balancer.explain("key", exclude=["b"]).chosen is None
    clock.advance(60.0)  # its ejection is over, though nobody has picked since
    taken = []
    for _ in range(registry.policy.probation_picks):
        told = balancer.explain("key", exclude=["b"])
        taken.append(balancer.pick("key", exclude=["b"]))
        assert told.chosen is taken[-1].endpoint
        assert told.reason is taken[-1].reason
    told = balancer.explain("key", exclude=["b"])
    assert told.chosen is None
    assert "probation" in told.skipped["a"]
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick("key", exclude=["b"])
    assert balancer.explain("key").chosen.id == balancer.pick("key").endpoint.id == "b"
    for pick in taken:
        pick.done(Outcome.CANCELLED)  # gives its permit back
    assert balancer.explain("key", exclude=["b"]).chosen.id == "a"
