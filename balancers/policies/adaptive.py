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
    Requests must go by key (see the hash policies), or the order must be predictable.

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
from random import Random
from threading import Lock
from typing import Unpack

from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.timed import TimedPick, TimedPolicy, Timely
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome, Reason
from balancers.structures.cost_estimate import CostEstimate
from balancers.structures.ewma import checked_decay
from balancers.structures.score_board import ScoreBoard
from balancers.structures.share_cap import checked_cap

__all__ = ["Adaptive"]

LONGEST_HOLD = 300.0
"""Seconds up to which a server's ``retry_after`` is believed."""


class Adaptive(TimedPolicy):
    """The endpoint that is cheapest now, by what its answers have shown.

    Args:
        endpoints: The membership.
        choices: Candidates drawn, beside the best remembered, from those not heard of yet, ≥ 1.
        decay: Memory of the estimates in seconds, finite and > 0.
        share_cap: κ: how many times its share an endpoint may get, finite and > 1.
        options: What every balancer takes; see ``Policy``.

    Raises:
        ValueError: If an option is out of range.
    """

    aliases = ("adaptive",)

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        choices: int = 3,
        decay: float = 10.0,
        share_cap: float = 2.0,
        **options: Unpack[Options],
    ) -> None:
        if isinstance(choices, bool) or not isinstance(choices, int):
            raise TypeError(f"choices is an int, not {choices!r}")
        if choices < 1:
            raise ValueError(f"choices must be ≥ 1, not {choices}")
        self._lock = Lock()  # guards _board
        self._board: ScoreBoard[Cell] = ScoreBoard(
            checked_cap(share_cap), choices, checked_decay(decay), _load
        )
        super().__init__(endpoints, **options)

    def _timely(self, view: View) -> Timely | None:
        lock, board, random = self._lock, self._board, self._rng.random

        def choose(now: float) -> Cell | None:
            lock.acquire()
            try:
                gauge = board.choose(now, random)
            finally:
                lock.release()
            return None if gauge is None else gauge.item

        return choose

    def _grant(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        cells = self._ledger.cells
        aside = {cells[name] for name in exclude if name in cells}
        with self._lock:
            board = self._board
            if cost != 1.0:
                board.costly = True
            when = self._ledger.clock() if now is None else now
            gauge = board.choose(when, self._rng.random, cost, aside)
            if gauge is not None:
                return self._lease(gauge.item, cost, reason, now)
        raise self._nobody(view, exclude)

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        cells = self._ledger.cells
        aside = {cells[name] for name in exclude if name in cells}
        with self._lock:
            board = self._board.copy()
        gauge = board.choose(self._ledger.clock(), rng.random, cost, aside)
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
        lock = self._lock
        lock.acquire()
        try:
            if cell.costly:
                self._board.costly = True
            self._board.settle(cell, now, latency, success, hold)
        finally:
            lock.release()

    def _publish(self, view: View) -> None:
        ramps = view.ramps
        weights = {
            # A ramp must not round a weight down to nothing.
            cell: endpoint.weight * ramps.get(endpoint.id, 1.0) or endpoint.weight
            for cell, endpoint in zip(view.cells, view.endpoints, strict=True)
        }
        with self._lock:
            self._board.reconcile(weights, _facts, self._ledger.clock())
        super()._publish(view)

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._lock = Lock()

    def _latency(self, cell: Cell) -> float | None:
        return cell.fact(CostEstimate, CostEstimate).latency

    def _score(self, cell: Cell, cost: float) -> float | None:
        with self._lock:
            gauge = self._board.gauges.get(cell)
            return None if gauge is None else self._board.value(gauge, cost)

    def _details(self) -> Mapping[str, float]:
        with self._lock:
            board = self._board
            return {"overdrawn": board.overdrawn, "typical_latency": board.pool.typical}

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        with self._lock:
            gauge = self._board.gauges.get(cell)
            if gauge is None:
                return {}
            return {
                "errors": gauge.estimate.errors,
                "samples": gauge.estimate.samples,
                "tokens": self._board.cap.tokens(gauge),
            }


def _facts(cell: Cell) -> tuple[Sized, CostEstimate]:
    return cell.open, cell.fact(CostEstimate, CostEstimate)


def _load(cell: Cell) -> float:
    return cell.load if cell.costly else len(cell.open)
