"""``Entry``: what the registry knows of one endpoint, and what a balancer reads of it.

A balancer uses three things: ``standing``, an immutable value replaced by one assignment;
``settle``, called with the end of every lease; and the picks on probation, taken and returned.
The rest is the registry's: facts that only ``machine`` and its helpers write, under the
registry's lock.

Invariants (checked by ``_check``):

1. The probes' verdict is False in UNHEALTHY and nowhere else.
2. EJECTED and PROBATION are sentenced; HEALTHY, DEGRADED and RAMPING are not. UNHEALTHY
   and GRACE may be, from before.
3. ``quiet`` is False while a success could change anything.
4. There is a date on the agenda exactly where time alone ends something.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from balancers.health.detectors import Detector, PoolRate
from balancers.health.detectors.tally import Tally
from balancers.health.states import Admin, HealthState
from balancers.protocol import Outcome

if TYPE_CHECKING:
    from balancers.health.caps import Group
    from balancers.health.engine import Engine

__all__ = ["Entry", "Standing"]

_SUCCESS = Outcome.SUCCESS
_CANCELLED = Outcome.CANCELLED


class Standing(NamedTuple):
    """An endpoint as picks should see it; weight is the balancer's matter.

    Attributes:
        state: Health, the operator's word apart.
        admin: The operator's word.
        admitted: Whether it may be picked: ENABLED, and admitted by its health.
        enabled: Whether it is ENABLED.
        ramp: Share of its weight, above 0 and up to 1.
        probation: Whether each pick needs a permit. Such an endpoint is admitted, but no
            capacity: leave it out where eligible weight is counted.
        why: Why it is as it is, in a phrase.
        until: When time alone changes ``state``, None if time alone does not.
    """

    state: HealthState
    admin: Admin
    admitted: bool
    enabled: bool
    ramp: float
    probation: bool
    why: str
    until: float | None


class Entry:
    """One endpoint of one registry, from the first holder to the last.

    Attributes:
        id: The endpoint.
        standing: What a balancer builds its view from.
        quiet: Whether a success says nothing new; a balancer may test it (or ``Calm.calm``)
            and count ``pool.good`` itself instead of calling ``settle``.
        pool: Counts the successes.
        live: Whether anybody holds the entry still.
    """

    __slots__ = (
        "admin",
        "back_at",
        "cleared_at",
        "counted",
        "degraded",
        "denied",
        "detectors",
        "drain_until",
        "ejected_until",
        "fails",
        "holders",
        "id",
        "joined",
        "judges",
        "live",
        "needs_grace",
        "parole",
        "passes",
        "permits",
        "phase",
        "pool",
        "probe_latency",
        "probe_started",
        "probed_at",
        "proven",
        "quiet",
        "ramp_since",
        "ramp_step",
        "ramped_at",
        "reason",
        "refill_at",
        "registry",
        "sentenced",
        "serial",
        "since",
        "slow_limit",
        "standing",
        "state",
        "strikes",
        "tally",
        "verdict",
        "warm",
        "well_since",
    )

    def __init__(
        self,
        registry: Engine,
        name: str,
        serial: int,
        now: float,
        pool: PoolRate,
        detectors: tuple[Detector, ...],
        tally: Tally | None,
    ) -> None:
        self.registry: Engine = registry
        self.id: str = name
        self.serial: int = serial
        self.pool: PoolRate = pool
        self.live: bool = True
        self.quiet: bool = False
        self.holders: dict[Group, None] = {}
        self.judges: tuple[Group, ...] = ()
        # as the judges count it; see ``caps``
        self.counted: tuple[bool, bool, bool] = (False, False, False)
        self.joined: float = now
        # the operator
        self.admin: Admin = Admin.ENABLED
        self.drain_until: float = math.inf
        # the state
        self.state: HealthState = HealthState.UNKNOWN
        self.since: float = now
        self.reason: str = "nothing seen yet"
        # probes
        self.verdict: bool | None = None
        self.passes: int = 0
        self.fails: int = 0
        self.well_since: float | None = None
        self.degraded: bool = False
        self.needs_grace: bool = False
        self.probed_at: float | None = None
        self.probe_latency: float | None = None
        self.probe_started: float | None = None
        self.phase: float = 0.0
        # traffic
        self.detectors: tuple[Detector, ...] = detectors
        self.tally: Tally | None = tally
        self.sentenced: bool = False
        self.parole: bool = False
        self.ejected_until: float = -math.inf
        self.strikes: int = 0
        self.cleared_at: float = now
        self.back_at: float = now
        self.slow_limit: float | None = None
        self.denied: int = 0
        self.permits: list[None] = []
        self.proven: int = 0
        self.refill_at: float = math.inf
        # the ramp
        self.warm: bool = True
        self.ramp_since: float = now
        self.ramped_at: float = now
        self.ramp_step: int = 0
        self.standing: Standing = Standing(
            HealthState.UNKNOWN, Admin.ENABLED, False, True, 1.0, False, self.reason, None
        )

    def settle(
        self,
        outcome: Outcome,
        latency: float | None = None,
        retry_after: float | None = None,
        started: float | None = None,
    ) -> None:
        """Tell how a request ended. O(1), never waits.

        Args:
            outcome: CANCELLED says nothing; on probation it gives the pick back.
            latency: Seconds, if known.
            retry_after: Seconds the server asked to be left alone.
            started: When the request was sent, on the registry's clock; None: just now. What
                was sent before the endpoint's last return says nothing about it any more.
        """
        if outcome is _SUCCESS and self.quiet and retry_after is None:
            self.pool.good += 1
        elif self.live:
            if outcome is not _CANCELLED:
                self.registry._settled(self, outcome, latency, retry_after, started)
            elif started is None or started >= self.since:
                self.return_probation_pick()

    def take_probation_pick(self) -> bool:
        """Take one of the picks allowed on probation; False: choose another endpoint.

        Its lease gives it back by ending as CANCELLED. O(1), never waits.
        """
        try:
            self.permits.pop()
        except IndexError:
            standing = self.standing  # readmitted since the view was built: no pick is needed
            return standing.admitted and not standing.probation
        return True

    @property
    def takes_probation_pick(self) -> bool:
        """Whether ``take_probation_pick`` would say yes."""
        standing = self.standing
        return bool(self.permits) or (standing.admitted and not standing.probation)

    def return_probation_pick(self) -> None:
        """Give back what ``take_probation_pick`` gave, if the probation still runs. O(1)."""
        permits = self.permits
        # More than all of them come back where panic sent requests without asking.
        if self.standing.probation and len(permits) < self.registry.policy.probation_picks:
            permits.append(None)

    @property
    def fails_on_panic(self) -> bool:
        """Whether a balancer with too few eligible endpoints should fail."""
        return self.registry.policy.on_panic == "fail"

    def hush(self, quiet: bool) -> None:
        """Note whether a success would change nothing, here and with every balancer."""
        if quiet is self.quiet:
            return
        self.quiet = quiet
        calm = self.pool if quiet else None
        for group in self.holders:
            attachment = None if group.owner is None else group.owner()
            cell = None if attachment is None else attachment.cells.get(self.id)
            if cell is not None and cell.entry is self:
                cell.calm = calm

    def reset_detectors(self) -> None:
        """Forget the outcomes that led here."""
        for detector in self.detectors:
            detector.reset()
        if self.tally is not None:
            self.tally.reset()

    def hushed(self) -> bool:
        """Whether a success would change nothing; see invariant 3."""
        if not self.live or self.tally is not None:
            return False
        if self.state is HealthState.PROBATION:
            return False
        if self.state is HealthState.UNKNOWN:
            return self.registry.policy.first_state == "wait"
        return all(detector.quiet for detector in self.detectors)

    def _check(self) -> None:
        assert (self.verdict is False) == (self.state is HealthState.UNHEALTHY)
        if self.state in (HealthState.EJECTED, HealthState.PROBATION):
            assert self.sentenced
        elif self.state not in (HealthState.UNHEALTHY, HealthState.GRACE):
            assert not self.sentenced
            assert not self.parole
        assert self.quiet <= self.hushed()
        assert 0.0 < self.standing.ramp <= 1.0
        assert self.standing.state is self.state
        assert self.standing.admin is self.admin
        assert len(self.permits) <= self.registry.policy.probation_picks

    def __repr__(self) -> str:
        return f"<Entry {self.id!r} {self.state.value}, {self.admin.value}>"
