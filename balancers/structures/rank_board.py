"""Who has the least latency × (load + 1)/weight, without a scan: estimates that fade alike.

All estimates fade by the same factor, so that their order has no time in it: the rank of a place
is log((load + 1)/weight) + ``FadingEwma.rank``, which changes with its load and its answers alone.
Three groups are kept apart: those that have answered, those that owe their first answer, and those
that hold no request yet. The last two are filed as if their latency had been 1 s when they joined.

Invariants (``_check``):

1. ``place.entry`` is the one live entry of a place in ``heap``, None if it has none. Other entries
   are left over from before, no more than ``_SLACK`` beyond twice the number of places.
2. Each place is filed once: in ``heap`` if it has answered, else in ``pending`` if it holds a
   request, else in ``fresh``; but for the time between a pick and ``taken``, or a settlement and
   ``file``.
3. It is filed at most as high as its true rank, unless its load or latency fell and ``file`` was
   not called since. As in ``LoadHeap`` a rank that has risen is noticed when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sized
from heapq import heapify, heappop, heappush, heapreplace
from math import log
from typing import Generic, TypeAlias, TypeVar

from balancers.structures.changes import Changes
from balancers.structures.ewma import FadingEwma
from balancers.structures.score_heap import ScoreHeap
from balancers.structures.ties import one_of

__all__ = ["RankBoard", "RankPlace"]

Item = TypeVar("Item", bound=Hashable)

_SLACK = 64

Facts: TypeAlias = "Callable[[Item], tuple[Sized, FadingEwma | None]]"


class RankPlace(Generic[Item]):
    """One item on a board.

    Attributes:
        board: The board; None once it has been let go.
        item: Whom it stands for.
        open: Its open leases: something with a length.
        estimate: Its latency; None before its first answer.
        weight: Its weight, > 0.
        idle: Logarithm of 1/weight: what its rank is above its latency while it is idle.
        serial: Its number on the board: equals are drawn from in this order.
        joined: When it joined, in units of the decay.
        entry: Its live entry among those that have answered, or None.
    """

    __slots__ = ("board", "entry", "estimate", "idle", "item", "joined", "open", "serial", "weight")

    def __init__(
        self, board: RankBoard[Item], item: Item, serial: int, weight: float, joined: float
    ) -> None:
        self.board: RankBoard[Item] | None = board
        self.item: Item = item
        self.serial: int = serial
        self.weight: float = weight
        self.idle: float = log(1.0 / weight)
        self.joined: float = joined
        self.open: Sized = ()
        self.estimate: FadingEwma | None = None
        self.entry: tuple[float, int, RankPlace[Item]] | None = None

    @property
    def rank(self) -> float:
        """The true rank for a request of cost 1. O(1)."""
        load = len(self.open)
        share = log((load + 1.0) / self.weight) if load else self.idle
        return share + (self.joined if self.estimate is None else self.estimate.rank)


class RankBoard(Generic[Item]):
    """The items with their weights and what is known of them; not for two threads at once.

    Args:
        weights: Weight of each item, > 0.
        joined: When each joined, in units of the decay.
        facts: Returns the open leases of an item, and its estimate or None.

    Attributes:
        heap: Entries (rank, serial, place) of those that have answered.
        fresh: Those that have not answered and hold no request.
        pending: Those that owe their first answer.
    """

    __slots__ = ("_serial", "fresh", "heap", "pending", "places")

    def __init__(
        self, weights: Mapping[Item, float], joined: Mapping[Item, float], facts: Facts[Item]
    ) -> None:
        self.places: dict[Item, RankPlace[Item]] = {}
        self.heap: list[tuple[float, int, RankPlace[Item]]] = []
        self.fresh: ScoreHeap[Item] = ScoreHeap()
        self.pending: ScoreHeap[Item] = ScoreHeap()
        self._serial = 0
        for item, weight in weights.items():
            self._add(item, weight, joined[item], facts)

    def change(self, changes: Changes[Item], now: float, facts: Facts[Item]) -> None:
        """Follow a change of membership; nobody else is filed anew.

        Args:
            changes: What to change; see ``compare``.
            now: When those join that are new, in units of the decay.
            facts: As for the board.

        Runtime complexity: O(log n) amortised for each change.
        """
        for item in changes.gone:
            self._let_go(self.places.pop(item))
        for item, weight in changes.changed.items():
            old = self.places[item]
            self._let_go(old)
            self._add(item, weight, old.joined, facts)
        for item, weight in changes.joined.items():
            self._add(item, weight, now, facts)
        self._tidy()

    def _add(self, item: Item, weight: float, joined: float, facts: Facts[Item]) -> None:
        place = self.places[item] = RankPlace(self, item, self._serial, weight, joined)
        self._serial += 1
        place.open, place.estimate = facts(item)
        self._file(place)

    def _let_go(self, place: RankPlace[Item]) -> None:
        place.board = place.entry = None  # a lease may still hold on to it
        for group in (self.fresh, self.pending):
            if place.item in group:
                group.remove(place.item)

    def file(self, item: Item, estimate: FadingEwma | None) -> None:
        """File an item where it belongs now; strangers are ignored. O(log n) amortised."""
        place = self.places.get(item)
        if place is not None:
            place.estimate = estimate
            self._file(place)

    def _file(self, place: RankPlace[Item]) -> None:
        group = self.pending if place.open else self.fresh
        for other in (self.fresh, self.pending):
            if place.item in other and (other is not group or place.estimate is not None):
                other.remove(place.item)
        if place.estimate is None:
            group.place(place.item, place.rank)
        elif place.entry is None or place.rank < place.entry[0]:
            self.push(place, place.rank)

    def push(self, place: RankPlace[Item], rank: float) -> None:
        """File a place that has answered under a rank; an entry it has is left behind."""
        place.entry = entry = rank, place.serial, place
        heappush(self.heap, entry)
        self._tidy()

    def _tidy(self) -> None:
        if len(self.heap) > 2 * len(self.places) + _SLACK:  # mostly left over: amortised O(1)
            self.heap[:] = [entry for entry in self.heap if entry[2].entry is entry]
            heapify(self.heap)

    def taken(self, place: RankPlace[Item]) -> None:
        """Take note that a place is about to get a request. O(log n)."""
        if place.item in self.fresh:
            self.fresh.remove(place.item)
            self.pending.place(place.item, place.rank)

    def least(
        self, typical: float, random: Callable[[], float], exclude: Collection[Item] = ()
    ) -> RankPlace[Item] | None:
        """Return one of the least rank outside ``exclude``, ties by chance; None if none is left.

        Those that have answered and those without a request compete, the latter for typical;
        those that owe an answer come last.

        Args:
            typical: Logarithm of the latency of those that have not answered, in seconds.
            random: Uniform over [0, 1).
            exclude: Not to be returned; strangers are ignored.

        Runtime complexity: O(log n) amortised, O(len(exclude) log n) more, and O(T) where T of
        those that have answered share the least rank exactly.
        """
        aside = [self.places[item] for item in exclude if item in self.places] if exclude else ()
        for place in aside:
            place.entry = None
            for group in (self.fresh, self.pending):
                if place.item in group:
                    group.remove(place.item)
        found = self._least_known(random)
        # Nobody in a group stands lower than its first score.
        if self.fresh.entries and (
            found is None or found.entry is None or typical + self.fresh.scores[0] <= found.entry[0]
        ):
            fresh = self._lowest(self.fresh, random)
            if fresh is not None and (found is None or typical + fresh.rank <= found.rank):
                found = fresh
        if found is None:
            found = self._lowest(self.pending, random)
        for place in aside:
            self._file(place)
        return found

    def _least_known(self, random: Callable[[], float]) -> RankPlace[Item] | None:
        """Return one of the least rank among those that have answered, None if nobody has."""
        heap = self.heap
        while heap:
            entry = heap[0]
            filed, serial, place = entry
            if place.entry is not entry:
                heappop(heap)
                continue
            rank = place.rank
            if rank != filed:
                place.entry = entry = rank, serial, place
                heapreplace(heap, entry)
            elif (len(heap) > 1 and heap[1][0] == rank) or (len(heap) > 2 and heap[2][0] == rank):
                return self._one_of_tied(random)
            else:
                return place
        return None

    def _one_of_tied(self, random: Callable[[], float]) -> RankPlace[Item]:
        """Return one of those whose rank is the first entry's."""
        heap = self.heap
        rank = heap[0][0]
        found = []
        spots = [0]
        while spots:  # equal keys are a subtree at the root
            spot = spots.pop()
            if spot < len(heap) and heap[spot][0] == rank:
                entry = heap[spot]
                if entry[2].entry is entry and entry[2].rank == rank:
                    found.append(entry)
                spots += (2 * spot + 1, 2 * spot + 2)
        found.sort()  # by serial: the heap's order tells of the past
        return one_of(found, random)[2]

    def _lowest(
        self, group: ScoreHeap[Item], random: Callable[[], float]
    ) -> RankPlace[Item] | None:
        while group:
            place = self.places[group.draw(random)]
            rank = place.rank
            if rank == group.score(place.item):
                return place
            group.place(place.item, rank)
        return None

    def copy(self) -> RankBoard[Item]:
        """Return a board that chooses what this one would, by the same rng. O(n)."""
        twin: RankBoard[Item] = RankBoard({}, {}, _nothing)
        for item, place in self.places.items():
            other = RankPlace(twin, item, place.serial, place.weight, place.joined)
            other.open, other.estimate = place.open, place.estimate
            twin.places[item] = other
            if place.entry is not None:
                twin.push(other, place.entry[0])
        twin._serial = self._serial
        twin.fresh, twin.pending = self.fresh.copy(), self.pending.copy()
        return twin

    def _check(self) -> None:
        self.fresh._check()
        self.pending._check()
        live = [entry for entry in self.heap if entry[2].entry is entry]
        assert len(self.heap) <= 2 * len(self.places) + _SLACK
        filed = [*(entry[2].item for entry in live), *self.fresh, *self.pending]
        assert len(filed) == len(set(filed))
        assert set(filed) == self.places.keys()
        assert all(entry[0] <= entry[2].rank for entry in live)
        for item, place in self.places.items():
            assert place.item == item
            assert place.board is self
            assert place.serial < self._serial
            assert (place.estimate is not None) is (place.entry is not None)
            for group in (self.fresh, self.pending):
                assert place.item not in group or group.score(place.item) <= place.rank


def _nothing(item: object) -> tuple[Sized, None]:
    return (), None
