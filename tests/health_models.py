"""A slow, obvious model of the health registry, and the least of a balancer.

The model knows no table and no agenda. It keeps facts, walks through time in steps of half a
second, and merges the facts into a state by precedence at every step. Jitter is off and every
time is a multiple of half a second, so both sides are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from balancers.health import Admin, HealthPolicy, HealthRegistry, HealthState
from balancers.health.entry import Standing
from balancers.testing import ManualClock

__all__ = ["CALM", "STEP", "Facts", "FakeBalancer", "Slow", "registry_at"]

STEP = 0.5

CALM = HealthPolicy(
    consecutive_failures=2,
    sequential=False,
    rise=2,
    fall=2,
    minimum_healthy_time=3.0,
    ejection_time=4.0,
    ejection_time_max=16.0,
    ejection_jitter=0.0,
    ejection_decay=8.0,
    retry_after_max=6.0,
    probation_picks=2,
    probation_successes=2,
    probation_patience=5.0,
    probe_jitter=0.0,
    slow_start=10.0,
    slow_start_minimum=0.1,
)
"""Small numbers, multiples of half a second, no jitter."""


def registry_at(
    policy: HealthPolicy = CALM, start: float = 0.0
) -> tuple[HealthRegistry, ManualClock]:
    """Return a registry and the clock it reads."""
    clock = ManualClock(start)
    return HealthRegistry(policy, clock=clock, rng=Random(1)), clock


class FakeBalancer:
    """The least a balancer does with the registry: its view is a copy of the standings."""

    def __init__(self, registry: HealthRegistry, weights: Mapping[str, float]) -> None:
        self.refreshes = 0
        self.open: dict[str, int] = {}
        self.attachment = registry.attach(self._refresh, in_flight=self._in_flight)
        self.update(weights)

    def update(self, weights: Mapping[str, float]) -> None:
        self.entries = self.attachment.hold(weights)
        self.view = self._standings()

    def _refresh(self) -> None:
        self.refreshes += 1
        self.view = self._standings()

    def _in_flight(self, name: str) -> int:
        return self.open.get(name, 0)

    def _standings(self) -> dict[str, Standing]:
        return {name: entry.standing for name, entry in self.entries.items()}


@dataclass
class Facts:
    """What the model remembers of one endpoint."""

    born: float
    admin: Admin = Admin.ENABLED
    drain_end: float = math.inf
    verdict: bool | None = None
    passes: int = 0
    fails: int = 0
    well_since: float | None = None
    recovering: bool = False
    degraded: bool = False
    seen: bool = False
    run: int = 0
    sentence_end: float = -math.inf
    parole: bool = False
    guilty: bool = False
    strikes: int = 0
    cleared: float = 0.0
    back: float = 0.0
    since: float = 0.0
    picks: int = 0
    proven: int = 0
    refill: float = math.inf
    ramp_from: float | None = None
    state: HealthState = HealthState.UNKNOWN


SERVING = {HealthState.HEALTHY, HealthState.DEGRADED, HealthState.RAMPING}


@dataclass
class Slow:
    """One balancer's endpoints, by facts."""

    policy: HealthPolicy
    now: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Facts] = field(default_factory=dict)
    orders: dict[str, tuple[Admin, float]] = field(default_factory=dict)
    history: list[tuple[str, HealthState, HealthState, float]] = field(default_factory=list)

    # -- merging ---------------------------------------------------------------------------

    def merged(self, f: Facts) -> HealthState:
        if f.verdict is False:
            return HealthState.UNHEALTHY
        if self.now < f.sentence_end:
            return HealthState.EJECTED
        if f.recovering and (
            f.well_since is None or self.now < f.well_since + self.policy.minimum_healthy_time
        ):
            return HealthState.GRACE
        if f.parole:
            return HealthState.PROBATION
        if not f.seen:
            return HealthState.UNKNOWN
        if self.warming(f):
            return HealthState.RAMPING
        return HealthState.DEGRADED if f.degraded else HealthState.HEALTHY

    def warming(self, f: Facts) -> bool:
        return f.ramp_from is not None and self.now < f.ramp_from + self.policy.slow_start

    def serves(self, f: Facts) -> bool:
        return f.state in SERVING or (
            f.state is HealthState.UNKNOWN and self.policy.first_state == "optimistic"
        )

    def follow(self, name: str, *, again: bool = False) -> None:
        """Merge the facts, and draw the consequences of a new state."""
        f = self.facts[name]
        new = self.merged(f)
        if new is f.state and not again:
            return
        old = f.state
        if new in SERVING:
            if f.guilty:
                f.cleared = self.now
            f.guilty = f.recovering = False
            f.sentence_end = -math.inf
            if old not in SERVING and old is not HealthState.UNKNOWN:
                f.back = self.now
                f.ramp_from = self.now if self.policy.slow_start else None
            if old is HealthState.UNKNOWN and self.policy.first_state == "wait":
                f.ramp_from = self.now if self.policy.slow_start_joiners else None
            new = self.merged(f)
        else:
            f.run = 0
            f.ramp_from = None
        if new is HealthState.PROBATION:
            f.recovering = False
            f.picks = self.policy.probation_picks
            f.proven = 0
            f.refill = self.now + self.policy.probation_patience
        else:
            f.picks = 0
            f.refill = math.inf
        f.state = new
        f.since = self.now
        self.history.append((name, old, new, self.now))

    # -- time ------------------------------------------------------------------------------

    def pass_time(self, to: float) -> None:
        while self.now < to:
            self.now += STEP
            for name in self.facts:  # in the order of joining
                f = self.facts[name]
                if f.drain_end <= self.now:
                    f.admin, f.drain_end = Admin.DISABLED, math.inf
                    self.history.append((name, f.state, f.state, self.now))
                self.follow(name)
                if f.state is HealthState.PROBATION and f.refill <= self.now:
                    f.picks = self.policy.probation_picks
                    f.refill = self.now + self.policy.probation_patience
                self.spare()

    # -- caps ------------------------------------------------------------------------------

    def judged(self) -> list[str]:
        return [n for n, w in self.weights.items() if w and self.facts[n].admin is Admin.ENABLED]

    def out(self) -> list[str]:
        return [n for n in self.judged() if self.facts[n].guilty]

    def eligible(self) -> list[str]:
        return [n for n in self.judged() if self.serves(self.facts[n])]

    def may_lose(self, name: str) -> bool:
        if name not in self.judged():
            return True
        if len([n for n in self.eligible() if n != name]) < self.policy.min_eligible:
            return False
        return self.within([*self.out(), name])

    def within(self, out: list[str]) -> bool:
        if len(out) <= self.policy.min_ejected:
            return True
        share = self.policy.max_ejected
        everybody = math.fsum(self.weights[n] for n in self.judged())
        return len(out) <= share * len(self.judged()) and (
            math.fsum(self.weights[n] for n in out) <= share * everybody
        )

    def spare(self) -> None:
        while self.out():
            order = {HealthState.PROBATION: 0, HealthState.EJECTED: 1}
            ranked = sorted(
                self.out(),
                key=lambda n: (
                    order.get(self.facts[n].state, 2),
                    self.facts[n].sentence_end,
                    self.facts[n].born,
                ),
            )
            few = len(self.eligible()) < self.policy.min_eligible
            found = [n for n in ranked if self.facts[n].state in order]
            if few and found:
                name = found[0]
            elif not self.within(self.out()):
                name = ranked[0]
            else:
                return
            f = self.facts[name]
            f.parole = False
            f.sentence_end = -math.inf
            f.seen = True
            if f.state not in order:
                f.guilty = False
            if f.state is HealthState.EJECTED and f.recovering:
                f.recovering = False  # let back at once, whatever is left of the grace
            self.follow(name)

    # -- events ----------------------------------------------------------------------------

    def hold(self, weights: dict[str, float]) -> None:
        for name in [n for n in self.weights if n not in weights]:
            del self.weights[name], self.facts[name]
        for name, weight in weights.items():
            if name not in self.facts:
                f = Facts(born=max([g.born for g in self.facts.values()], default=0) + 1)
                f.back = f.cleared = f.since = self.now
                if self.policy.slow_start_joiners and self.policy.first_state == "optimistic":
                    f.ramp_from = self.now
                f.admin, f.drain_end = self.orders.get(name, (Admin.ENABLED, math.inf))
                if f.drain_end <= self.now:
                    f.admin, f.drain_end = Admin.DISABLED, math.inf
                self.facts[name] = f
            self.weights[name] = weight
        self.spare()

    def set_admin(self, name: str, admin: Admin, timeout: float | None) -> None:
        end = math.inf if timeout is None else self.now + timeout
        self.orders[name] = (admin, end)
        if name in self.facts:
            f = self.facts[name]
            if end <= self.now:
                admin, end = Admin.DISABLED, math.inf
            if f.admin is not admin:
                self.history.append((name, f.state, f.state, self.now))
            f.admin, f.drain_end = admin, end
            self.spare()

    def probe(self, name: str, ok: bool, degraded: bool) -> None:
        f = self.facts[name]
        if ok:
            f.fails, f.passes = 0, f.passes + 1
            f.degraded = degraded
            f.well_since = self.now if f.well_since is None else f.well_since
            if f.verdict is not False or f.passes >= self.policy.rise:
                f.verdict = True
            f.seen = f.seen or f.verdict is True
        else:
            f.passes, f.fails = 0, f.fails + 1
            f.well_since = None
            waiting = f.recovering and f.state in (HealthState.GRACE, HealthState.EJECTED)
            if f.fails >= self.policy.fall or waiting:
                f.verdict = False
                f.recovering = self.policy.minimum_healthy_time > 0
                f.seen = True
        self.follow(name)
        self.spare()

    def outcome(
        self, name: str, good: bool, retry_after: float | None, started: float | None
    ) -> None:
        f = self.facts[name]
        asked = min(retry_after or 0.0, self.policy.retry_after_max)
        if f.state is HealthState.PROBATION:
            if started is not None and started < f.since:
                return
            if good and not asked:
                f.proven += 1
                if f.proven >= self.policy.probation_successes:
                    f.parole = False
            else:
                self.sentence(f, asked, guilty=True)
            self.follow(name)
        elif self.serves(f):
            if started is not None and started < f.back:
                return
            f.run = 0 if good else f.run + 1
            if good and not f.seen:
                f.seen = True
                self.follow(name)
            if self.policy.consecutive_failures and f.run >= self.policy.consecutive_failures:
                if self.may_lose(name):
                    self.sentence(f, asked, guilty=True)
            elif asked and self.may_lose(name):
                self.sentence(f, asked, guilty=False)
            self.follow(name)
        elif f.state is HealthState.EJECTED and asked and self.now + asked > f.sentence_end:
            self.sentence(f, asked, guilty=False)
            self.follow(name, again=True)
        self.spare()

    def sentence(self, f: Facts, asked: float, *, guilty: bool) -> None:
        seconds = 0.0
        policy = self.policy
        if guilty:
            if not f.guilty:
                good_conduct = int((self.now - f.cleared) / policy.ejection_decay)
                f.strikes = max(0, f.strikes - good_conduct)
            f.strikes += 1
            doubled = policy.ejection_time
            for _ in range(f.strikes - 1):
                doubled = min(2 * doubled, policy.ejection_time_max)
            seconds = doubled
        f.guilty = f.seen = True
        f.parole = policy.probation_picks > 0
        f.sentence_end = max(f.sentence_end, self.now + max(seconds, asked))
