"""Items by score, with a fair draw among those of the lowest score.

A binary heap keeps one item at its root, so that among equals the same one comes first again and
again; tie keys drawn when an item is pushed only choose *which* one. Here equal scores share a
bucket, the distinct scores are a heap, and a draw is uniform over the lowest bucket at the moment
it is made.

Invariants (``_check``):

1. ``buckets[s]`` holds the entries of score s, ``entry.position`` being its index there.
2. ``scores`` is a heap of exactly the keys of ``buckets``, each once. Empty buckets may stay until
   they come to the root; they are swept out when a new one is made and they outnumber the items
   by ``_SLACK``.
3. ``entries[item]`` is the one entry of the item.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import floor, inf
from typing import Generic, TypeVar

__all__ = ["ScoreEntry", "ScoreHeap"]

Item = TypeVar("Item", bound=Hashable)

_SLACK = 64


class ScoreEntry(Generic[Item]):
    """Where an item is filed.

    Attributes:
        item: The item.
        score: The score it is filed under.
        position: Its index in the bucket of that score.
    """

    __slots__ = ("item", "position", "score")

    def __init__(self, item: Item, score: float, position: int) -> None:
        self.item: Item = item
        self.score: float = score
        self.position: int = position


class ScoreHeap(Generic[Item]):
    """A set of items with scores; the lowest are drawn uniformly.

    Args:
        items: The items with their scores, which are numbers other than NaN; exact where they
            are integers. An item given twice keeps the last score.
    """

    __slots__ = ("buckets", "entries", "scores")

    def __init__(self, items: Iterable[tuple[Item, float]] = ()) -> None:
        self.entries: dict[Item, ScoreEntry[Item]] = {}
        self.buckets: dict[float, list[ScoreEntry[Item]]] = {}
        for item, score in dict(items).items():
            bucket = self.buckets.get(score)
            if bucket is None:
                bucket = self.buckets[score] = []
            entry = self.entries[item] = ScoreEntry(item, score, len(bucket))
            bucket.append(entry)
        self.scores: list[float] = list(self.buckets)
        heapify(self.scores)

    def lowest(self) -> list[ScoreEntry[Item]]:
        """Return the bucket of the lowest score, to be read, not changed.

        Raises:
            LookupError: If there is no item.

        Runtime complexity: O(1), plus O(log n) for each bucket emptied since.
        """
        scores = self.scores
        buckets = self.buckets
        while scores:
            bucket = buckets[scores[0]]
            if bucket:
                return bucket
            del buckets[heappop(scores)]
        raise LookupError("the heap holds no item")

    def draw(self, random: Callable[[], float]) -> Item:
        """Return an item of the lowest score, each with the same chance.

        Args:
            random: Uniform over [0, 1), such as ``Random().random``.

        Raises:
            LookupError: If there is no item.
        """
        bucket = self.lowest()
        return bucket[floor(random() * len(bucket))].item

    def place(self, item: Item, score: float) -> None:
        """File an item, new or moved, under a score.

        Runtime complexity: O(1) into a bucket that is there, else O(log n); amortised.
        """
        entry = self.entries.get(item)
        if entry is None:
            entry = self.entries[item] = ScoreEntry(item, score, 0)
        elif entry.score == score:
            return
        else:
            self._take_out(entry)
        bucket = self.buckets.get(score)
        if bucket is None:
            bucket = self._new_bucket(score)
        entry.score = score
        entry.position = len(bucket)
        bucket.append(entry)

    def remove(self, item: Item) -> float:
        """Take an item out and return its score.

        The entry, should somebody hold it, then stands at infinity.

        Raises:
            KeyError: If it is not there.

        Runtime complexity: O(1).
        """
        entry = self.entries.pop(item)
        self._take_out(entry)
        score = entry.score
        entry.score = inf  # whoever still holds the entry must not trust it
        return score

    def score(self, item: Item) -> float:
        """Return the score the item is filed under; KeyError if it is not there. O(1)."""
        return self.entries[item].score

    def renewed(self) -> ScoreHeap[Item]:
        """Return what this heap holds as another object, to be used instead of it. O(1)."""
        twin: ScoreHeap[Item] = ScoreHeap.__new__(ScoreHeap)
        twin.entries, twin.buckets, twin.scores = self.entries, self.buckets, self.scores
        return twin

    def copy(self) -> ScoreHeap[Item]:
        """Return a heap that will draw what this one would, by the same rng. O(n)."""
        twin: ScoreHeap[Item] = ScoreHeap()
        twin.scores = self.scores.copy()
        for score, bucket in self.buckets.items():
            copied = twin.buckets[score] = [ScoreEntry(e.item, score, e.position) for e in bucket]
            twin.entries.update((entry.item, entry) for entry in copied)
        return twin

    def _take_out(self, entry: ScoreEntry[Item]) -> None:
        # The last of the bucket takes the place: draws are uniform, so order means nothing.
        bucket = self.buckets[entry.score]
        last = bucket.pop()
        if last is not entry:
            bucket[entry.position] = last
            last.position = entry.position

    def _new_bucket(self, score: float) -> list[ScoreEntry[Item]]:
        if len(self.scores) > len(self.entries) + _SLACK:  # mostly empty: amortised O(1)
            self.buckets = {s: bucket for s, bucket in self.buckets.items() if bucket}
            self.scores = list(self.buckets)
            heapify(self.scores)
        bucket: list[ScoreEntry[Item]] = []
        self.buckets[score] = bucket
        heappush(self.scores, score)
        return bucket

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, item: object) -> bool:
        return item in self.entries

    def __iter__(self) -> Iterator[Item]:
        return iter(self.entries)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} items>"

    def _check(self) -> None:
        assert sorted(self.scores) == sorted(self.buckets)
        assert all(self.scores[(i - 1) // 2] <= self.scores[i] for i in range(1, len(self.scores)))
        assert sum(map(len, self.buckets.values())) == len(self.entries)
        for item, entry in self.entries.items():
            assert entry.item == item
            assert self.buckets[entry.score][entry.position] is entry
