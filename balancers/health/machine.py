"""The state machine: facts and triggers in, states and standings out.

Knows no lock and reads no clock: ``registry`` calls it with both. It is a pure function of
the events and their times; in particular, what time alone does is dated by when it was due,
not by when somebody looked, so that looking more often changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from balancers.health.caps import Group, within_caps
from balancers.health.detectors import PoolRate
from balancers.health.ejection import remaining_strikes, sentence
from balancers.health.entry import Entry, Standing
from balancers.health.events import HealthEvent
from balancers.health.policy import HealthPolicy
from balancers.health.ramp import STEPS, Ramp
from balancers.health.states import Admin, HealthState
from balancers.health.transitions import TABLE, Trigger
from balancers.structures.agenda import Agenda

__all__ = ["SERVICE", "Machine"]

_DEGRADED = HealthState.DEGRADED

SERVICE = frozenset({HealthState.HEALTHY, HealthState.DEGRADED, HealthState.RAMPING})
"""States in which traffic is sent without a permit, UNKNOWN aside."""


class Machine:
    """Moves entries by the table, and keeps count of what that means for their groups.

    Attributes:
        touched: Groups whose balancers must rebuild their views.
        events: What happened, for the log and the subscribers.
        shaken: Groups whose caps must be looked at again.
        agenda: When time alone changes which entry.
        pool: Failure rate of everybody in service.
    """

    def __init__(self, policy: HealthPolicy, rng: Random) -> None:
        self.policy = policy
        self.rng = rng
        self.ramp: Ramp = Ramp(policy)
        self.pool: PoolRate = PoolRate()
        self.agenda: Agenda[Entry] = Agenda()
        self.touched: dict[Group, None] = {}
        self.events: list[HealthEvent] = []
        self.shaken: dict[Group, None] = {}
        self.serving: int = 0
        self._optimistic = policy.first_state == "optimistic"
        self._holds: dict[str, Callable[[Entry, float], bool]] = {
            "time left": lambda entry, at: entry.ejected_until > at,
            "grace left": lambda entry, at: self._grace_end(entry) > at,
            "on parole": lambda entry, at: entry.parole,
            "cold": lambda entry, at: not entry.warm,
            "degraded": lambda entry, at: entry.degraded,
            "not degraded": lambda entry, at: not entry.degraded,
            "within caps": lambda entry, at: self._spared_by_all(entry),
        }

    # -- triggers --------------------------------------------------------------------------

    def fire(
        self,
        entry: Entry,
        trigger: Trigger,
        at: float,
        reason: str,
        *,
        asked: float = 0.0,
        guilty: bool = True,
    ) -> bool:
        """Move the entry where the table says; False if it stays.

        Args:
            entry: The endpoint.
            trigger: What happened.
            at: When.
            reason: Why, for the log.
            asked: Seconds the server asked to be left alone, for an ejection.
            guilty: Whether a detector spoke, rather than the server alone.
        """
        for target, guard in TABLE[entry.state].get(trigger, ()):
            if guard is None or self._holds[guard](entry, at):
                if target is HealthState.EJECTED:
                    self._sentence(entry, trigger, at, asked, guilty)
                self._enter(entry, target, at, reason)
                return True
        return False

    def in_service(self, entry: Entry) -> bool:
        """Whether health admits the entry to unlimited picks."""
        return entry.state in SERVICE or (entry.state is HealthState.UNKNOWN and self._optimistic)

    def _enter(self, entry: Entry, target: HealthState, at: float, reason: str) -> None:
        old = entry.state
        entry.state = target
        entry.since = at
        entry.reason = reason
        if target in SERVICE:
            if entry.sentenced:
                entry.cleared_at = at
            if old not in SERVICE and old is not HealthState.UNKNOWN:
                entry.back_at = at
            entry.sentenced = entry.parole = entry.needs_grace = False
            entry.ejected_until = -math.inf
            entry.slow_limit = None
            if target is HealthState.RAMPING:
                if old is not HealthState.UNKNOWN or not self._optimistic:
                    entry.ramp_since = at
                entry.ramped_at = at
                entry.ramp_step = self.ramp.step(entry.ramp_since, at)
            else:
                entry.warm = True
        else:
            entry.warm = not self.policy.slow_start
            entry.reset_detectors()
        if target is HealthState.UNHEALTHY:
            entry.needs_grace = self.policy.minimum_healthy_time > 0.0
        if target is HealthState.PROBATION:
            entry.needs_grace = False
            entry.proven = 0
            self.refill(entry, at)
        else:
            entry.permits = []
            entry.refill_at = math.inf
        self.events.append(HealthEvent(entry.id, old, target, reason, at, self._until(entry)))
        self.publish(entry)

    def _sentence(
        self, entry: Entry, trigger: Trigger, at: float, asked: float, guilty: bool
    ) -> None:
        """Set how long the ejection takes, unless it is an old one that still runs."""
        if trigger is Trigger.UP:
            return
        asked = min(asked, self.policy.retry_after_max)
        seconds = 0.0
        if guilty:
            if not entry.sentenced:
                conduct = at - entry.cleared_at
                entry.strikes = remaining_strikes(self.policy, entry.strikes, conduct)
            entry.strikes += 1
            seconds = sentence(self.policy, entry.strikes, self.rng)
        entry.sentenced = True
        entry.parole = self.policy.probation_picks > 0
        entry.ejected_until = at + max(seconds, asked)

    def refill(self, entry: Entry, at: float) -> None:
        """Allow a full set of picks on probation."""
        entry.permits = [None] * self.policy.probation_picks
        entry.refill_at = at + self.policy.probation_patience

    # -- time ------------------------------------------------------------------------------

    def due(self, entry: Entry, at: float, to: float) -> None:
        """Do what time does to the entry at ``at``; nothing but time happens until ``to``."""
        if entry.drain_until <= at:
            entry.drain_until = math.inf
            self.order(entry, Admin.DISABLED, at, "drain timeout")
        state = entry.state
        if state is HealthState.EJECTED and entry.ejected_until <= at:
            self.fire(entry, Trigger.SERVED, at, "ejection served")
        elif state is HealthState.GRACE and self._grace_end(entry) <= at:
            self.fire(entry, Trigger.SETTLED, at, "passed probes for the minimum healthy time")
        elif state is HealthState.PROBATION and entry.refill_at <= at:
            # The refills in between, if time jumps, would find the picks untouched.
            patience = self.policy.probation_patience
            self.refill(entry, at + (to - at) // patience * patience)
            entry.refill_at = max(entry.refill_at, math.nextafter(to, math.inf))
            self.schedule(entry)
        elif self._ramps_on(entry) <= at:
            entry.ramped_at = at
            entry.ramp_step = self.ramp.step(entry.ramp_since, at)
            if entry.ramp_step < STEPS:
                self.publish(entry)
            else:
                entry.warm = True
                if not self.fire(entry, Trigger.RAMPED, at, "slow start is over"):
                    self.publish(entry)
        else:
            self.schedule(entry)

    def schedule(self, entry: Entry) -> None:
        """Put the entry's next date on the agenda."""
        date = entry.drain_until
        state = entry.state
        if state is HealthState.EJECTED:
            date = min(date, entry.ejected_until)
        elif state is HealthState.GRACE:
            date = min(date, self._grace_end(entry))
        elif state is HealthState.PROBATION:
            date = min(date, entry.refill_at)
        else:
            date = min(date, self._ramps_on(entry))
        self.agenda.put(entry, date)

    def _ramps_on(self, entry: Entry) -> float:
        if entry.warm or not self.in_service(entry):
            return math.inf
        return self.ramp.next(entry.ramp_since, entry.ramp_step, entry.ramped_at)

    def _grace_end(self, entry: Entry) -> float:
        if not entry.needs_grace:
            return -math.inf
        if entry.well_since is None:
            return math.inf
        return entry.well_since + self.policy.minimum_healthy_time

    def _until(self, entry: Entry) -> float | None:
        if entry.state is HealthState.EJECTED:
            return entry.ejected_until
        if entry.state is HealthState.GRACE:
            return self._grace_end(entry)
        if entry.state is HealthState.RAMPING:
            return self.ramp.end(entry.ramp_since)
        return None

    # -- the operator ----------------------------------------------------------------------

    def order(self, entry: Entry, admin: Admin, at: float, reason: str) -> None:
        """Note the operator's word; the state stays."""
        if entry.admin is admin:
            self.schedule(entry)
            return
        entry.admin = admin
        until = entry.drain_until if entry.drain_until < math.inf else None
        text = f"{reason}: {admin.value}"
        self.events.append(HealthEvent(entry.id, entry.state, entry.state, text, at, until))
        self.publish(entry)

    # -- what others see -------------------------------------------------------------------

    def publish(self, entry: Entry) -> None:
        """Replace the standing, count the entry anew, and note who must look."""
        old = entry.standing
        state = entry.state
        enabled = entry.admin is Admin.ENABLED
        probation = state is HealthState.PROBATION
        serves = self.in_service(entry)
        ramp = 1.0 if entry.warm or not serves else entry.ramp_step / STEPS
        why = f"{state.value}: {entry.reason}" if enabled else entry.admin.value
        entry.standing = new = Standing(
            state,
            entry.admin,
            enabled and (serves or probation),
            enabled,
            ramp,
            probation,
            why,
            self._until(entry),
        )
        entry.hush(entry.hushed())
        # What a view is built of. The first success is left out: ten thousand of them would
        # rebuild ten thousand views that show the same.
        shown = (HealthState.HEALTHY, HealthState.RAMPING)
        first = old.state is HealthState.UNKNOWN and state in shown
        if (old.state is not state and not first) or (
            old.admitted,
            old.admin,
            old.ramp,
            old.probation,
        ) != (new.admitted, new.admin, new.ramp, new.probation):
            self.touched.update(entry.holders)
        self.recount(entry, (enabled, entry.sentenced, enabled and serves))
        if entry.sentenced:  # who may be let back depends on the state, too
            self.shaken.update(dict.fromkeys(entry.judges))
        self.schedule(entry)

    def recount(self, entry: Entry, new: tuple[bool, bool, bool]) -> None:
        """Have the judges count the entry in another way; see ``caps``."""
        old = entry.counted
        if new == old:
            return
        entry.counted = new
        for group in entry.judges:
            group.count(entry, old, new)
            self.shaken[group] = None
        if old[2] != new[2]:
            self.serving += new[2] - old[2]
            self.pool.resize(self.serving)

    # -- caps ------------------------------------------------------------------------------

    def _spared_by_all(self, entry: Entry) -> bool:
        if within_caps(entry, self.policy):
            return True
        entry.denied += 1
        return False

    def spare(self, at: float) -> None:
        """Let back whom the caps no longer cover."""
        while self.shaken:
            group, _ = self.shaken.popitem()
            while (entry := group.excused(self.policy)) is not None:
                reason = "let back: too few would be left"
                if not self.fire(entry, Trigger.SPARED, at, reason):  # probes keep it out
                    entry.sentenced = entry.parole = False
                    entry.ejected_until = -math.inf
                    self.publish(entry)
