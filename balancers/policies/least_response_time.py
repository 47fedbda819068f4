"""Least response time: the least of latency × load over all endpoints, not over a few drawn.

Guarantees:
    The endpoint picked minimises latency × (load + cost)/weight over all eligible that have
    answered, ties by chance; latency is a mean over time that fades while an endpoint is idle, so
    that everybody is tried again. An endpoint nobody has heard from is taken for average when it
    joins, and holds one request at a time until it answers. A failure counts as a slow answer.

Use when:
    Speeds differ much and this balancer sees a good part of the traffic.

Avoid when:
    Many clients see the same latencies: they all agree on the best endpoint. Or when endpoints may
    turn fast by failing later on: only the failures themselves are priced, at 5 s or ten times
    the mean. ``Adaptive`` bounds both.

Cost:
    A pick and a settlement each take one private lock for O(log n) work, amortised; with costs
    other than 1 a pick is O(n). All estimates fade by one factor, so their order is free of time
    and a heap keeps it.

Source:
    least_time in nginx Plus, "fastest response" elsewhere; the fading after Finagle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from math import exp, floor, log
from random import Random
from threading import Lock
from typing import ClassVar, Unpack

from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.timed import TimedPolicy, Timely
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome
from balancers.structures.ewma import LEAST, Ewma, FadingEwma, checked_decay
from balancers.structures.score_heap import ScoreHeap

__all__ = ["LeastResponseTime"]

FAILURE_LATENCY = 5.0
"""Seconds a failure counts as, at least: linkerd's penalty."""

FAILURE_FACTOR = 10.0
"""And at least this many times the mean latency of all endpoints."""

LONGEST_RETRY = 300.0
"""Seconds up to which a server's ``retry_after`` is believed."""

_PENDING = 1e9  # seconds: more than any latency; only the load tells two such apart


class _Board:
    """The candidates by rank; needs the policy's lock.

    Invariants:
        1. ``known`` files those that have answered, ``pending`` those that owe their first
           answer, each by at most its true rank; ``fresh`` those that have no request yet.
        2. A rank is log(latency · (load + 1)/weight) + t/decay, which holds for any time t; the
           latency counts as 1 where there is no answer yet, at the time it joined.
    """

    __slots__ = ("fresh", "joined", "known", "pending", "weights")

    def __init__(self, weights: Mapping[Cell, float], joined: Mapping[Cell, float]) -> None:
        self.weights = weights
        self.joined = joined  # time over decay
        self.known: ScoreHeap[Cell] = ScoreHeap()
        self.fresh: ScoreHeap[Cell] = ScoreHeap()
        self.pending: ScoreHeap[Cell] = ScoreHeap()
        for cell in weights:
            self.file(cell)

    def file(self, cell: Cell) -> None:
        """File a candidate where it belongs now; strangers are ignored. O(log n)."""
        if cell not in self.weights:
            return
        heap = self._heap_of(cell)
        for other in (self.fresh, self.pending):
            if other is not heap and cell in other:
                other.remove(cell)
        heap.place(cell, self.rank(cell))

    def rank(self, cell: Cell) -> float:
        """Return the rank of a candidate for a request of cost 1; see the second invariant."""
        share = (len(cell.open) + 1.0) / self.weights[cell]
        estimate = _estimate(cell)
        return log(share) + (self.joined[cell] if estimate is None else estimate.rank)

    def lowest(self, heap: ScoreHeap[Cell], draw: Callable[[], float]) -> Cell | None:
        """Return one of the lowest true rank, ties by chance. Amortised O(log n)."""
        while heap:
            cell = heap.draw(draw)
            rank = self.rank(cell)
            if rank == heap.score(cell):
                return cell
            heap.place(cell, rank)
        return None

    def _heap_of(self, cell: Cell) -> ScoreHeap[Cell]:
        if _estimate(cell) is not None:
            return self.known
        return self.pending if cell.open else self.fresh

    def copy(self) -> _Board:
        """Return a board that chooses what this one would. O(n)."""
        twin = _Board({}, {})
        twin.weights, twin.joined = self.weights, self.joined
        twin.known, twin.fresh = self.known.copy(), self.fresh.copy()
        twin.pending = self.pending.copy()
        return twin


