"""When each endpoint is probed next. Says what is due; somebody else does it.

Each endpoint has a slot of its own in the interval, spread evenly (golden ratio of the
joining order, from a random start), and regular probes fall on slots. Ten thousand endpoints
are so never probed in lockstep, not at the start and not after a pause: a probe that is late
by more than an interval is not made up for, it waits for its next slot. Probes that may decide
something come at the fast interval instead, wherever that falls.

Runtime complexity: O(log n) a probe.
"""

from __future__ import annotations

import math
from random import Random

from balancers.health.entry import Entry
from balancers.health.policy import HealthPolicy
from balancers.health.states import HealthState
from balancers.structures.agenda import Agenda

__all__ = ["ProbeSchedule"]

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


class ProbeSchedule:
    """The dates of the probes."""

    __slots__ = ("_agenda", "_origin", "_policy", "_rng", "used")

    def __init__(self, policy: HealthPolicy, rng: Random) -> None:
        self._policy = policy
        self._rng = rng
        self._agenda: Agenda[Entry] = Agenda()
        self._origin = rng.random()
        self.used: bool = False  # whether anybody ever probed

    def join(self, entry: Entry, now: float) -> None:
        """Put a newcomer on the list; its first probe comes within the fast interval."""
        entry.phase = (self._origin + entry.serial * _GOLDEN) % 1.0
        self._agenda.put(entry, now + entry.phase * self._policy.probe_fast_interval)

    def leave(self, entry: Entry) -> None:
        """Take an endpoint off the list."""
        self._agenda.drop(entry)

    def next(self) -> float:
        """When the next probe is due, ``math.inf`` if there is nothing to probe."""
        return self._agenda.next()

    def date(self, entry: Entry) -> float:
        """When the endpoint's next probe is due."""
        return self._agenda.date(entry)

    def take(self, now: float, limit: float) -> list[Entry]:
        """Return up to ``limit`` endpoints that are due, each put off to its next turn."""
        self.used = True
        due: list[Entry] = []
        agenda = self._agenda
        while len(due) < limit and agenda.next() <= now:
            date, entry = agenda.pop()
            interval = self._interval(entry)
            if now - date > interval:
                agenda.put(entry, self._slot(entry, now, interval, now))
                continue
            due.append(entry)
            entry.probe_started = now
            # Without an answer the next turn comes all the same, but not before the timeout.
            pause = max(interval, self._policy.probe_timeout)
            agenda.put(entry, self._slot(entry, now + pause / 2.0, pause, now))
        return due

    def answered(self, entry: Entry, now: float) -> None:
        """Set the next date after an answer."""
        self.used = True
        started = now if entry.probe_started is None else min(entry.probe_started, now)
        entry.probe_started = None
        policy = self._policy
        if _may_decide(entry):
            jitter = policy.probe_jitter * (self._rng.random() - 0.5)
            date = started + policy.probe_fast_interval * (1.0 + jitter)
        else:
            interval = self._interval(entry)
            date = self._slot(entry, started + interval / 2.0, interval, now)
        self._agenda.put(entry, max(now, date))

    def _interval(self, entry: Entry) -> float:
        policy = self._policy
        if entry.state is HealthState.UNHEALTHY and policy.probe_unhealthy_interval is not None:
            return policy.probe_unhealthy_interval
        return policy.probe_interval

    def _slot(self, entry: Entry, earliest: float, interval: float, now: float) -> float:
        """The endpoint's first slot from ``earliest`` on, give or take jitter, not before now."""
        start = entry.phase * interval
        turn = math.ceil((earliest - start) / interval)
        jitter = self._policy.probe_jitter * (self._rng.random() - 0.5)
        return max(now, start + (turn + jitter) * interval)


def _may_decide(entry: Entry) -> bool:
    """Whether the next probe may change the endpoint's state."""
    if entry.verdict is False:
        return entry.passes > 0
    return entry.fails > 0 or entry.verdict is None or entry.state is HealthState.GRACE
