"""Health changes and ``close`` that come in the middle of something else."""

from __future__ import annotations

import pytest

from balancers import HealthState, Outcome, RoundRobin
from balancers.core import Policy
from balancers.health.policy import HealthPolicy
from balancers.health.registry import HealthRegistry
from balancers.testing import ManualClock

ONE_STRIKE = HealthPolicy(consecutive_failures=1, sequential=False, ejection_jitter=0.0)


def states(balancer):
    """State by id."""
    return {view.endpoint.id: view.state for view in balancer.snapshot().endpoints}


def test_a_health_change_during_an_update_that_fails():
    """A lease that fails while an update fails too: the view shows the ejection all the same."""

    class Failing(Policy):
        def _build(self, view):
            if any(endpoint.id == "late" for endpoint in view.roster):
                self.pick(exclude=["b", "c"]).done(Outcome.FAILURE)
                raise ZeroDivisionError

        def _choose(self, view, key, exclude, cost, rng):
            return next(cell for cell in view.cells if cell.endpoint.id not in exclude)

    registry = HealthRegistry(ONE_STRIKE, clock=ManualClock())
    balancer = Failing(["a", "b", "c"], health=registry)
    with pytest.raises(ZeroDivisionError):
        balancer.update(["a", "b", "c", "late"])
    assert [endpoint.id for endpoint in balancer.endpoints] == ["a", "b", "c"]
    assert "a" in balancer.explain().skipped
    assert states(balancer)["a"] is HealthState.EJECTED


def test_an_old_view_of_a_closed_balancer():
    """A pick that holds a view from before ``close`` asks nobody for a permit, and goes on."""
    clock = ManualClock()
    registry = HealthRegistry(ONE_STRIKE, clock=clock)
    balancer = RoundRobin(["a", "b", "c"], health=registry, clock=clock)
    balancer.pick(exclude=["b", "c"]).done(Outcome.FAILURE)
    clock.advance(11.0)
    registry.tick()
    assert states(balancer)["a"] is HealthState.PROBATION
    before = balancer._view
    assert before.probing
    balancer.close()
    balancer._view, balancer._chooser = before, None  # what a pick in the middle has in hand
    for _ in range(6):
        with balancer.pick(exclude=["b", "c"]) as pick:
            assert pick.endpoint.id == "a"


def test_a_lease_from_before_close_ends_quietly():
    """A lease that was to be told to the registry settles after ``close`` like any other."""
    clock = ManualClock()
    for end in ("done", "block", "responded"):
        registry = HealthRegistry(clock=clock)
        balancer = RoundRobin(["a"], health=registry, clock=clock)
        pick = balancer.pick()
        balancer.close()
        if end == "responded":
            pick.responded()
        if end == "block":
            with pick:
                pass
        else:
            assert pick.done(Outcome.FAILURE)
        assert [view.in_flight for view in balancer.snapshot().endpoints] == [0]
        assert not pick.done()
