"""Least connections: the endpoint with the least load for its weight.

Guarantees:
    The endpoint picked minimises (load + cost)/weight among the eligible, for unit costs
    (in-flight + 1)/weight, exactly; every tied endpoint has the same chance, at each pick.
    With equal weights and no departures no two in-flight counts differ by more than 1. An
    endpoint that joins others is eligible for at most twice its share of the picks and 9 more
    until it is level with them, lest it be flooded.

Use when:
    Requests last unequally long and this balancer sees a good part of the traffic: in-flight
    counts are then the best signal there is without the server's help.

Avoid when:
    Endpoints may fail fast: an endpoint that answers errors in 1 ms is always the least
    loaded and draws over a quarter of all requests. Or when many clients share the servers,
    each with less than one request in flight: local counts then say next to nothing.

Cost:
    A pick takes one private lock, for O(1) work with equal weights and O(log n) with unequal
    ones, amortised; costs other than 1 over K distinct weights add O(K). A settlement takes
    no lock. An update is O(n). Counts are read from the leases themselves, never copied.

Source:
    Least-request in Envoy, leastconn in HAProxy, least_conn in nginx; the + 1 as in IPVS
    "shortest expected delay" and Kong, which ranks idle endpoints by weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import floor
from random import Random
from threading import Lock
from typing import Any, ClassVar, NamedTuple, Unpack

from balancers.core.lease import Pick, RecordedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import float_total
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Reason
from balancers.structures.joiners import Joiners
from balancers.structures.load_heap import LoadHeap
from balancers.structures.score_heap import ScoreEntry, ScoreHeap

__all__ = ["LeastConnections"]

_FEW = 8
"""A heap in use follows up to one change in so many members; beyond that one is built."""


class _FiledPick(Pick):
    """A plain lease that knows where its cell was filed, which spares a look-up at its end."""

    __slots__ = ("_entry", "_heap")

    _entry: ScoreEntry[Cell]
    _heap: ScoreHeap[Cell] | None


class _FiledRecordedPick(RecordedPick):
    """The same of a lease whose end the health registry is told."""

    __slots__ = ("_entry", "_heap")

    _entry: ScoreEntry[Cell]
    _heap: ScoreHeap[Cell] | None


class _Exchange(NamedTuple):
    """A health change: who is no candidate any more, and who is one again, at which weight."""

    gone: list[Cell]
    come: dict[Cell, float]


class LeastConnections(Policy):
    """The endpoint of least (load + cost)/weight, ties broken by the rng.

    Args:
        endpoints: The membership.
        options: What every balancer takes; see ``Policy``.

    Invariants:
        1. ``_heap`` is used under ``_lock`` alone. It is the state of the published view.
        2. A candidate whose load has fallen since it was last filed is in ``_told``.
        3. While a view is being built, whoever leaves ``_told`` enters ``_missed``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("lc", "least-connections", "least-request")

    def __init__(self, endpoints: Iterable[EndpointLike], **options: Unpack[Options]) -> None:
        self._lock = Lock()
        self._told: list[Pick | Cell] = []
        # One bound method for all cells: it stays in the processor's cache.
        self._tell = self._told.append
        self._building = False
        self._missed: dict[Cell, None] = {}  # ordered, unlike a set, whatever the process
        self._heap: LoadHeap[Cell] = LoadHeap({}, _load)
        self._by_load: ScoreHeap[Cell] | None = None  # _heap's, where the quick path will do
        self._joiners: Joiners[Cell] = Joiners()
        super().__init__(endpoints, **options)

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease a least loaded endpoint. Amortised O(1), O(log n) with unequal weights."""
        if self._fast is None or key is not None or exclude or cost != 1.0 or self._abandoned:
            return self._pick(key, exclude, cost)
        registry = self._registry
        if registry is not None:
            clock = self._clock  # calling the attribute costs half as much again
            now = clock()
            if now >= registry.deadline:
                return self._pick(key, exclude, cost)
        # LoadHeap.fell, LoadHeap.draw and Cell.issue, written out for equal weights: their calls
        # cost as much as all the rest. So does `with` beside acquire and release.
        told, lock, random = self._told, self._lock, self._rng.random
        kind: Any = _FiledPick if registry is None else _FiledRecordedPick
        lock.acquire()
        try:
            entry: ScoreEntry[Cell] | None = None
            pick: Pick
            heap = self._by_load
            if heap is None or self._building:
                cell = self._take((), 1.0, self._rng)
            else:
                while told:
                    news: Any = told.pop()
                    if news.__class__ is kind:
                        cell = news._cell
                        known = news._entry if news._heap is heap else heap.entries.get(cell)
                    else:
                        cell = _cell_of(news)
                        known = heap.entries.get(cell)
                    if known is not None and (len(cell.open) < known.score or cell.costly):
                        heap.place(cell, _load(cell))
                while True:
                    bucket = heap.buckets[heap.scores[0]] or heap.lowest()
                    entry = bucket[floor(random() * len(bucket))]
                    cell = entry.item
                    load = cell.load if cell.costly else len(cell.open)
                    if load == entry.score:
                        break
                    heap.place(cell, load)
            if registry is not None:
                if entry is None:
                    pick = recorded = RecordedPick()
                else:
                    pick = recorded = both = _FiledRecordedPick()
                    both._heap = heap
                    both._entry = entry
                recorded._started = now
            elif entry is None:
                pick = Pick()
            else:
                pick = filed = _FiledPick()
                filed._heap = heap
                filed._entry = entry
            pick.endpoint = cell.endpoint
            pick._cell = cell
            pick._serial = serial = next(cell.serials)
            cell.open.add(serial)
        except LookupError:
            pass  # the membership was emptied before the lock was ours
        else:
            return pick
        finally:
            lock.release()
        return self._pick(key, exclude, cost)

    def _grant(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        # Of the view in use, should it have been replaced while this pick came down to it.
        cells = self._ledger.cells
        # In an order that does not depend on the process, as ties are drawn by position.
        aside = [cells[name] for name in sorted(cells.keys() & exclude)]
        with self._lock:
            try:
                cell = self._take(aside, cost, self._rng, exclude)
            except LookupError:
                raise self._nobody(view, exclude) from None
            return self._lease(cell, cost, reason, now)

    def _take(
        self, exclude: Collection[Cell], cost: float, rng: Random, names: Collection[str] = ()
    ) -> Cell:
        """Choose, under the lock, whatever the weights and costs; who chooses also charges."""
        self._refile()
        heap, joiners = self._heap, self._joiners
        try:
            # Most picks exclude nobody, and are spared a call.
            cell = _draw(heap, rng, cost, exclude, names) if names else heap.draw(rng.random, cost)
        except LookupError:
            if not joiners.passed_over:
                raise
            cell = _draw(_without_cap(heap, joiners.passed_over), rng, cost, exclude, names)
        if joiners:
            if joiners.chosen(cell, not exclude) and cell not in heap.aside:
                heap.set_aside(cell)
            for back in joiners.back():
                heap.bring_back(back)
            if not joiners:
                self._by_load = heap.by_load
        return cell

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        with self._lock:
            heap = self._heap.copy()
            for news in reversed(self._told):  # as ``_refile`` pops them: ties go by position
                heap.fell(_cell_of(news))
            waiting = list(self._joiners.passed_over)
        cells = self._ledger.cells
        # In an order that does not depend on the process, as ties are drawn by position.
        aside = [cells[name] for name in sorted(cells.keys() & exclude)]
        for chance in (heap, _without_cap(heap, waiting)):
            try:
                return _draw(chance, rng, cost, aside, exclude)
            except LookupError:
                continue
        return None

    def _refile(self) -> None:
        """Take note of the loads that have fallen."""
        told = self._told
        fell = self._heap.fell
        while told:
            cell = _cell_of(told.pop())
            if self._building:
                self._missed[cell] = None
            fell(cell)

    def _build(self, view: View) -> LoadHeap[Cell] | _Exchange:
        return self._exchange(view) or self._filed(view)

    def _filed(self, view: View) -> LoadHeap[Cell]:
        """Return a heap of the candidates, made aside."""
        self._missed = {}
        self._building = True
        return LoadHeap(view.weights(), _load)

    def _exchange(self, view: View) -> _Exchange | None:
        """Return what a health change comes to, if the heap in use can follow it."""
        heap = self._heap
        if self._view.roster is not view.roster or view.ramps or self._view.ramps:
            return None
        able = set(view.cells)
        gone = [cell for cell in heap.weights if cell not in able]
        if len(gone) * _FEW > len(able):
            return None
        come: dict[Cell, float] = {}
        if len(able) > len(heap.weights) - len(gone):
            if len(able) - len(heap.weights) > len(able) // _FEW:
                return None
            known = heap.weights
            come = {
                cell: endpoint.weight
                for cell, endpoint in zip(view.cells, view.endpoints, strict=True)
                if cell not in known
            }
        return _Exchange(gone, come) if heap.knows(come) else None

    def _follow(self, exchange: _Exchange) -> LoadHeap[Cell]:
        """Let the heap in use follow a health change, under the lock."""
        heap = self._heap
        for cell in exchange.gone:
            cell.unwatch(self._tell)
        for cell in exchange.come:
            cell.watch(self._tell)  # before its load is read: what falls later is told
        heap.exchange(exchange.gone, exchange.come)
        self._joiners.change(exchange.come, exchange.gone, float_total(heap.weights.values()))
        return heap

    def _publish(self, view: View) -> None:
        if isinstance(view.state, _Exchange):
            with self._lock:
                view.state = heap = self._follow(view.state)
                self._building = False
                self._missed = {}
                self._by_load = None if self._joiners else heap.by_load
                super()._publish(view)
            return
        heap = view.state
        with self._lock:
            before = self._heap.weights
            for cell in before:
                if cell not in heap:
                    cell.unwatch(self._tell)
            for cell in heap.weights:
                if self._tell not in cell.tellers:
                    cell.watch(self._tell)
                    self._missed[cell] = None
            # Loads that fell after the heap had read them, and before anybody could tell it.
            for cell in self._missed:
                heap.fell(cell)
            self._building = False
            self._missed = {}
            joined = {c: weight for c, weight in heap.weights.items() if c not in before}
            if len(joined) == len(heap.weights):
                joined = {}  # everybody is new: nobody has to wait for anybody
            left = [cell for cell in before if cell not in heap]
            self._joiners.change(joined, left, float_total(heap.weights.values()))
            for cell in self._joiners.passed_over:
                heap.set_aside(cell)
            self._heap = heap
            self._by_load = None if self._joiners else heap.by_load
            super()._publish(view)

    def _private_locks(self) -> list[Lock]:
        return [self._lock]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._lock = Lock()
        self._joiners = Joiners()
        # Whoever held the lock may have left the heap half changed.
        self._view.state = self._filed(self._view)
        self._publish(self._view)

    def _score(self, cell: Cell, cost: float) -> float | None:
        weight = self._heap.weights.get(cell)
        return None if weight is None else (cell.load + cost) / weight


def _load(cell: Cell) -> float:
    """What a cell is ranked by: an integer unless other costs than 1 are open."""
    return cell.load if cell.costs else len(cell.open)


def _cell_of(news: Pick | Cell) -> Cell:
    """Return whose load has fallen; see ``Cell.watch``."""
    return news if isinstance(news, Cell) else news._cell


def _draw(
    heap: LoadHeap[Cell], rng: Random, cost: float, aside: Collection[Cell], names: Collection[str]
) -> Cell:
    """Draw a cell that is neither aside nor of one of these ids; LookupError if there is none."""
    while True:
        cell = heap.draw(rng.random, cost, aside)
        if cell.endpoint.id not in names:
            return cell
        # An update is under way: the ledger knows another cell of that id already, or none.
        aside = (*aside, cell)


def _without_cap(heap: LoadHeap[Cell], passed_over: Collection[Cell]) -> LoadHeap[Cell]:
    """Return a heap that those who are passed over can be drawn from, nobody else being left."""
    twin = heap.copy()
    for cell in passed_over:
        twin.bring_back(cell)
    return twin
