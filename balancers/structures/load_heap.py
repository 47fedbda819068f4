"""Members by (load + cost)/weight: who is least loaded, without a scan and with fair ties.

The loads are the only truth. A heap that copied them could drift, so this one keeps no more than
where it last *saw* each member, and that is never above the truth:

1. The filed rank of a member is at most its true rank, unless its load has fallen and ``fell``
   has not been called since.

A member that is drawn where it is filed but truly stands higher is filed anew and another one is
drawn. Hence a rise costs nothing when it happens, the draw is exact, and the work is O(1) or
O(log n) amortised: every refiling is paid for by the charge that caused it.

Ranks are exact while loads are integers, whatever the weights: with weights in proportion to
integers u < 2^b, two scores (q + 1)/u that differ at all differ by more than 2^(-2b), so
⌊(q + 1)·2^(2b)/u⌋ orders them, and is equal only for equal scores.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from fractions import Fraction
from itertools import islice
from math import floor
from typing import Generic, TypeVar, cast

from balancers.structures.score_heap import ScoreEntry, ScoreHeap
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["LoadHeap"]

Item = TypeVar("Item", bound=Hashable)


class LoadHeap(Generic[Item]):
    """Weighted members, the least loaded first.

    Three shapes, chosen by what is there: equal weights are one heap by load; unequal ones with
    integer loads and unit costs are one heap by exact score; once other costs meet unequal
    weights, whose order then depends on the cost asked for, each distinct weight is a heap of
    its own by load, and their lowest are compared in floats.

    Args:
        weights: Mapping of ids to weights ≥ 0, or an iterable of ids; members of weight 0 are
            never drawn.
        load: Returns a member's load ≥ 0, an ``int`` unless costs other than 1 are open; by
            default the heap keeps loads of its own, told by ``charge`` and ``settle``. With
            ``load``, ``weights`` maps any hashable objects to weights > 0.

    Attributes:
        weights: The weight of each member that can be drawn.
        aside: Members that are not drawn for the time being; see ``set_aside``.

    Raises:
        InvalidEndpointError: For an id given twice or a weight out of range.
    """

    __slots__ = (
        "_given",
        "_load",
        "_loads",
        "_shift",
        "_units",
        "aside",
        "classes",
        "one",
        "weights",
    )

    def __init__(
        self,
        weights: Mapping[Item, float] | Iterable[Item],
        load: Callable[[Item], float] | None = None,
    ) -> None:
        self._loads: dict[Item, float] = {}
        self.weights: dict[Item, float]
        if load is None:
            checked = as_weights(cast("Mapping[str, float]", weights))
            self._loads = cast("dict[Item, float]", dict.fromkeys(checked, 0))
            self.weights = cast("dict[Item, float]", {i: w for i, w in checked.items() if w})
            load = self._loads.__getitem__
        else:
            self.weights = dict(cast("Mapping[Item, float]", weights))
        self._load = load
        self.aside: set[Item] = set()
        self._units: dict[Item, int] | None = None
        self._shift = 0
        self._given = self.weights  # those it was made of
        self.one: ScoreHeap[Item] | None = None
        self.classes: dict[float, ScoreHeap[Item]] = {}
        self._file_all()

    @property
    def by_load(self) -> ScoreHeap[Item] | None:
        """The one heap by load, where all weights are equal; else None."""
        return self.one if self._units is None else None

    def draw(
        self,
        random: Callable[[], float],
        cost: float = 1,
        exclude: Collection[Item] = (),
    ) -> Item:
        """Return a member that minimises (load + cost)/weight, each with the same chance.

        Args:
            random: Uniform over [0, 1), such as ``Random().random``.
            cost: What the member will be charged, finite and > 0.
            exclude: Members not to be drawn; strangers are ignored. Its order, where it has
                one, is a part of what decides later draws.

        Raises:
            LookupError: If there is nobody, or ``exclude`` leaves nobody.

        Runtime complexity: O(1) for equal weights, O(log n) for unequal ones, O(K + log n) for
        other costs over K distinct weights; all amortised, and O(len(exclude)) more.
        """
        if cost != 1 and self._units is not None:
            self._split()
        if not exclude:
            return self._drawn(random, cost)
        away = [i for i in dict.fromkeys(exclude) if i in self.weights and i not in self.aside]
        for item in away:
            self.set_aside(item)
        try:
            return self._drawn(random, cost)
        finally:
            for item in away:
                self.bring_back(item)

    def set_aside(self, item: Item) -> None:
        """Draw a member no more until it is brought back; KeyError if it cannot be drawn. O(1)."""
        self._heap_of(item).remove(item)
        self.aside.add(item)

    def bring_back(self, item: Item) -> None:
        """Draw a member again that was set aside. O(log n)."""
        self.aside.discard(item)
        self.fell(item)

    def fell(self, item: Item) -> None:
        """Take note that a member's load may have fallen; strangers are ignored. O(log n)."""
        if item not in self.weights or item in self.aside:
            return
        rank = self._rank(item)
        heap = self._heap_of(item)
        entry = heap.entries.get(item)
        if entry is None or rank < entry.score:
            heap.place(item, rank)

    def knows(self, items: Mapping[Item, float]) -> bool:
        """Whether ``exchange`` can take in these items at these weights."""
        if self._units is None and self.one is not None:
            return set(items.values()) <= set(islice(self.weights.values(), 1))
        return self._given.items() >= items.items()

    def exchange(self, gone: Iterable[Item], come: Mapping[Item, float]) -> None:
        """Let members go and others in, which it ``knows``; nobody else is filed anew.

        Runtime complexity: O(log n) each, and a copy of the weights.
        """
        weights = self.weights.copy()
        for item in gone:
            if item in self.aside:
                self.aside.discard(item)
            else:
                self._heap_of(item).remove(item)
            del weights[item]
        if self.one is not None:
            self.one = self.one.renewed()
        weights.update(come)
        self.weights = weights  # a copy of the heap may still read the old ones
        for item in come:
            rank = self._rank(item)  # may split the heap, which files everybody
            heap = self.one
            if heap is None:
                heap = self.classes.setdefault(weights[item], ScoreHeap())
            if item not in heap:
                heap.place(item, rank)

    def charge(self, item: Item, cost: float = 1) -> None:
        """Add ``cost`` to a load the heap keeps itself; KeyError for a stranger. O(1)."""
        self._loads[item] = _exact(self._loads[item] + _exact(cost))

    def settle(self, item: Item, cost: float = 1) -> None:
        """Take ``cost`` off a load the heap keeps itself; KeyError for a stranger. O(log n).

        Raises:
            ValueError: If that leaves less than nothing.
        """
        left = _exact(self._loads[item] - _exact(cost))
        if left < 0:
            raise ValueError(f"{item!r} has a load of {self.load(item)!r}, less than {cost!r}")
        self._loads[item] = left
        self.fell(item)

    def load(self, item: Item) -> float:
        """Return the load of a member. O(1)."""
        return float(self._load(item))

    def score(self, item: Item, cost: float = 1) -> float:
        """Return (load + cost)/weight of a member of positive weight. O(1)."""
        return (self.load(item) + cost) / self.weights[item]

    def copy(self) -> LoadHeap[Item]:
        """Return a heap that draws what this one would, by the same rng; loads shared. O(n)."""
        twin: LoadHeap[Item] = LoadHeap.__new__(LoadHeap)
        twin.weights, twin._units, twin._shift = self.weights, self._units, self._shift
        twin._given = self._given
        twin._load, twin._loads, twin.aside = self._load, self._loads, set(self.aside)
        twin.one = None if self.one is None else self.one.copy()
        twin.classes = {weight: heap.copy() for weight, heap in self.classes.items()}
        return twin

    def _drawn(self, random: Callable[[], float], cost: float) -> Item:
        while True:
            bucket = self._lowest(cost)
            entry = bucket[floor(random() * len(bucket))]
            units = self._units
            rank = self._rank(entry.item)
            if self._units is not units:  # split meanwhile: everybody is filed anew
                continue
            if rank == entry.score:
                return entry.item
            self._heap_of(entry.item).place(entry.item, rank)

    def _lowest(self, cost: float) -> list[ScoreEntry[Item]]:
        """Return the entries filed lowest for a request of this cost, ties of all classes."""
        if self.one is not None:
            return self.one.lowest()
        least, lightest = float("inf"), 1.0
        tied: list[list[ScoreEntry[Item]]] = []
        for weight, heap in self.classes.items():
            if not heap:
                continue
            bucket = heap.lowest()
            score = (bucket[0].score + cost) / weight
            more = score - least
            if tied and abs(more) <= 1e-15 * least < float("inf"):  # so near that rounding decides
                exact = (Fraction(bucket[0].score) + Fraction(cost)) / Fraction(weight)
                rival = (Fraction(tied[0][0].score) + Fraction(cost)) / Fraction(lightest)
                more = (exact > rival) - (exact < rival)
            if more < 0.0 or not tied:
                least, lightest, tied = score, weight, [bucket]
            elif more == 0.0 or score == least == float("inf"):
                tied.append(bucket)
        if not tied:
            raise LookupError("the heap holds no member")
        return tied[0] if len(tied) == 1 else [entry for bucket in tied for entry in bucket]

    def _rank(self, item: Item) -> float:
        """Return what the member is to be filed under now."""
        load = self._load(item)
        units = self._units
        if units is None:
            return load
        if not isinstance(load, int):  # other costs than 1 have come into play
            self._split()
            return load
        return ((load + 1) << self._shift) // units[item]

    def _heap_of(self, item: Item) -> ScoreHeap[Item]:
        return self.classes[self.weights[item]] if self.one is None else self.one

    def _split(self) -> None:
        """Go over to a heap for each distinct weight. O(n), once."""
        self.one = self._units = None
        found: dict[float, list[tuple[Item, float]]] = {}
        for item, weight in self.weights.items():
            filed = found.setdefault(weight, [])
            if item not in self.aside:
                filed.append((item, self._load(item)))
        self.classes = {weight: ScoreHeap(items) for weight, items in found.items()}

    def _file_all(self) -> None:
        weights = self.weights
        loads = [(item, self._load(item)) for item in weights]
        if len(set(weights.values())) <= 1:
            self.one = ScoreHeap(loads)
        elif not all(isinstance(load, int) for _, load in loads):
            self._split()
        else:
            units = self._units = dict(zip(weights, exact_integers(weights.values()), strict=True))
            shift = self._shift = 2 * max(units.values()).bit_length()
            self.one = ScoreHeap(
                (item, ((cast("int", load) + 1) << shift) // units[item]) for item, load in loads
            )

    def __len__(self) -> int:
        return len(self.weights)

    def __contains__(self, item: object) -> bool:
        return item in self.weights

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} members>"

    def _check(self) -> None:
        heaps = list(self.classes.values()) if self.one is None else [self.one]
        for heap in heaps:
            heap._check()
            for item, entry in heap.entries.items():
                assert entry.score <= self._rank(item)
        assert sum(map(len, heaps)) == len(self.weights) - len(self.aside)
        assert self.aside <= self.weights.keys()


def _exact(amount: float) -> float:
    """Return the number as an integer if it is one, else as a fraction: sums do not drift."""
    exact = Fraction(amount)
    whole = exact.numerator if exact.denominator == 1 else exact
    return cast("float", whole)
