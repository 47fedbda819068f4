"""Adaptive: the recommended default. Typical latency × load, errors priced, shares capped.

Guarantees:
    Over any window of t picks with the same candidates and weights an endpoint is picked at most
    κ·p·t + 9 times, p being its share of the weight of those that fail less than half the time;
    should nobody be left under that cap, the fullest bucket is used, and ``snapshot`` counts
    it. The score is monotone in load, latency and errors; ties are broken by chance. An
    endpoint that always fails gets under 1 % once it is known for it; one that is repaired
    is found out within 20 s, at 3 picks a second for each endpoint or more.

Use when:
    Nothing special is known. It needs no weights, no health checks and no tuning, finds out who
    is slow or failing, and is stable on fleets of very unequal speed, where power of two choices
    is not.

Avoid when:
    Requests must go by key (see the hash policies), or the order must be predictable. Where few
    endpoints are often stuck with giant requests, the cap keeps the idle ones from taking over:
    raise ``share_cap``, or see ``LeastConnections``.

Cost:
    A pick and a settlement each take one private lock for O(log n) work, amortised. An update
    is O(n).

Source:
    Our own, after a comparison of the field's rules in simulation. Logarithmic means tame heavy
    tails; remembering good endpoints gives stability (Gamarnik, Tsitsiklis, Zubeldia 2020;
    Shah, Prabhakar 2002); the cap bounds what a wrong belief can do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sized
from heapq import heappop, heappush
from math import exp, log
from operator import attrgetter
from random import Random
from types import TracebackType
from typing import ClassVar, Unpack

from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_whole
from balancers.core.reported import ReportedWeights
from balancers.core.timed import BoardPolicy, TimedPick, Timely
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome, Reason
from balancers.structures.changes import compare, relative, unit_of
from balancers.structures.cost_estimate import (
    FAMILIAR,
    GREATEST_LOG,
    LEAST_LATENCY,
    LEAST_LOG,
    MEMORY,
    STALE,
    CostEstimate,
)
from balancers.structures.ewma import checked_decay
from balancers.structures.gauge import Gauge
from balancers.structures.reported_load import ReportedLoad
from balancers.structures.score_board import BURST, ScoreBoard
from balancers.structures.share_cap import checked_cap

__all__ = ["Adaptive"]

LONGEST_HOLD = 300.0
"""Seconds up to which a server's ``retry_after`` is believed."""


_load_of = attrgetter("load")


class _AdaptivePick(TimedPick):
    """A timed lease that knows the gauge of its endpoint."""

    __slots__ = ("_gauge",)

    _gauge: Gauge[Cell]
    _policy: Adaptive

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cell = self._cell
        calm = cell.calm
        if error is not None or cell.costly or (calm is None and cell.entry is not None):
            super().__exit__(kind, error, trace)
            return
        # TimedPick.__exit__, CostEstimate.learn and ScoreBoard.settle, written out for the
        # usual case: a success, one of many, on an endpoint that does not fail.
        try:
            cell.open.remove(self._serial)
        except KeyError:
            return
        if cell.after is not None:
            cell.after(self)
        self._serial = -1
        if calm is not None:
            calm.good += 1
        now = cell.ledger.clock()
        latency = now - self._started
        policy = self._policy
        board = policy._board
        gauge = self._gauge
        estimate = gauge.estimate
        lock = policy._lock
        if not lock.acquire(False):  # see _learn_at
            policy._news.append((cell, now, latency, True, 0.0))
            return
        try:
            filed = gauge.entry
            elapsed = now - estimate.at
            if elapsed > STALE or not gauge.steady:
                board.settle(cell, now, latency, True)
                return
            sample = log(latency) if latency > LEAST_LATENCY else LEAST_LOG
            pool = board.pool
            pool.log_latency += pool.weight * (sample - pool.log_latency)
            if pool.samples < MEMORY:
                pool.samples += 1
                pool.weight = 1.0 / (pool.samples + 1)
            estimate.at = now
            estimate.samples = samples = estimate.samples + 1
            span = gauge.gap
            if elapsed < span:
                span = elapsed
            span += span
            weight = span / (pool.decay + span)
            if weight * samples < 1.0:
                weight = 1.0 / samples
            mean = estimate.log_latency
            estimate.log_latency = mean = mean + weight * (sample - mean)
            if samples < FAMILIAR:
                mean += (pool.log_latency - mean) / (samples + 1)
            gauge.score = score = mean - gauge.log_weight
            if board.fresh:
                board.settle_floor()
            load = len(gauge.open)
            score += log(load + 1.0) if load else gauge.bonus
            if filed is not None and score < filed[0]:
                gauge.entry = less = score, gauge
                heap = board.heap
                if heap[0] is filed:
                    heap[0] = less  # what was least is less: the heap is in order
                else:
                    heappush(heap, less)
                    board.best.tidy(len(board.gauges))
        finally:
            lock.release()


