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
runs empty or is full again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
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
        due: The credit at which the next barred bucket is full; infinity if there is none.
    """

    __slots__ = ("_waiting", "burst", "cap", "credit", "due", "rate")

    def __init__(self, cap: float, burst: float) -> None:
        self.cap: float = cap
        self.burst: float = burst
        self.credit: float = 0.0
        self.due: float = math.inf
        self.rate: float = 0.0
        self._waiting: list[tuple[float, Bucket]] = []

    def share_among(self, buckets: Sequence[Bucket]) -> None:
        """Take W anew: the weight of those of the buckets that count, or of all if none. O(n)."""
        total = math.fsum([bucket.weight for bucket in buckets if bucket.counted])
        total = total or math.fsum([bucket.weight for bucket in buckets])
        self.rate = self.cap / total if total else 0.0

    def tokens(self, bucket: Bucket) -> float:
        """Return what is in the bucket now. O(1)."""
        gained = bucket.tokens + bucket.weight * (self.credit - bucket.mark)
        return min(gained, self.burst)

    def spend(self, bucket: Bucket) -> bool:
        """Charge a pick to a bucket; return whether that bars it. O(1), or O(log n) if so."""
        self.credit = credit = self.credit + self.rate
        tokens = bucket.tokens + bucket.weight * (credit - bucket.mark)
        bucket.tokens = tokens = min(tokens, self.burst) - 1.0
        bucket.mark = credit
        if tokens > 0.0 or bucket.barred:
            return False
        self.bar(bucket)
        return True

    def bar(self, bucket: Bucket) -> None:
        """Bar a bucket until it is full; its tokens are up to date. O(log n)."""
        bucket.barred = True
        due = self.credit + (self.burst - bucket.tokens) / bucket.weight
        heappush(self._waiting, (due, bucket))
        self.due = self._waiting[0][0]

    def refilled(self) -> list[Bucket]:
        """Return the buckets that are full again, no longer barred. O(log n) each."""
        waiting = self._waiting
        found = []
        while waiting and waiting[0][0] <= self.credit:
            bucket = heappop(waiting)[1]
            if bucket.barred:
                bucket.barred = False
                found.append(bucket)
        self.due = waiting[0][0] if waiting else math.inf
        return found

    def take_over(self, other: ShareCap, copies: Mapping[Any, Bucket]) -> None:
        """Become a copy of another one, over copies of its buckets. O(n)."""
        self.credit, self.rate, self.due = other.credit, other.rate, other.due
        self._waiting = [(due, copies[b]) for due, b in other._waiting if b in copies]


def checked_cap(cap: float) -> float:
    """Return κ as a float, or raise for what is none."""
    if isinstance(cap, bool) or not isinstance(cap, int | float):
        raise TypeError(f"share_cap is a number, not {cap!r}")
    if not 1.0 < cap < math.inf:
        raise ValueError(f"share_cap must be finite and > 1, not {cap!r}")
    return float(cap)
