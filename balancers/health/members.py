"""Who holds which id, and what the operator said of ids, held or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING

from balancers.health.caps import Group, judges
from balancers.health.detectors import detectors_for
from balancers.health.detectors.tally import Tally
from balancers.health.entry import Entry
from balancers.health.machine import Machine
from balancers.health.probing import ProbeSchedule
from balancers.health.states import Admin

if TYPE_CHECKING:
    from balancers.health.engine import Engine

__all__ = ["Members"]

_NOWHERE = (False, False, False)


class Members:
    """Entries by id, from their first holder to their last; orders outlive both.

    Invariants (checked by ``_check``): an entry is here as long as a group has its id, and
    every group that has the id is among its holders.
    """

    __slots__ = ("_machine", "_orders", "_probes", "_registry", "_serials", "entries")

    def __init__(self, registry: Engine, machine: Machine, probes: ProbeSchedule) -> None:
        self._registry = registry
        self._machine = machine
        self._probes = probes
        self._serials = count()
        self._orders: dict[str, tuple[Admin, float]] = {}
        self.entries: dict[str, Entry] = {}

    def hold(self, group: Group, weights: Mapping[str, float], now: float) -> None:
        """Replace what a group holds. O(n)."""
        entries = self.entries
        for name in [name for name in group.weights if name not in weights]:
            self._let_go(group, entries[name])
        for name, weight in weights.items():
            if group.weights.get(name) == weight:
                continue
            entry = entries.get(name) or self._join(name, now)
            counted = self._uncount(entry)
            group.weights[name] = weight
            entry.holders[group] = None
            self._count(entry, counted)
        self._machine.shaken[group] = None

    def order(self, name: str, admin: Admin, timeout: float | None, now: float) -> None:
        """Note the operator's word about an id, held or not."""
        until = math.inf
        if admin is Admin.DRAINING and timeout is not None:
            until = now + timeout
        if admin is Admin.ENABLED:
            self._orders.pop(name, None)
        else:
            self._orders[name] = (admin, until)
        entry = self.entries.get(name)
        if entry is not None:
            entry.drain_until = until if until > now else math.inf
            self._machine.order(entry, self.admin(name, now), now, "operator")

    def admin(self, name: str, now: float) -> Admin:
        """The operator's word about an id, held or not."""
        admin, until = self._orders.get(name, (Admin.ENABLED, math.inf))
        return Admin.DISABLED if until <= now else admin

    def overdue(self, name: str, now: float) -> bool:
        """Whether the id was to be drained by now."""
        return self._orders.get(name, (Admin.ENABLED, math.inf))[1] <= now

    def _join(self, name: str, now: float) -> Entry:
        machine = self._machine
        policy = machine.policy
        entry = Entry(
            self._registry,
            name,
            next(self._serials),
            now,
            machine.pool,
            detectors_for(policy, machine.pool),
            Tally() if policy.compares else None,
        )
        self.entries[name] = entry
        if policy.slow_start and policy.slow_start_joiners:
            entry.warm = False
            entry.ramp_step = machine.ramp.first
        _, until = self._orders.get(name, (Admin.ENABLED, math.inf))
        entry.admin = self.admin(name, now)
        entry.drain_until = until if until > now else math.inf
        machine.publish(entry)
        self._probes.join(entry, now)
        return entry

    def _let_go(self, group: Group, entry: Entry) -> None:
        counted = self._uncount(entry)
        del entry.holders[group]
        del group.weights[entry.id]
        if entry.holders:
            self._count(entry, counted)
            return
        entry.judges = ()
        del self.entries[entry.id]
        entry.live = entry.quiet = False  # nobody holds it: no cell to tell
        entry.permits = []
        self._machine.agenda.drop(entry)
        self._probes.leave(entry)

    def _uncount(self, entry: Entry) -> tuple[bool, bool, bool]:
        """Take the entry out of the counts of its judges; return how it was counted."""
        counted = entry.counted
        self._machine.recount(entry, _NOWHERE)
        return counted

    def _count(self, entry: Entry, counted: tuple[bool, bool, bool]) -> None:
        """Have whoever is a judge now count the entry."""
        entry.judges = judges(entry.holders)
        self._machine.recount(entry, counted)

    def _check(self) -> None:
        groups = {group for entry in self.entries.values() for group in entry.holders}
        for name, entry in self.entries.items():
            assert entry.id == name
            assert entry.live
            assert entry.holders
            assert entry.judges == judges(entry.holders)
            assert set(entry.holders) == {group for group in groups if name in group.weights}
            entry._check()
        for group in groups:
            group._check(self.entries.__getitem__, self._machine.policy)
