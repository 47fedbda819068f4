"""Health that changes while the settling thread itself holds a private lock: a finalizer's case."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import pytest

from balancers import (
    Adaptive,
    HealthPolicy,
    HealthRegistry,
    HealthState,
    LeastConnections,
    LeastResponseTime,
    Limit,
    Maglev,
    Outcome,
    Priority,
    Rendezvous,
    RingHash,
    RoundRobin,
    Sticky,
    WeightedRoundRobin,
    ZoneAware,
)
from balancers.core import membership
from balancers.testing import ManualClock

LOCKING = {
    "WeightedRoundRobin": WeightedRoundRobin,
    "LeastConnections": LeastConnections,
    "LeastResponseTime": LeastResponseTime,
    "Adaptive": Adaptive,
    "RingHash bounded": partial(RingHash, load_factor=1.5),
    "Maglev bounded": partial(Maglev, load_factor=1.5, table_size=251),
    "Rendezvous bounded": partial(Rendezvous, load_factor=1.5),
    "Limit": partial(Limit, policy=RoundRobin, per_endpoint=50),
    "Sticky bounded": partial(Sticky, policy=RoundRobin, mode="table", load_factor=1.5),
    "three tiers": partial(
        Priority, policy=partial(ZoneAware, policy=LeastConnections, local_zone="a")
    ),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "LEAVE", 1e-3)


@pytest.mark.parametrize("make", LOCKING.values(), ids=LOCKING)
def test_an_ejection_in_the_middle_of_a_pick_is_shown_by_the_next(make):
    """It neither waits for the lock of its own thread nor is lost."""
    registry = HealthRegistry(
        HealthPolicy(consecutive_failures=2, sequential=False), clock=ManualClock()
    )
    balancer = make(["a", "b", "c", "d"], health=registry)
    leases = [balancer.pick("key", exclude=["b", "c", "d"]) for _ in range(2)]
    locks = balancer._private_locks()
    assert locks
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        for lease in leases:
            lease.done(Outcome.FAILURE)
    assert registry.state("a") is HealthState.EJECTED
    for key in map(str, range(50)):
        with balancer.pick(key) as pick:
            assert pick.endpoint.id != "a"


def test_a_lock_that_is_free_leaves_nothing_to_do():
    """Where nobody picks meanwhile, the settlement itself shows the change."""
    registry = HealthRegistry(
        HealthPolicy(consecutive_failures=2, sequential=False), clock=ManualClock()
    )
    balancer = LeastConnections(["a", "b"], health=registry)
    for _ in range(2):
        balancer.pick(exclude=["b"]).done(Outcome.FAILURE)
    assert not balancer._ledger.abandoned
    assert [cell.endpoint.id for cell in balancer._view.cells] == ["b"]
