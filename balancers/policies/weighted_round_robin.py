"""Weighted round robin at the optimal bound.

Guarantees:
    Over picks without ``exclude``, with fixed weights and a fixed eligible set of n ≥ 2
    endpoints, D = 1/(2n − 2): from ``phase=0`` no endpoint is ever more than 1 − D picks ahead
    of or behind its share, at any prefix, which is the least any rule can promise; from any
    phase no window is off by more than twice that. A change of weights or membership carries
    the lag: under any sequence of weights on fixed members lag stays within
    [−(1 − D), H_n + 1]. The arithmetic is exact, for any float weights.

    With ``reported_load`` weights are capacities as the servers report them: the requests a
    server answers over the utilisation it reports, errors counted as utilisation (gRFC A58; see
    ``balancers.structures.reported_load``). They change once a period, lag carried.

Use when:
    Endpoints differ in capacity by known factors and requests cost about the same. Or when
    servers report their utilisation: tell it by ``done(load=…)`` and give ``reported_load``.

Avoid when:
    The factors are guesses or change with load and nobody reports it: a load-aware policy
    measures them.

Cost:
    O(log n) a pick amortised: turns are made 64 or more at a time under one private lock, and
    taken without it. O(1) where the weights are integers that sum to at most 65,536, whose cycle
    is laid out once. O(n log n) an update, the lock held while it carries the lags. With
    ``reported_load`` every settlement is learned from, and one of them each period updates.

Source:
    Tijdeman, "The chairman assignment problem", 1980; see ``balancers.structures.chairman``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from random import Random
from threading import Lock
from typing import ClassVar, Unpack

from balancers.core.lease import TrackedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.policy import Policy
from balancers.core.reported import ReportedWeights
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome
from balancers.structures.chairman import MAX_PHASE, ChairmanSchedule
from balancers.structures.reported_load import ReportedLoad

__all__ = ["WeightedRoundRobin"]

BATCH = 64
"""Turns made at a time: the lock and the calls are then a few percent of a pick."""

PATIENCE = 3
"""Laps that may pile up for an endpoint passed over before the schedule is asked again."""

LONGEST_BATCH = 1024
"""Longest period looked for by itself after a change: about half a millisecond's work."""


