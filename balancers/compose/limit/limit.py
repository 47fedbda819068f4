"""Limit: so many requests in flight for each endpoint, and so many in all.

Guarantees:
    An endpoint never has more than ``per_endpoint`` leases open, nor all together more than
    ``total``; none is refused while an eligible endpoint outside ``exclude`` has room and so
    has the total. ``pick`` never waits; ``acquire`` and ``enqueue`` do, in a bounded queue.

Use when:
    Endpoints fall over above a known number of requests.

Avoid when:
    The number is unknown: a load-aware policy spreads what there is.

Cost:
    The lock, for the inner policy's choice, which excludes the k full ones; O(n) an update.

Source:
    maxconn and maxqueue of HAProxy, circuit breakers of Envoy, gRFC A32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from random import Random
from typing import Any, Unpack

from balancers.compose.composite import Branch, PolicyFactory, Taker
from balancers.compose.limit.waiting import Waiting
from balancers.compose.solo import EVERYBODY
from balancers.compose.spread import Spread
from balancers.core.lease import Pick, TrackedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_whole
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import NoEligibleEndpointError
from balancers.hashing import Key
from balancers.protocol import Outcome, Reason

__all__ = ["Limit"]

Cap = int | Callable[[Endpoint], int]


class Limit(Waiting):
    """Bounds the leases in flight.

    Args:
        endpoints: The membership.
        policy: Makes the balancer that chooses among those with room.
        per_endpoint: Leases each endpoint may have open, ≥ 1; or a function from an endpoint to
            that number; None: any number.
        total: Leases that may be open in all, ≥ 1, those on departed endpoints included; None:
            any number.
        queue: How many may wait in ``enqueue`` and ``acquire``, ≥ 0.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range, or if nothing is limited.

    Invariants (checked by ``_check``; all under ``_lock``):

        1. ``_open`` holds the ``id`` of each lease granted here and not settled; those that have
           ended since it was last looked at are in ``_ended``.
        2. A member whose leases fill its cap is in ``_full``. One that is in ``_full`` either
           fills its cap, or has a settlement in ``_ended`` that will take it out.
        3. A settlement never waits for ``_lock``, since it may run in a finalizer in the middle
           of a pick: it leaves word in ``_ended``, and whoever lets go of the lock looks there.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        per_endpoint: Cap | None = None,
        total: int | None = None,
        queue: int = 0,
        **options: Unpack[Options],
    ) -> None:
        if per_endpoint is None and total is None:
            raise ValueError("Limit needs per_endpoint= or total=, or both")
        self._cap = per_endpoint
        if per_endpoint is not None and not callable(per_endpoint):
            checked_whole("per_endpoint", per_endpoint)
        self._total = None if total is None else checked_whole("total", total)
        self._open: set[int] = set()
        self._ended: deque[tuple[int, Cell]] = deque()
        self._full: set[str] = set()
        self._caps: dict[Cell, int] = {}
        super().__init__(endpoints, policy=policy, queue=queue, **options)

    # -- the slow half ---------------------------------------------------------------------

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Any]:
        view.state = {cells[e.id]: self._cap_of(e) for e in view.roster} if self._cap else {}
        return super()._groups(view, cells)

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Any:
        return view.state  # the caps

    def _spread(self, plan: Any, key: Key | None) -> Spread:
        return EVERYBODY

    def _cap_of(self, endpoint: Endpoint) -> int:
        if callable(self._cap):
            return checked_whole(f"per_endpoint of {endpoint.id!r}", self._cap(endpoint))
        assert self._cap is not None
        return self._cap

    def _publish(self, view: View) -> None:
        caps: dict[Cell, int] = view.state.plan
        with self._lock:
            self._caps = caps
            self._full = {c.endpoint.id for c, cap in caps.items() if len(c.open) >= cap}
            super()._publish(view)

    # -- the quick half --------------------------------------------------------------------

    def _taker(self, view: View) -> Taker | None:
        return None

    def _descend(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        try:
            with self._lock:
                return self._enter(view, key, exclude, cost, reason, now)
        finally:
            if self._ended or self._freed:
                self._catch_up()

    def _enter(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Check, choose and charge; needs the lock."""
        if not view.roster:
            raise self._nobody(view, exclude)
        if self._ended:
            self._take_note()
        if self._is_spent():
            self._refused = True
            raise NoEligibleEndpointError(f"all of {self._total} leases are open")
        full = self._full
        barred = exclude if not full else full if not exclude else full.union(exclude)
        try:
            pick = super()._descend(view, key, barred, cost, reason, now)
        except NoEligibleEndpointError:
            if not full:
                raise
            self._refused = True
            text = f"{len(full)} endpoint(s) have as many leases open as they may"
            raise NoEligibleEndpointError(text) from None
        return self._charged(pick)

    def _is_spent(self) -> bool:
        return self._total is not None and len(self._open) >= self._total

    def _charged(self, pick: Pick) -> Pick:
        self._open.add(id(pick))
        cell = pick._cell
        cap = self._caps.get(cell)
        if cap is not None and len(cell.open) >= cap:
            self._full.add(cell.endpoint.id)
        return pick

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        try:
            with self._lock:
                self._take_note()
                if self._is_spent() or cell.endpoint.id in self._full:
                    self._refused = True
                    return None
                pick = super()._lease_on(view, cell, key, cost, reason, now)
                return None if pick is None else self._charged(pick)
        finally:
            if self._ended or self._freed:
                self._catch_up()

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        self._ended.append((id(pick), pick._cell))
        self._catch_up()

    def _has_news(self) -> bool:
        return bool(self._ended)

    def _take_note(self) -> None:
        ended = self._ended
        while ended:
            token, cell = ended.popleft()
            self._open.discard(token)
            if len(cell.open) < self._caps.get(cell, 0):
                self._full.discard(cell.endpoint.id)
            self._freed = True

    # -- what is said of it ----------------------------------------------------------------

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        if self._is_spent():
            return None, max(reason, view.reason), (self._label(),)
        return super()._trace(view, key, self._full.copy().union(exclude), reason, rng)

    def _details(self) -> Mapping[str, float]:
        counts = len(self._open), len(self._full), len(self._waiting)
        return dict(zip(("open", "full", "waiting"), map(float, counts), strict=True))

    def _check(self) -> None:
        super()._check()
        with self._lock:
            assert self._total is None or len(self._open) <= self._total
            assert all(len(cell.open) <= cap or cap == 0 for cell, cap in self._caps.items())
            full = {c.endpoint.id for c, cap in self._caps.items() if len(c.open) >= cap}
            assert full <= self._full
