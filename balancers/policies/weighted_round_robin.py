"""Weighted round robin at the optimal bound.

Guarantees:
    Over picks without ``exclude``, with fixed weights and a fixed eligible set of n ≥ 2
    endpoints, D = 1/(2n − 2): from ``phase=0`` no endpoint is ever more than 1 − D picks ahead
    of or behind its share, at any prefix, which is the least any rule can promise; from any
    phase no window is off by more than twice that. A change of weights or membership carries
    the lag: under any sequence of weights on fixed members lag stays within
    [−(1 − D), H_n + 1]. The arithmetic is exact, for any float weights.

    Where health takes endpoints out and lets them back, the lag of those who go is poured over
    the others, and who comes back starts at lag 0. From 1,024 endpoints on, up to a quarter
    of them out, the others keep their lag instead, and a lag stays within [−(1 − D), H_N + 1] all
    the same, n being those in now and N the most there were.

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
    is laid out once, and again after a change. O(n log n) an update, the lock held while it
    carries the lags; a change of health among 1,024 endpoints or more takes a tenth of that. With
    ``reported_load`` every settlement is learned from, and one of them each period updates.

Source:
    Tijdeman, "The chairman assignment problem", 1980; see ``balancers.structures.chairman``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import compress, count
from operator import ne
from random import Random
from threading import Lock
from typing import ClassVar, Unpack

from balancers.core.lease import TrackedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.policy import Policy
from balancers.core.reported import ReportedWeights
from balancers.core.scheduled import Turns
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome
from balancers.structures.chairman import MAX_PHASE
from balancers.structures.reported_load import ReportedLoad

__all__ = ["WeightedRoundRobin"]

LARGE = 1024
"""From so many endpoints on, those out are left out of the schedule, and it is not made anew."""


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
        self._turns = Turns()
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
        now = self._ledger.clock()
        with turns.lock:
            if not self._paced(view):
                given = view.weights()
                cells = {cell.endpoint.id: cell for cell in view.cells}
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

    def _paced(self, view: View) -> bool:
        """Whether the turns go on, some left out or back, without being made anew."""
        before = self._view
        if (
            not self._begun
            or self._reported is not None
            or view.roster is not before.roster
            or view.ramps
            or before.ramps
            or min(len(before.cells), len(view.cells)) < LARGE
        ):
            return False
        if before.census is None or view.census is None or before.reason or view.reason:
            left = set(before.cells).difference(view.cells)
            back = set(view.cells).difference(before.cells)
        else:
            was, able = before.census.able, view.census.able
            changed = list(compress(count(), map(ne, was, able)))
            left = {view.members[place] for place in changed if was[place]}
            back = {view.members[place] for place in changed if able[place]}
        return self._turns.pace([c.endpoint.id for c in left], [c.endpoint.id for c in back])

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
        self._turns = Turns()
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
