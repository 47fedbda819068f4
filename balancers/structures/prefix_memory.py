"""Which beginnings were seen lately, in bounded room: what a cache of prefixes probably holds.

Digests live in two generations of plain dictionaries. New and used ones enter the young one; when
it is half of the capacity, it becomes the old one, and what the old one held is forgotten. So a
digest is kept for at least half of the capacity of others, and none is ever searched for to be
thrown out. Every step is one operation on a dictionary, so threads need no lock: where two meet,
a few digests may be forgotten early.

It approximates the order of last use, as segmented and generational caches do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

__all__ = ["PrefixMemory"]

Value = TypeVar("Value")


class PrefixMemory(Generic[Value]):
    """Digests of beginnings, at most ``capacity`` of them, each with a value.

    Args:
        capacity: ≥ 2.

    Attributes:
        capacity: May be changed; the next ``note`` goes by it.

    Invariants:
        1. Neither generation has more than capacity / 2 + the digests of one ``note``.
        2. A digest in both has its value in the young one.
    """

    __slots__ = ("_old", "_young", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity: int = capacity
        self._young: dict[bytes, Value] = {}
        self._old: dict[bytes, Value] = {}

    def __len__(self) -> int:
        return len(self._young) + sum(digest not in self._young for digest in list(self._old))

    def depth(self, digests: Sequence[bytes]) -> int:
        """Return how many leading digests are known. O(known)."""
        young, old = self._young, self._old
        for count, digest in enumerate(digests):
            if digest not in young and digest not in old:
                return count
        return len(digests)

    def deepest(self, digests: Sequence[bytes]) -> Value | None:
        """Return the value of the last of the leading digests that are known. O(known)."""
        known = self.depth(digests)
        if not known:
            return None
        digest = digests[known - 1]
        found = self._young.get(digest)
        return self._old.get(digest) if found is None else found

    def note(self, digests: Sequence[bytes], value: Value) -> None:
        """Remember the digests of one prompt, shortest first, as the ones last used. O(digests).

        Longer beginnings are written first, so that they are never forgotten after shorter ones.
        """
        young = self._young
        for digest in reversed(digests):
            young[digest] = value
        if len(young) * 2 >= self.capacity and self._young is young:
            self._old = young
            self._young = {}

    def forget(self, digests: Iterable[bytes]) -> None:
        """Remember these no more; those not known do not matter. O(digests)."""
        young, old = self._young, self._old
        for digest in digests:
            young.pop(digest, None)
            old.pop(digest, None)