class Adaptive(BoardPolicy):
    """The endpoint that is cheapest now, by what its answers have shown.

    Args:
        endpoints: The membership.
        choices: Candidates drawn, beside the best remembered, from those not heard of yet, ≥ 1.
        decay: Memory of the estimates in seconds, finite and > 0.
        share_cap: κ: how many times its share an endpoint may get, finite and > 1.
        reported_load: How far weights follow ``done(load=…)``; None: not at all.
        options: What every balancer takes; see ``Policy``.

    Raises:
        ValueError: If an option is out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ("adaptive",)

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        choices: int = 3,
        decay: float = 10.0,
        share_cap: float = 2.0,
        reported_load: ReportedLoad | None = None,
        **options: Unpack[Options],
    ) -> None:
        checked_whole("choices", choices)
        self._reported = None if reported_load is None else ReportedWeights(reported_load)
        self._given: dict[Cell, float] = {}  # weights times ramps, if others are reported
        # Settlements that found the lock taken: cell, time, latency, success, hold.
        self._news: list[tuple[Cell, float, float, bool | None, float]] = []
        # The board, where a pick is a choice and a lease, and nothing more.
        self._quick_board: ScoreBoard[Cell] | None = None
        self._board: ScoreBoard[Cell] = ScoreBoard(
            checked_cap(share_cap), choices, checked_decay(decay), _load_of
        )
        super().__init__(endpoints, **options)

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease the cheapest endpoint. Amortised O(log n)."""
        board = self._quick_board
        if board is None or key is not None or exclude or cost != 1.0 or self._abandoned:
            return self._pick(key, exclude, cost)
        now = self._ledger.clock()
        registry = self._registry
        if registry is not None and now >= registry.deadline:
            return self._pick(key, exclude, cost)
        lock = self._lock
        lock.acquire()  # half the price of `with`
        try:
            if self._news:
                self._catch_up()
            # ScoreBoard.choose, written out for the usual case: one endpoint is remembered as
            # better than any other, and nothing else is to be considered.
            cap = board.cap
            credit = cap.credit
            if credit >= board.wake_at:
                board.wake(now)
            heap = board.heap
            gauge: Gauge[Cell] | None
            if now < board.trials.next and len(heap) > 2 and not board.costly:
                entry = heap[0]
                gauge = entry[1]
                load = len(gauge.open)
                score = gauge.score + (log(load + 1.0) if load else gauge.bonus)
                if (
                    gauge.entry is entry
                    and score < heap[1][0]
                    and score < heap[2][0]
                    and (not board.fresh or score < board.floor)
                ):
                    if score != entry[0]:
                        heap[0] = gauge.entry = score, gauge
                    gauge.gap = now - gauge.picked
                    gauge.picked = now
                    cap.credit = credit = credit + cap.rate
                    tokens = gauge.tokens + gauge.weight * (credit - gauge.mark)
                    if tokens > BURST:
                        tokens = BURST
                    gauge.tokens = tokens = tokens - 1.0
                    gauge.mark = credit
                    if tokens <= 0.0:
                        cap.bar(gauge)
                        board.bar(gauge)
                        heappop(heap)
                else:
                    gauge = board.choose(now, self._rng.random)
            else:
                gauge = board.choose(now, self._rng.random)
            if gauge is None:
                raise self._nobody(self._view, exclude)
            cell = gauge.item
            pick = _AdaptivePick()
            pick.endpoint = cell.endpoint
            pick._policy = self
            pick._gauge = gauge
            pick._started = now
            pick._cell = cell
            pick._serial = serial = next(cell.serials)
            cell.open.add(serial)
            return pick
        finally:
            lock.release()

    def _timely(self, view: View) -> Timely | None:
        if self._reported is None:  # the quick way out knows of no load
            self._quick_board = self._board
        return None

    def _grant(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        with self._lock:
            self._catch_up()
            board, random = self._board, self._rng.random
            if cost != 1.0:
                board.costly = True
            when = self._ledger.clock() if now is None else now
            gauge = self._outside(exclude, lambda out: board.choose(when, random, cost, out))
            if gauge is not None:
                return self._lease(gauge.item, cost, reason, now)
        raise self._nobody(view, exclude)

    def _choose(
        self, view: View, key: Key | None, exclude: Collection[str], cost: float, rng: Random
    ) -> Cell | None:
        with self._lock:
            self._catch_up()
            board = self._board.copy()
        now = self._ledger.clock()
        gauge = self._outside(exclude, lambda out: board.choose(now, rng.random, cost, out))
        return None if gauge is None else gauge.item

    def _learn_at(
        self,
        now: float,
        cell: Cell,
        outcome: Outcome,
        latency: float,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        success = None if outcome is Outcome.CANCELLED else outcome is Outcome.SUCCESS
        hold = 0.0 if retry_after is None else min(retry_after, LONGEST_HOLD)
        self._news.append((cell, now, latency, success, hold))
        self._catch_up_if_free()
        reported = self._reported
        due = reported is not None and reported.learn(cell, now, outcome, load)
        if reported and due and self._lock.acquire(False):  # if taken, the next one will do
            try:
                weights = reported.weights(self._given, now)
                self._board.change(compare(self._board.gauges, weights), _facts, now)
            finally:
                self._lock.release()

    def _eased(self, cell: Cell) -> None:
        self._news.append((cell, self._ledger.clock(), 0.0, None, 0.0))
        self._catch_up_if_free()

    def _catch_up(self) -> None:
        """Take note of settlements; needs the lock."""
        news, board = self._news, self._board
        while news:
            cell, now, latency, success, hold = news.pop(0)
            if cell.costly:
                board.costly = True
            board.settle(cell, now, latency, success, hold)

    def _publish(self, view: View) -> None:
        # Health must not change the unit, or a change of one would be a change of all.
        self._unit = unit_of(endpoint.weight for endpoint in view.roster)
        given = relative(view.weights(), self._unit)
        now = self._ledger.clock()
        weights = given if self._reported is None else self._reported.weights(given, now)
        changes = compare(self._board.gauges, weights)  # only an update changes members: no lock
        with self._lock:
            self._catch_up()
            self._quick_board = None
            self._given = {} if self._reported is None else given
            self._board.change(changes, _facts, now)
            super()._publish(view)

    def _renew_locks(self) -> None:
        super()._renew_locks()
        # Whoever held the lock may have left the board half changed.
        old = self._board
        for gauge in list(old.gauges.values()):
            gauge.entry, gauge.barred = None, False
        self._board = ScoreBoard(old.cap.cap, old.choices, old.pool.decay, _load_of)
        self._board.pool = old.pool
        self._publish(self._view)

    def _latency(self, cell: Cell) -> float | None:
        return cell.fact(CostEstimate, CostEstimate).latency

    def _score(self, cell: Cell, cost: float) -> float | None:
        gauge = self._board.gauges.get(cell)
        if gauge is None:
            return None
        return exp(min(self._board.value(gauge, cost) - log(self._unit), GREATEST_LOG))

    def _details(self) -> Mapping[str, float]:
        board = self._board
        return {"overdrawn": board.overdrawn, "typical_latency": exp(board.pool.log_latency)}

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        gauge = self._board.gauges.get(cell)
        if gauge is None:
            return {}
        details = self._reported.details(cell, self._ledger.clock()) if self._reported else {}
        return details | {
            "errors": gauge.estimate.errors,
            "samples": gauge.estimate.samples,
            "tokens": self._board.cap.tokens(gauge),
        }


def _facts(cell: Cell) -> tuple[Sized, CostEstimate]:
    return cell.open, cell.fact(CostEstimate, CostEstimate)
