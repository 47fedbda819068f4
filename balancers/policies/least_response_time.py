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
    A pick and a settlement each take one private lock for O(log n) work, amortised; a settlement
    that finds it taken leaves its news to the next one. With costs other than 1 a pick is O(n).
    An update is O(n); a change of few members costs the lock O(log n) each.
    All estimates fade by one factor, so their order is free of time and a heap keeps it; see
    ``balancers.structures.rank_board``.

Source:
    least_time in nginx Plus, "fastest response" elsewhere; the fading after Finagle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sized
from math import exp, log
from random import Random
from types import TracebackType
from typing import ClassVar, Unpack

from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.timed import BoardPolicy, TimedPick, Timely
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome
from balancers.structures.changes import compare
from balancers.structures.ewma import LEAST, Ewma, FadingEwma, checked_decay
from balancers.structures.rank_board import RankBoard, RankPlace
from balancers.structures.ties import least_of

__all__ = ["LeastResponseTime"]

FAILURE_LATENCY = 5.0
"""Seconds a failure counts as, at least: linkerd's penalty."""

FAILURE_FACTOR = 10.0
"""And at least this many times the mean latency of all endpoints."""

LONGEST_RETRY = 300.0
"""Seconds up to which a server's ``retry_after`` is believed."""

_FEW = 64  # so many changes of membership a board in use follows,
_PART = 8  # or one in so many members; beyond that another board is built aside
_PENDING = 1e9  # seconds: more than any latency; only the load tells two such apart


class _RankedPick(TimedPick):
    """A timed lease that knows the place of its endpoint."""

    __slots__ = ("_place",)

    _place: RankPlace[Cell]
    _policy: LeastResponseTime

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cell = self._cell
        calm = cell.calm
        policy = self._policy
        place = self._place
        estimate = place.estimate
        lock = policy._lock
        if (
            error is not None
            or cell.costly
            or (calm is None and cell.entry is not None)
            or estimate is None
            or not lock.acquire(False)
        ):
            super().__exit__(kind, error, trace)
            return
        board = policy._quick_board
        if board is None or place.board is not board:
            lock.release()
            super().__exit__(kind, error, trace)
            return
        # TimedPick.__exit__, _catch_up, FadingEwma.observe and RankBoard.file, written out for the
        # usual request.
        try:
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
            if latency < 0.0:
                latency = 0.0
            policy._mean.observe(latency, now)
            value, stamp = estimate._state or (latency, now)
            if now < stamp:
                now = stamp
            decay = estimate.decay
            keep = exp((stamp - now) / decay)
            value = value * keep + latency * (1.0 - keep)
            estimate._state = value, now
            estimate.rank = rank = log(value or LEAST) + now / decay
            load = len(place.open)
            rank += log((load + 1.0) / place.weight) if load else place.idle
            if place.entry is None or rank < place.entry[0]:
                board.push(place, rank)
        finally:
            lock.release()


