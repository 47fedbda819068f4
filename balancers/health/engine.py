"""The registry's mechanism: one lock, an inbox beside it, and what is done after it.

Rules for the file:

1. ``_lock`` guards the machine and everything it moves. It is held for short work only, never
   while a balancer, a subscriber or a destructor runs. The order of locks is the balancer's
   control lock, then this one.
2. A settlement leaves its outcome in ``_inbox`` and works the inbox off only if the lock is
   free; whoever has the lock looks into the inbox before taking and after giving it back. So
   no lease waits, and no outcome is lost. A pick that finds the deadline passed does likewise.
3. A change is made under the lock, then shown by every balancer (``_show``), then told to
   the subscribers. ``_hold`` alone shows nothing, since its caller may hold a control lock:
   it leaves that to the next call.
4. Nothing runs by itself: what time does is done by the next call, dated when it was due.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TypeVar

from balancers.health.attachment import Attachment
from balancers.health.caps import Group
from balancers.health.entry import Entry
from balancers.health.events import Batch, Deliveries, HealthEvent, contained
from balancers.health.fork import enrol
from balancers.health.machine import Machine
from balancers.health.members import Members
from balancers.health.passive import Passive
from balancers.health.policy import HealthPolicy
from balancers.health.probing import ProbeSchedule
from balancers.health.report import returns_in
from balancers.protocol import Clock, Outcome

__all__ = ["Engine"]

Result = TypeVar("Result")

_Settled = tuple[Entry, Outcome, float | None, float | None, float | None, float]


class Engine:
    """What ``HealthRegistry`` runs on, and what balancers call.

    Attributes:
        policy: Every threshold.
        clock: The clock, to be shared by the balancers.
        deadline: When time alone changes something next, ``math.inf`` if never; a pick that
            reads a later time calls ``advance``.
    """

    def __init__(self, policy: HealthPolicy, clock: Clock, rng: Random | None) -> None:
        self.policy = policy
        self.clock = clock
        self.deadline: float = math.inf
        self._given_rng = rng
        self._rng = Random() if rng is None else rng
        self._lock = threading.Lock()
        self._inbox: deque[_Settled] = deque()
        self._gone: deque[Group] = deque()
        self._now = clock()
        self._machine = Machine(policy, self._rng)
        self._passive = Passive(self._machine, self._now)
        self._probes = ProbeSchedule(policy, self._rng)
        self._members = Members(self, self._machine, self._probes)
        self._log: deque[HealthEvent] = deque(maxlen=policy.event_log)
        self._deliveries = Deliveries()
        enrol(self)

    # -- for balancers ---------------------------------------------------------------------

    def attach(
        self,
        refresh: Callable[[], object],
        *,
        nudge: Callable[[], object] | None = None,
        in_flight: Callable[[str], int] | None = None,
    ) -> Attachment:
        """Let a balancer in; it declares what it holds by ``Attachment.hold``.

        The balancer owns the attachment; when either is gone, so is the hold.

        Args:
            refresh: Rebuilds the balancer's view from its entries; may wait for the
                balancer's own lock. Called after a change, without a lock held.
            nudge: The same on behalf of a pick or a settlement: must not wait. If the
                balancer is being rebuilt at that moment, whoever is at it must look again
                before leaving. ``refresh`` by default.
            in_flight: Returns the open leases on an id, for ``drained``.
        """
        group = Group()
        attachment = Attachment(self, group, refresh, nudge, in_flight)
        group.owner = weakref.ref(attachment, lambda _: self._gone.append(group))
        return attachment

    def advance(self, now: float) -> None:
        """Do what is due, on behalf of a pick: if somebody is at work, leave it to them."""
        if self._lock.acquire(blocking=False):
            try:
                self._catch_up(now)
            finally:
                self._give_back(wait=False)
            self._clear_inbox()

    def retry_after(self, ids: Iterable[str], now: float) -> float | None:
        """Return the seconds until one of the ids may be picked again, at the soonest.

        None if nobody can tell. Takes no lock. O(ids).
        """
        entries = self._members.entries
        known = [entry for entry in map(entries.get, ids) if entry is not None]
        return returns_in(known, self._probes, self.policy, now)

    def _hold(self, group: Group, weights: Mapping[str, float]) -> dict[str, Entry]:
        now = self.clock()
        with self._lock:
            self._catch_up(now)
            self._members.hold(group, weights, self._now)
            self._machine.spare(self._now)
            self._machine.touched.pop(group, None)  # the caller builds its view anew anyway
            entries = self._members.entries
            held = {name: entries[name] for name in weights}
            self._set_deadline()
        if self._inbox:
            self.deadline = -math.inf
        return held

    def _settled(
        self,
        entry: Entry,
        outcome: Outcome,
        latency: float | None,
        retry_after: float | None,
        started: float | None,
    ) -> None:
        """Take an outcome that may say something new, without waiting; see rule 2."""
        self._inbox.append((entry, outcome, latency, retry_after, started, self.clock()))
        self._clear_inbox()

    # -- the mechanism ---------------------------------------------------------------------

    def _run(self, work: Callable[[float], Result]) -> Result:
        """Do something under the lock, at the time it is now, and show what came of it."""
        now = self.clock()
        self._lock.acquire()
        try:
            self._catch_up(now)
            result = work(self._now)
            self._machine.spare(self._now)
        finally:
            self._give_back(wait=True)
        self._clear_inbox()
        return result

    def _clear_inbox(self) -> None:
        while self._inbox:
            if not self._lock.acquire(blocking=False):
                self.deadline = -math.inf  # for the next pick, should the holder be a ``_hold``
                return
            try:
                self._catch_up(self._now)
            finally:
                self._give_back(wait=False)

    def _catch_up(self, now: float) -> None:
        """Settle what lies in the inbox, then let time pass up to now."""
        while self._gone:
            self._members.hold(self._gone.popleft(), {}, self._now)
            self._machine.spare(self._now)
        inbox = self._inbox
        while inbox:
            entry, outcome, latency, retry_after, started, at = inbox.popleft()
            self._pass_time(at)
            if entry.live:
                self._passive.outcome(entry, outcome, latency, retry_after, started, self._now)
                self._machine.spare(self._now)
        self._pass_time(now)

    def _pass_time(self, to: float) -> None:
        """Do what is due up to ``to``, in order; a clock that goes back is taken to stand."""
        machine = self._machine
        to = max(to, self._now)
        while (at := self._next_change()) <= to:
            if machine.agenda.next() <= at:
                _, entry = machine.agenda.pop()
                machine.due(entry, at, to)
            else:
                self._passive.sweep(self._members.entries, to)
            machine.spare(at)
        self._now = to

    def _next_change(self) -> float:
        return min(self._machine.agenda.next(), self._passive.next_sweep())

    def _set_deadline(self) -> None:
        machine = self._machine
        unshown = machine.touched or machine.events or self._inbox
        self.deadline = -math.inf if unshown else self._next_change()

    def _give_back(self, *, wait: bool) -> None:
        """Release the lock, then show the change and tell of it."""
        machine = self._machine
        groups, machine.touched = machine.touched, {}
        batch = Batch(machine.events)
        if machine.events:
            machine.events = []
            self._log.extend(batch.events)
            self._deliveries.queue(batch)
        self._set_deadline()
        self._lock.release()
        try:
            for group in groups:
                attachment = None if group.owner is None else group.owner()
                if attachment is not None:
                    contained("a balancer's refresh", attachment.refresh, wait)
        finally:
            batch.ready = True
            self._deliveries.run()  # after a fork there may be others' left

    def _check(self) -> None:
        with self._lock:
            self._members._check()
            self._machine.agenda._check()
            assert not self._machine.shaken
            serving = sum(entry.counted[2] for entry in self._members.entries.values())
            assert self._machine.serving == serving

    def _after_fork(self) -> None:
        """Start afresh in a child: threads that were about to show a change are not here."""
        self._lock = threading.Lock()
        for entry in self._members.entries.values():
            self._machine.touched.update(entry.holders)
        self.deadline = -math.inf
        self._deliveries.renew()
        if self._given_rng is None:
            self._rng.seed()
