"""``explain``: what a pick would do, moving nothing."""

from __future__ import annotations

import random

import pytest

from balancers import Endpoint, Reason, RoundRobin
from balancers.policies import registered

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
