"""A cap on shares: no member takes more than κ times its fair part, a burst aside.

Every member has a bucket of at most ``burst`` tokens. Each pick, whoever gets it, adds κ·p to the
bucket of a member whose fair share is p, and costs the one who got it 1. A bucket that has run
empty is barred until it is full again.

Over any window of t picks in which shares stay as they are, a member that is picked only while
its bucket is not barred gets at most κ·p·t + burst + 1: each pick but the last was paid with a
token that was in the bucket when the window began (at most ``burst``) or came during it. While
p ≥ 1/κ the bucket never empties, and nothing is barred.

Waiting for a full bucket, rather than for one token, costs nothing of the bound and keeps a
member's turns together: somebody who sees little of the traffic learns most from requests that
follow each other closely, and a trickle of single ones would teach nothing.

Buckets are filled lazily, by a common credit: every operation is O(1), or O(log n) where a bucket
runs empty or is full again and weights are not all equal. Where they are, buckets are taken to be
full in the order in which they ran empty: one that had a fraction of a token more left waits for
its turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

__all__ = ["Bucket", "ShareCap", "checked_cap"]


class Bucket:
    """The tokens of one member, up to date as of ``mark``.

    Attributes:
        serial: Orders buckets, where nothing else does.
        weight: What its fair share is in proportion to, > 0.
        tokens: Tokens when the common credit stood at ``mark``.
        barred: Whether it waits to be full again.
        counted: Whether it is among those that the fair shares are shares of.
    """

    __slots__ = ("barred", "counted", "mark", "serial", "tokens", "weight")

    def __init__(self, serial: int, tokens: float) -> None:
        self.serial: int = serial
        self.weight: float = 1.0
        self.tokens: float = tokens
        self.mark: float = 0.0
        self.barred: bool = False
        self.counted: bool = True

    def __lt__(self, other: Bucket) -> bool:
        return self.serial < other.serial


class ShareCap:
    """The common credit of a set of buckets.

    Args:
        cap: κ, finite and > 1.
        burst: Tokens a bucket holds, ≥ 1.

    Attributes:
        credit: Sum of κ/W over all picks, W being the weight of the counted members at each:
            a bucket has gained weight × credit tokens.
        rate: What each pick adds to the credit: κ/W.
        total: W.
        due: The credit at which the next barred bucket is full; infinity if there is none.
    """

    __slots__ = ("_equal", "_heap", "_queue", "burst", "cap", "credit", "due", "rate", "total")

    def __init__(self, cap: float, burst: float) -> None:
        self.cap: float = cap
        self.burst: float = burst
        self.credit: float = 0.0
        self.due: float = math.inf
        self.rate: float = 0.0
        self.total: float = 0.0
        # Those barred, with the credit at which each is full: a heap, or first come first served.
        self._heap: list[tuple[float, Bucket]] = []
        self._queue: deque[tuple[float, Bucket]] = deque()
        self._equal = False

    def share_among(self, buckets: Sequence[Bucket]) -> None:
        """Take W anew: the weight of those of the buckets that count, or of all if none. O(n)."""
        total = math.fsum([bucket.weight for bucket in buckets if bucket.counted])
        total = total or math.fsum([bucket.weight for bucket in buckets])
        equal = len({bucket.weight for bucket in buckets}) <= 1
        if equal is not self._equal:  # whoever waits goes on waiting, in the other order
            waiting = sorted((*self._heap, *self._queue))
            self._heap = [] if equal else waiting
            self._queue = deque(waiting if equal else ())
            self._equal = equal
        self.total = total
        self.rate = self.cap / total if total else 0.0

    def tokens(self, bucket: Bucket) -> float:
        """Return what is in the bucket now. O(1)."""
        gained = bucket.tokens + bucket.weight * (self.credit - bucket.mark)
        return min(gained, self.burst)

    def spend(self, bucket: Bucket) -> bool:
        """Charge a pick to a bucket; return whether that bars it. O(1), or O(log n) if so."""
        self.credit = credit = self.credit + self.rate
        tokens = bucket.tokens + bucket.weight * (credit - bucket.mark)
        if tokens > self.burst:
            tokens = self.burst
        bucket.tokens = tokens = tokens - 1.0
        bucket.mark = credit
        if tokens > 0.0 or bucket.barred:
            return False
        self.bar(bucket)
        return True

    def bar(self, bucket: Bucket) -> None:
        """Bar a bucket until it is full; its tokens are up to date. O(log n)."""
        bucket.barred = True
        due = self.credit + (self.burst - bucket.tokens) / bucket.weight
        if self._equal:
            self._queue.append((due, bucket))
            self.due = self._queue[0][0]
        else:
            heappush(self._heap, (due, bucket))
            self.due = self._heap[0][0]

    def pop_full(self) -> Bucket:
        """Return the bucket that is ``due`` first, to be barred no more. O(log n)."""
        waiting: Sequence[tuple[float, Bucket]]
        if self._equal:
            waiting = self._queue
            bucket = self._queue.popleft()[1]
        else:
            waiting = self._heap
            bucket = heappop(self._heap)[1]
        self.due = waiting[0][0] if waiting else math.inf
        return bucket

    def refilled(self) -> list[Bucket]:
        """Return the buckets that are full again, no longer barred. O(log n) each."""
        found = []
        while self.due <= self.credit:
            bucket = self.pop_full()
            if bucket.barred:
                bucket.barred = False
                found.append(bucket)
        return found

    def take_over(self, other: ShareCap, copies: Mapping[Any, Bucket]) -> None:
        """Become a copy of another one, over copies of its buckets. O(n)."""
        self.credit = other.credit
        self.rate, self.total = other.rate, other.total
        self._equal = other._equal
        self._heap = [(due, copies[b]) for due, b in other._heap if b in copies]
        self._queue = deque((due, copies[b]) for due, b in other._queue if b in copies)
        heapify(self._heap)
        waiting = self._queue or self._heap
        self.due = waiting[0][0] if waiting else math.inf


def checked_cap(cap: float) -> float:
    """Return κ as a float, or raise for what is none."""
    if isinstance(cap, bool) or not isinstance(cap, int | float):
        raise TypeError(f"share_cap is a number, not {cap!r}")
    if not 1.0 < cap < math.inf:
        raise ValueError(f"share_cap must be finite and > 1, not {cap!r}")
    return float(cap)
