"""What the least conceivable work of each kind costs in Python: the denominators.

A ratio to a floor says how much a balancer adds to what nobody can avoid, and carries from
one machine to another far better than nanoseconds do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from mmh3 import mmh3_x64_128_uintdigest

__all__ = ["CycleFloor", "KeyFloor"]


class _Token:
    """An object with one slot, good for a ``with`` block."""

    __slots__ = ("owner",)

    def __init__(self, owner: CycleFloor) -> None:
        self.owner = owner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return None


class CycleFloor:
    """``floor cycle``: a method creates an object with one slot, a ``with`` block uses it.

    What ``with balancer.pick(): pass`` would cost if there were nothing to choose and
    nothing to account for.
    """

    def pick(self) -> _Token:
        """Return a fresh token."""
        return _Token(self)


class KeyFloor:
    """``floor key``: a method hashes a text key once and indexes a list once.

    What placing a key would cost if the hash were the answer. The key is encoded first:
    mmh3 is handed bytes here; the library hands it text too, where that is known to be ASCII.
    """

    def __init__(self, items: Sequence[str]) -> None:
        self._items = list(items)
        self._count = len(self._items)

    def owner(self, key: str) -> str:
        """Return the item at the key's hash, modulo their number."""
        return self._items[mmh3_x64_128_uintdigest(key.encode()) % self._count]