class LeastResponseTime(TimedPolicy):
    """The least of mean latency × (load + cost)/weight.

    Args:
        endpoints: The membership.
        decay: Time constant of the estimates in seconds, finite and > 0.
        options: What every balancer takes; see ``Policy``.

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ("lrt", "least-time")

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        decay: float = 10.0,
        **options: Unpack[Options],
    ) -> None:
        self._decay = checked_decay(decay)
        self._mean = Ewma(decay)
        self._lock = Lock()  # guards _board and _mean
        # Settlements that found it taken: cell, time, outcome, latency, retry_after.
        self._news: list[tuple[Cell, float, Outcome, float, float | None]] = []
        self._board = _Board({}, {})
        self._missed: set[Cell] | None = None  # who settled while a view is being published
        self._costly = False  # whether other costs than 1 were seen: then a pick scans
        super().__init__(endpoints, **options)

    def _timely(self, view: View) -> Timely | None:
        return lambda now: None if self._costly else self._cheapest(now, self._rng, (), 1.0)

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        cells = self._ledger.cells
        out = [cells[name] for name in sorted(cells.keys() & exclude)]
        return self._cheapest(self._ledger.clock(), rng, out, cost)

    def _peek(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        cells = self._ledger.cells
        out = [cells[name] for name in sorted(cells.keys() & exclude)]
        with self._lock:
            self._catch_up()
            board = self._board.copy()
        return self._best_of(board, self._ledger.clock(), rng, out, cost)

    def _cheapest(self, now: float, rng: Random, out: Collection[Cell], cost: float) -> Cell | None:
        with self._lock:
            self._catch_up()
            cell = self._best_of(self._board, now, rng, out, cost)
            if cell is not None and cell in self._board.fresh:
                # It is about to hold its one request.
                self._board.fresh.remove(cell)
                self._board.pending.place(cell, self._board.rank(cell))
            return cell

    def _best_of(
        self, board: _Board, now: float, rng: Random, out: Collection[Cell], cost: float
    ) -> Cell | None:
        if cost != 1.0:
            self._costly = True
        if self._costly:
            return self._scanned(board, now, rng, out, cost)
        aside = [cell for cell in out if cell in board.weights]
        for cell in aside:
            for heap in (board.known, board.fresh, board.pending):
                if cell in heap:
                    heap.remove(cell)
        known = board.lowest(board.known, rng.random)
        fresh = board.lowest(board.fresh, rng.random)
        if known is None and fresh is None:
            found = board.lowest(board.pending, rng.random)
        elif known is None or fresh is None:
            found = known or fresh
        else:
            typical = log(self._typical())
            found = fresh if typical + board.rank(fresh) <= board.rank(known) else known
        for cell in aside:
            board.file(cell)
        return found

    def _scanned(
        self, board: _Board, now: float, rng: Random, out: Collection[Cell], cost: float
    ) -> Cell | None:
        """Return the best by looking at every candidate: loads are any numbers. O(n)."""
        barred = set(out)
        values = {
            cell: self._value(cell, now, (cell.load + cost) / weight)
            for cell, weight in board.weights.items()
            if cell not in barred
        }
        if not values:
            return None
        least = min(values.values())
        tied = [cell for cell, value in values.items() if value == least]
        return tied[floor(rng.random() * len(tied))] if len(tied) > 1 else tied[0]

    def _value(self, cell: Cell, now: float, share: float) -> float:
        """Return latency × share, share being (load + cost)/weight; unheard of: the mean."""
        estimate = _estimate(cell)
        if estimate is not None:
            return max(estimate.read(now) or 0.0, LEAST) * share
        if cell.open:
            return _PENDING * share
        waited = now - self._board.joined[cell] * self._decay
        return self._typical() * exp(-waited / self._decay) * share

    def _typical(self) -> float:
        """Return the latency the unheard of are taken for, in seconds."""
        mean = self._mean.value
        return 1.0 if mean is None else max(mean, LEAST)

    def _learn_at(
        self,
        now: float,
        cell: Cell,
        outcome: Outcome,
        latency: float,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        self._news.append((cell, now, outcome, latency, retry_after))
        self._catch_up_if_free()

    def _eased(self, cell: Cell) -> None:
        self._news.append((cell, self._ledger.clock(), Outcome.CANCELLED, 0.0, None))
        self._catch_up_if_free()

    def _catch_up_if_free(self) -> None:
        # A settlement must not wait: it may run in a finalizer, inside a pick of its own thread.
        # Where the lock is taken, the news waits for the next pick or settlement.
        if self._lock.acquire(False):
            try:
                self._catch_up()
            finally:
                self._lock.release()

    def _catch_up(self) -> None:
        """Take note of settlements; needs the lock."""
        while self._news:
            cell, now, outcome, latency, retry_after = self._news.pop(0)
            if cell.costly:
                self._costly = True
            if outcome is not Outcome.CANCELLED:
                estimate = cell.fact(FadingEwma, self._new_estimate)
                if outcome is Outcome.SUCCESS:
                    self._mean.observe(latency, now)
                    estimate.observe(latency, now)
                if outcome is Outcome.FAILURE:
                    mean = FAILURE_FACTOR * (self._mean.value or 0.0)
                    estimate.observe_peak(max(latency, FAILURE_LATENCY, mean), now)
                if retry_after is not None:
                    estimate.observe_peak(min(retry_after, LONGEST_RETRY), now)
            self._board.file(cell)
            if self._missed is not None:
                self._missed.add(cell)

    def _new_estimate(self) -> FadingEwma:
        return FadingEwma(self._decay)

    def _build(self, view: View) -> dict[Cell, float]:
        ramps = view.ramps
        return {
            # A ramp must not round a weight down to nothing.
            cell: endpoint.weight * ramps.get(endpoint.id, 1.0) or endpoint.weight
            for cell, endpoint in zip(view.cells, view.endpoints, strict=True)
        }

    def _publish(self, view: View) -> None:
        now = self._ledger.clock() / self._decay
        before = self._board.joined
        missed: set[Cell] = set()
        self._missed = missed
        board = _Board(view.state, {cell: before.get(cell, now) for cell in view.state})
        with self._lock:
            self._catch_up()
            # Those that settled while the board was built aside.
            for cell in missed:
                board.file(cell)
            self._missed = None
            self._board = board
            super()._publish(view)

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._lock = Lock()
        # Whoever held the lock may have left the board half changed.
        self._publish(self._view)

    def _latency(self, cell: Cell) -> float | None:
        estimate = _estimate(cell)
        return None if estimate is None else estimate.read(self._ledger.clock())

    def _score(self, cell: Cell, cost: float) -> float | None:
        weight = self._board.weights.get(cell)
        if weight is None:
            return None
        return self._value(cell, self._ledger.clock(), (cell.load + cost) / weight)


def _estimate(cell: Cell) -> FadingEwma | None:
    """Return what is known of a cell's latency, None before its first answer."""
    return cell.facts.get(FadingEwma)