class _Turns:
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
    """

    __slots__ = ("cells", "cycle", "lap", "lock", "period", "schedule")

    def __init__(self) -> None:
        self.lock = Lock()
        self.lap: list[Cell] = []
        self.cycle: list[Cell] | None = None
        self.schedule = ChairmanSchedule({})
        self.period = 0
        self.cells: dict[str, Cell] = {}

    def begin(self, weights: dict[str, float], cells: dict[str, Cell], phase: int) -> None:
        """Start from step ``phase`` of the schedule, with no lags to carry."""
        self.cells = cells
        self.lap.clear()
        self.cycle = None
        self.schedule = ChairmanSchedule(weights, phase=phase)
        self.period = self.schedule.period
        plan = self.schedule.layout()
        if plan is not None:
            lead_in, cycle = plan
            self.cycle = [cells[name] for name in reversed(cycle)] * (-(-BATCH // len(cycle)))
            self.lap += [cells[name] for name in reversed(lead_in)]
            self.schedule.run(len(lead_in))

    def change(self, weights: dict[str, float], cells: dict[str, Cell]) -> None:
        """Go on with other weights or members, lags carried; nothing if they are the same."""
        if list(weights.items()) == list(self.schedule.weights.items()) and cells == self.cells:
            return
        self._take_back()
        self.schedule.update(weights)
        self.period = self.schedule.period
        self.cells = cells

    def _drained(self) -> Iterator[Cell]:
        """Take the turns that are left, one by one: other threads may be popping too."""
        while self.lap:
            try:
                yield self.lap.pop()
            except IndexError:
                return

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
        self.schedule.retract(Counter(cell.endpoint.id for cell in self._drained()))
        self.cycle = None

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
        if self.cycle is None:
            self.cycle = self._scheduled()
        if self.cycle is not None:
            self.lap[:0] = self.cycle

    def _scheduled(self) -> list[Cell] | None:
        """Lay a lap off the schedule; return it if it can be laid again and again."""
        period = self.period
        rounds = -(-BATCH // period) if period <= LONGEST_BATCH else 0
        names = self.schedule.run(rounds * period or BATCH)
        turns = [self.cells[name] for name in reversed(names)]
        if rounds:
            quota = self.schedule.quota()
            if Counter(names) == {name: rounds * times for name, times in quota.items()}:
                return turns
        self.lap += turns  # it was empty
        return None

    def upcoming(self, exclude: Collection[str]) -> Cell | None:
        """Return whose turn ``next`` would take, moving nothing."""
        for turn in reversed(self.lap[:]):
            if turn.endpoint.id not in exclude:
                return turn
        trial = _Turns()
        trial.cells, trial.cycle, trial.period = self.cells, self.cycle, self.period
        trial.schedule = self.schedule.copy()
        try:
            return trial.next(exclude)
        except LookupError:
            return None


class WeightedRoundRobin(Policy):
    """Endpoints in proportion to their weights, as evenly as can be.

    Args:
        endpoints: The membership.
        phase: The step of the schedule to start from, 0..2³²; None draws one by the rng, so
            that a fleet restarting together does not begin at the same endpoint.
        reported_load: How far to believe ``done(load=…)``; None: not at all.
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("wrr", "weighted-round-robin")

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        phase: int | None = None,
        reported_load: ReportedLoad | None = None,
        **options: Unpack[Options],
    ) -> None:
        if phase is not None:
            if isinstance(phase, bool) or not isinstance(phase, int):
                raise TypeError(f"phase is an int or None, not {phase!r}")
            if not 0 <= phase <= MAX_PHASE:
                raise ValueError(f"phase must be within 0..2**32, not {phase}")
        self._phase = phase
        self._reported = None if reported_load is None else ReportedWeights(reported_load)
        self._turns = _Turns()
        self._given: dict[Cell, float] = {}  # weights times ramps, if others are reported
        self._begun = False
        super().__init__(endpoints, **options)

    def _shortcut(self, view: View) -> Chooser | None:
        lap: list[Cell] = view.state

        def choose(key: None) -> Cell | None:
            try:
                return lap.pop() if lap else None
            except IndexError:  # another thread took the last turn
                return None

        return choose

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        turns = self._turns
        with turns.lock:
            try:
                return turns.next(exclude)
            except LookupError:
                return None

    def _peek(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        with self._turns.lock:
            return self._turns.upcoming(exclude)

    def _publish(self, view: View) -> None:
        turns = self._turns
        cells = {cell.endpoint.id: cell for cell in view.cells}
        given = view.weights()
        now = self._ledger.clock()
        with turns.lock:
            weights = {cell.endpoint.id: weight for cell, weight in given.items()}
            if self._reported is not None:
                self._given = given
                weights = self._weights(self._reported, now)
            if self._begun or not weights:
                turns.change(weights, cells)
            else:
                self._begun = True
                turns.begin(weights, cells, self._first_step())
            view.state = turns.lap
            super()._publish(view)

    def _learns(self) -> bool:
        return self._reported is not None or type(self)._learn is not WeightedRoundRobin._learn

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        reported = self._reported
        if reported is None:
            return
        now = self._ledger.clock()
        # A settlement must not wait: where the lock is taken, the next one will do.
        if reported.learn(pick._cell, now, outcome, load) and self._turns.lock.acquire(False):
            try:
                self._turns.change(self._weights(reported, now), self._turns.cells)
            finally:
                self._turns.lock.release()

    def _weights(self, reported: ReportedWeights, now: float) -> dict[str, float]:
        """Return the weights to go by; needs the lock."""
        weights = reported.weights(self._given, now)
        return {cell.endpoint.id: weight for cell, weight in weights.items()}

    def _first_step(self) -> int:
        return self._rng.randrange(MAX_PHASE + 1) if self._phase is None else self._phase

    def _private_locks(self) -> list[Lock]:
        return [self._turns.lock]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._turns.lock = Lock()

    def _restart(self) -> None:
        super()._restart()
        self._turns = _Turns()
        self._begun = False

    def _renew(self) -> None:
        if self._phase is None:
            self._begun = False
            self._publish(self._view)

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        if self._reported is None:
            return {}
        return self._reported.details(cell, self._ledger.clock())

    def _details(self) -> Mapping[str, float]:
        return {"cycle": float(len(self._turns.cycle or ()))}

    def _check(self) -> None:
        turns = self._turns
        with turns.lock:
            turns.schedule._check()
            assert set(turns.lap) <= set(turns.cells.values())
