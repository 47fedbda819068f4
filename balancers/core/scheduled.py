"""The coming turns of a weighted schedule, made many at a time and taken without a lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from threading import Lock

from balancers.core.ledger import Cell
from balancers.structures.chairman import LAYOUT_LIMIT, ChairmanSchedule
from balancers.structures.chairman_paced import PacedSchedule

__all__ = ["Turns"]

BATCH = 64
"""Turns made at a time: the lock and the calls are then a few percent of a pick."""

PATIENCE = 3
"""Laps that may pile up for an endpoint passed over before the schedule is asked again."""

LONGEST_BATCH = 1024
"""Longest period laid at once after a change: about half a millisecond's work."""

FEW = 4
"""Up to one in so many may be left out."""


class Turns:
    """The coming turns, handed out one by one without a lock.

    ``lap`` is a list of turns, the next one last. Popping is atomic, so whoever pops a turn owns
    it, and no turn is lost or served twice. Everything else needs ``lock``.

    Invariants:

    1. The schedule stands where it will be when the lap is used up; taking back what is left of
       the lap (``retract``) brings it to the present.
    2. ``cycle``, if any, is a stretch of turns, last one first, that leaves the schedule's lags
       as they are: a lap can be laid out of it without asking the schedule.
    3. A turn passed over by ``exclude`` stays in the lap and comes next. Where the lap holds
       no others, it is taken back and the schedule itself keeps the account.
    4. ``record`` are the last turns the schedule gave, one after the other, fewer than
       ``period``; when it began, the schedule's balance was ``balance``.
    """

    __slots__ = ("balance", "cells", "cycle", "lap", "lock", "period", "record", "schedule")

    def __init__(self) -> None:
        self.lock: Lock = Lock()
        self.lap: list[Cell] = []
        self.cycle: list[Cell] | None = None
        self.schedule: ChairmanSchedule | PacedSchedule = ChairmanSchedule({})
        self.period: int = 0
        self.record: list[Cell] = []
        self.balance: int = 0
        self.cells: dict[str, Cell] = {}

    def begin(self, weights: dict[str, float], cells: dict[str, Cell], phase: int) -> None:
        """Start from step ``phase`` of the schedule, with no lags to carry."""
        self.cells = cells
        self.lap.clear()
        self.cycle = None
        self.record.clear()
        self.schedule = schedule = ChairmanSchedule(weights, phase=phase)
        self.period = schedule.period
        plan = schedule.layout()
        if plan is not None:
            lead_in, cycle = plan
            self.cycle = [cells[name] for name in reversed(cycle)] * (-(-BATCH // len(cycle)))
            self.lap += [cells[name] for name in reversed(lead_in)]
            schedule.run(len(lead_in))

    def change(self, weights: dict[str, float], cells: dict[str, Cell]) -> None:
        """Go on with other weights or members, lags carried; nothing if they are the same."""
        schedule = self.schedule
        if isinstance(schedule, PacedSchedule):
            self._take_back()
            self.schedule = ChairmanSchedule.resumed(schedule, weights)
        else:
            if list(weights.items()) == list(schedule.weights.items()) and cells == self.cells:
                return
            self._take_back()
            schedule.update(weights)
        self.period = self.schedule.period
        self.cells = cells

    def pace(self, left: Collection[str], back: Collection[str]) -> bool:
        """Go on without those who left, with those who are back; False if that takes a change.

        O(n) still, but a small part of what a change takes.
        """
        schedule = self.schedule
        if not left and not back:
            return True
        if isinstance(schedule, ChairmanSchedule):
            if back or len(left) * FEW > len(self.cells):
                return False
            self.cycle = None
            self.record.clear()
            self.schedule = schedule = schedule.paced(self._unused())
        else:
            out = schedule.out + len(left) - len(back)
            if out * FEW > len(self.cells) or not all(name in schedule for name in back):
                return False
            self._take_back()
        schedule.leave(left)
        schedule.enter(back)
        self.period = schedule.period
        return True

    def _unused(self) -> dict[str, int]:
        """Take the turns that are left and count them: other threads may be popping too."""
        rest: list[Cell] = []
        while self.lap:
            with suppress(IndexError):
                rest.extend(iter(self.lap.pop, None))  # one by one, but at the speed of C
        return {cell.endpoint.id: count for cell, count in Counter(rest).items()}

    def next(self, exclude: Collection[str] = ()) -> Cell:
        """Take the next turn of somebody not excluded.

        Raises:
            LookupError: If there is nobody.
        """
        if all(name in exclude for name in self.cells) if exclude else not self.cells:
            raise LookupError("nobody's turn comes")
        while True:
            turn = self._find(exclude)
            if turn is not None:
                return turn
            if exclude and (self.cycle is None or len(self.lap) > PATIENCE * len(self.cycle)):
                self._take_back()
                return self.cells[self.schedule.next(exclude)]
            self._refill()

    def _take_back(self) -> None:
        """Bring the schedule to the present: invariant 1."""
        self.schedule.retract(self._unused())
        self.cycle = None
        self.record.clear()

    def _find(self, exclude: Collection[str]) -> Cell | None:
        lap = self.lap
        back = 1
        while back <= len(lap):
            try:
                turn = lap.pop(-back)
            except IndexError:  # others popped: the lap is shorter now
                return None
            if not exclude or turn.endpoint.id not in exclude:
                return turn
            lap.insert(len(lap) - back + 1, turn)
            back += 1
        return None

    def _refill(self) -> None:
        """Lay the next lap."""
        if self.cycle is not None:
            self.lap[:0] = self.cycle
            return
        cycle = self._scheduled()
        if cycle is not None:
            self.cycle = cycle
            self.lap[:0] = cycle

    def _scheduled(self) -> list[Cell] | None:
        """Lay a lap off the schedule; return it if it can be laid again and again."""
        period = self.period
        if LONGEST_BATCH < period <= LAYOUT_LIMIT:
            return self._recorded()
        rounds = -(-BATCH // period) if period <= LONGEST_BATCH else 0
        names = self.schedule.run(rounds * period or BATCH)
        turns = [self.cells[name] for name in reversed(names)]
        if rounds:
            quota = self.schedule.quota()
            if Counter(names) == {name: rounds * times for name, times in quota.items()}:
                return turns
        self.lap += turns  # it was empty
        return None

    def _recorded(self) -> list[Cell] | None:
        """Do the same where the period is long: turns are remembered until there are so many."""
        schedule, record = self.schedule, self.record
        if not record:
            self.balance = schedule.balance
        turns = [self.cells[name] for name in schedule.run(min(BATCH, self.period - len(record)))]
        self.lap += reversed(turns)  # it was empty
        record += turns
        if len(record) < self.period:
            return None
        block = record[::-1]
        record.clear()
        quota = schedule.quota()
        counts = {cell.endpoint.id: count for cell, count in Counter(block).items()}
        if schedule.stands(self.balance) and counts == quota:
            self.cycle = block  # the lap laid now goes before it
        return None

    def upcoming(self, exclude: Collection[str]) -> Cell | None:
        """Return whose turn ``next`` would take, moving nothing."""
        for turn in reversed(self.lap[:]):
            if turn.endpoint.id not in exclude:
                return turn
        trial = Turns()
        trial.cells, trial.cycle, trial.period = self.cells, self.cycle, self.period
        trial.schedule = self.schedule.copy()
        try:
            return trial.next(exclude)
        except LookupError:
            return None