class LeastResponseTime(BoardPolicy):
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
        # Settlements that found it taken: cell, time, outcome, latency, retry_after.
        self._news: list[tuple[Cell, float, Outcome, float, float | None]] = []
        self._board: RankBoard[Cell] = RankBoard({}, {}, _facts)
        # The board, where a pick is a choice and a lease, and nothing more.
        self._quick_board: RankBoard[Cell] | None = None
        self._missed: list[Cell] | None = None  # who settled while a view is being published
        self._costly = False  # whether other costs than 1 were seen: then a pick scans
        super().__init__(endpoints, **options)

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease the endpoint of the least latency × load. Amortised O(log n)."""
        board = self._quick_board
        if board is None or key is not None or exclude or cost != 1.0 or self._abandoned:
            return self._pick(key, exclude, cost)
        now = self._clock()
        registry = self._registry
        if registry is not None and now >= registry.deadline:
            return self._pick(key, exclude, cost)
        lock = self._lock
        lock.acquire()  # half the price of `with`
        try:
            if self._news:
                self._catch_up()
            board = self._quick_board
            if board is not None and not self._costly:
                typical = self._typical() if board.fresh.entries else 0.0
                place = board.least(typical, self._rng.random)
            else:
                place = None
            if place is not None:
                if place.estimate is None and board is not None:
                    board.taken(place)
                cell = place.item
                pick = _RankedPick()
                pick.endpoint = cell.endpoint
                pick._policy = self
                pick._place = place
                pick._started = now
                pick._cell = cell
                pick._serial = serial = next(cell.serials)
                cell.open.add(serial)
                return pick
        finally:
            lock.release()
        return self._pick(key, exclude, cost)

    def _timely(self, view: View) -> Timely | None:
        if type(self)._learn_at is LeastResponseTime._learn_at:  # which leases write out
            self._quick_board = self._board
        return None

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        return self._cheapest(self._ledger.clock(), rng, exclude, cost)

    def _peek(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        with self._lock:
            self._catch_up()
            board = self._board.copy()
        return self._best_of(board, self._ledger.clock(), rng, exclude, cost)

    def _cheapest(
        self, now: float, rng: Random, exclude: Collection[str], cost: float
    ) -> Cell | None:
        with self._lock:
            self._catch_up()
            cell = self._best_of(self._board, now, rng, exclude, cost)
            if cell is not None:
                self._board.taken(self._board.places[cell])
            return cell

    def _best_of(
        self, board: RankBoard[Cell], now: float, rng: Random, exclude: Collection[str], cost: float
    ) -> Cell | None:
        if cost != 1.0:
            self._costly = True

        def choose(out: Collection[Cell]) -> RankPlace[Cell] | None:
            if self._costly:
                return self._scanned(board, now, rng, out, cost)
            return board.least(self._typical(), rng.random, out)

        place = self._outside(exclude, choose)
        return None if place is None else place.item

    def _scanned(
        self, board: RankBoard[Cell], now: float, rng: Random, out: Collection[Cell], cost: float
    ) -> RankPlace[Cell] | None:
        """Return the best by looking at every candidate: loads are any numbers. O(n)."""
        places = [place for cell, place in board.places.items() if cell not in out]
        if not places:
            return None
        values = [self._value(p, now, (p.item.load + cost) / p.weight) for p in places]
        return least_of(places, values, rng.random)

    def _value(self, place: RankPlace[Cell], now: float, share: float) -> float:
        """Return latency × share, share being (load + cost)/weight; unheard of: the mean."""
        estimate = place.estimate
        if estimate is not None:
            return (estimate.read(now) or LEAST) * share  # 0 × infinity is no number
        if place.open:
            return _PENDING * share
        waited = now - place.joined * self._decay
        return exp(self._typical() - waited / self._decay) * share

    def _typical(self) -> float:
        """Return the logarithm of the latency the unheard of are taken for, in seconds."""
        mean = self._mean.value
        return 0.0 if mean is None else log(mean or LEAST)

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
            self._board.file(cell, _estimate(cell))
            if self._missed is not None:
                self._missed.append(cell)

    def _new_estimate(self) -> FadingEwma:
        return FadingEwma(self._decay)

    def _build(self, view: View) -> dict[Cell, float]:
        return view.weights()

    def _publish(self, view: View) -> None:
        # Only a publication changes places or weights, so that they may be read without the lock.
        changes = compare(self._board.places, view.state)
        if len(changes) > max(_FEW, len(view.state) // _PART):
            self._publish_anew(view)
            return
        now = self._ledger.clock() / self._decay
        with self._lock:
            self._quick_board = None
            self._board.change(changes, now, _facts)
            super()._publish(view)

    def _publish_anew(self, view: View) -> None:
        """Publish a view with a board of its own, built aside."""
        now = self._ledger.clock() / self._decay
        before = self._board.places
        missed: list[Cell] = []
        with self._lock:
            self._quick_board = None  # settlements are to be heard of while the board is built
            self._missed = missed
        joined = {cell: before[cell].joined if cell in before else now for cell in view.state}
        board = RankBoard(view.state, joined, _facts)
        with self._lock:
            self._catch_up()
            # Those that settled while the board was built aside.
            for cell in missed:
                board.file(cell, _estimate(cell))
            self._missed = None
            self._board = board
            super()._publish(view)

    def _restart(self) -> None:
        super()._restart()
        self._quick_board = None

    def _renew_locks(self) -> None:
        super()._renew_locks()
        # Whoever held the lock may have left the board half changed.
        self._publish_anew(self._view)

    def _latency(self, cell: Cell) -> float | None:
        estimate = _estimate(cell)
        return None if estimate is None else estimate.read(self._ledger.clock())

    def _score(self, cell: Cell, cost: float) -> float | None:
        place = self._board.places.get(cell)
        if place is None:
            return None
        return self._value(place, self._ledger.clock(), (cell.load + cost) / place.weight)


def _estimate(cell: Cell) -> FadingEwma | None:
    """Return what is known of a cell's latency, None before its first answer."""
    return cell.known(FadingEwma)


def _facts(cell: Cell) -> tuple[Sized, FadingEwma | None]:
    return cell.open, _estimate(cell)
