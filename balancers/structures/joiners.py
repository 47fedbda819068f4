"""Newcomers, kept from being flooded.

A newcomer holds no requests, so whoever goes by load sends it everything until it is level with
the rest: with long requests that is many times its share at once, before it has shown that it can
bear them. Here it may take κ times its share, and a burst, like every endpoint under a
``ShareCap``; beyond that it is passed over until its bucket is full. It is a newcomer until, being
eligible, it is not chosen: then it is level.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar, cast

from balancers.structures.share_cap import Bucket, ShareCap

__all__ = ["Joiners"]

Item = TypeVar("Item", bound=Hashable)


class _Newcomer(Bucket, Generic[Item]):
    """A newcomer's bucket."""

    __slots__ = ("item",)

    item: Item


class Joiners(Generic[Item]):
    """The newcomers of a pool, each with its bucket.

    Args:
        cap: κ: how many times its share a newcomer may take, > 1.
        burst: Picks it may take beyond that, ≥ 1.

    Attributes:
        passed_over: The newcomers that are waiting for their bucket to fill, in order.
    """

    __slots__ = ("_buckets", "_cap", "_free", "_serial", "_total", "passed_over")

    def __init__(self, cap: float = 2.0, burst: float = 8.0) -> None:
        self._cap = ShareCap(cap, burst)
        self._buckets: dict[Item, _Newcomer[Item]] = {}
        self._free: dict[Item, None] = {}  # ordered, unlike a set, whatever the process
        self._serial = 0
        self.passed_over: dict[Item, None] = {}

    def change(self, joined: dict[Item, float], left: Iterable[Item], total: float) -> None:
        """Take note of newcomers with their weights, of leavers, and of the whole pool's weight."""
        for item in left:
            self._forget(item)
        for item, weight in joined.items():
            self._serial += 1
            bucket: _Newcomer[Item] = _Newcomer(self._serial, self._cap.burst)
            bucket.item = item
            bucket.weight = weight
            bucket.mark = self._cap.credit
            self._buckets[item] = bucket
            self._free[item] = None
        self._cap.rate = self._cap.cap / total if total > 0.0 else 0.0

    def chosen(self, item: Item, anybody: bool = True) -> bool:
        """Note a pick of any member; return whether that member is to be passed over from now on.

        Args:
            item: Who was picked.
            anybody: Whether it might have been anybody, so that newcomers who were not picked
                are level with the one who was.

        Runtime complexity: O(log n); whoever is found to be level is forgotten, once.
        """
        bucket = self._buckets.get(item)
        if bucket is not None:
            if not self._cap.spend(bucket):
                return False
            self._free.pop(item, None)
            self.passed_over[item] = None
            return True
        self._cap.credit += self._cap.rate
        if anybody:
            for level in self._free:
                del self._buckets[level]
            self._free.clear()
        return False

    def back(self) -> list[Item]:
        """Return those whose bucket is full again, eligible from now on. O(log n) each."""
        if self._cap.credit < self._cap.due:
            return []
        found = []
        for bucket in self._cap.refilled():
            item = cast("_Newcomer[Item]", bucket).item
            if self._buckets.get(item) is bucket:
                self.passed_over.pop(item, None)
                self._free[item] = None
                found.append(item)
        return found

    def _forget(self, item: Item) -> None:
        bucket = self._buckets.pop(item, None)
        if bucket is not None:
            bucket.barred = False  # the bucket that comes back full is nobody's
        self._free.pop(item, None)
        self.passed_over.pop(item, None)

    def __len__(self) -> int:
        return len(self._buckets)

    def __contains__(self, item: object) -> bool:
        return item in self._buckets

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}, {len(self.passed_over)} passed over>"

    def _check(self) -> None:
        assert self._free.keys().isdisjoint(self.passed_over)
        assert self._free.keys() | self.passed_over.keys() == self._buckets.keys()
        assert all(self._buckets[item].barred for item in self.passed_over)
