"""The health registry and its slow model, given the same events and compared after each."""

from __future__ import annotations

import math
from typing import Any

from health_models import CALM, STEP, FakeBalancer, Slow, registry_at

from balancers import Outcome
from balancers.health import Admin, HealthPolicy, HealthState
from balancers.health.entry import Entry

__all__ = ["Twin"]


class Twin:
    """The registry and the model, given the same events and compared after each."""

    def __init__(self, policy: HealthPolicy = CALM) -> None:
        self.registry, self.clock = registry_at(policy)
        self.events: list[Any] = []
        self.registry.subscribe(self.events.append)
        self.model = Slow(policy)
        self.balancer = FakeBalancer(self.registry, {})

    @property
    def names(self) -> list[str]:
        return list(self.model.facts)

    def hold(self, weights: dict[str, float]) -> None:
        self.balancer.update(weights)
        self.registry.tick()  # what ``hold`` does to others is shown by the next call
        self.model.hold(weights)
        self.compare()

    def advance(self, steps: int) -> None:
        self.clock.advance(steps * STEP)
        self.model.pass_time(self.clock.now)
        if self.registry.deadline <= self.clock.now:
            self.registry.advance(self.clock.now)
        self.compare()

    def set_admin(self, name: str, admin: Admin, timeout: float | None = None) -> None:
        self.registry.set_admin(name, admin, timeout=timeout)
        self.model.set_admin(name, admin, timeout)
        self.compare()

    def probe(self, name: str, ok: bool, degraded: bool = False) -> None:
        assert self.registry.record_probe(name, ok, degraded=degraded)
        self.model.probe(name, ok, degraded)
        self.compare()

    def request(
        self,
        name: str,
        outcome: Outcome,
        retry_after: float | None = None,
        started: float | None = None,
    ) -> None:
        """A request outside any lease if ``started`` is None, else a lease that ends."""
        entry: Entry = self.balancer.entries[name]
        if started is None and outcome is not Outcome.CANCELLED:
            assert self.registry.record(name, outcome, retry_after=retry_after)
        else:
            entry.settle(outcome, None, retry_after, started)
        if outcome is not Outcome.CANCELLED:
            self.model.outcome(name, outcome is Outcome.SUCCESS, retry_after, started)
        elif (f := self.model.facts[name]).state is HealthState.PROBATION and (
            started is None or started >= f.since
        ):
            f.picks = min(f.picks + 1, self.model.policy.probation_picks)
        self.compare()

    def take(self, name: str) -> None:
        """A pick on probation."""
        taken = self.balancer.entries[name].take_probation_pick()
        f = self.model.facts[name]
        if f.state is HealthState.PROBATION:
            assert taken == (f.picks > 0)
            f.picks = max(0, f.picks - 1)
        else:
            assert taken == (self.model.serves(f) and f.admin is Admin.ENABLED)
        self.compare()

    def compare(self) -> None:
        registry, model = self.registry, self.model
        registry._check()
        assert registry.clock() == model.now
        for name, f in model.facts.items():
            standing = self.balancer.view[name]
            live = self.balancer.entries[name].standing
            assert live.state is f.state, name
            assert live.admin is f.admin
            assert len(self.balancer.entries[name].permits) == f.picks
            enabled = f.admin is Admin.ENABLED
            probation = f.state is HealthState.PROBATION
            ramp = 1.0
            if model.serves(f) and model.warming(f):
                assert f.ramp_from is not None
                beats = math.floor((model.now - f.ramp_from) / model.policy.slow_start * 20)
                ramp = max(2, beats) / 20
            shown = (standing.admitted, standing.enabled, standing.ramp, standing.probation)
            assert shown == (enabled and (model.serves(f) or probation), enabled, ramp, probation)
        told = [(e.id, e.old, e.new, e.at) for e in self.events]
        assert told == model.history
