"""A list of dates: one date an item, changed and popped in order."""

from __future__ import annotations

import math
from typing import Generic, Protocol, TypeVar

from sortedcontainers import SortedDict

__all__ = ["Agenda"]


class _Numbered(Protocol):
    @property
    def serial(self) -> int:
        """Unique, and the order of items due at the same moment."""
        ...


Item = TypeVar("Item", bound=_Numbered)


class Agenda(Generic[Item]):
    """Items in the order of their dates.

    Invariants (checked by ``_check``):

    1. ``_dates`` has the date of each item by its serial, ``_order`` each item by its date and
       serial; both hold the same items.
    """

    __slots__ = ("_dates", "_order")

    def __init__(self) -> None:
        self._dates: dict[int, float] = {}
        self._order: SortedDict[tuple[float, int], Item] = SortedDict()

    def put(self, item: Item, date: float) -> None:
        """Give the item this date instead of any other; ``math.inf`` takes it off. O(log n)."""
        if self._dates.get(item.serial) == date:
            return
        self.drop(item)
        if date != math.inf:
            self._dates[item.serial] = date
            self._order[date, item.serial] = item

    def drop(self, item: Item) -> None:
        """Take the item off, if it is on. O(log n)."""
        date = self._dates.pop(item.serial, None)
        if date is not None:
            del self._order[date, item.serial]

    def date(self, item: Item) -> float:
        """The item's date, ``math.inf`` if it has none. O(1)."""
        return self._dates.get(item.serial, math.inf)

    def next(self) -> float:
        """The earliest date, ``math.inf`` if there is none. O(1)."""
        if not self._order:
            return math.inf
        (date, _), _item = self._order.peekitem(0)
        return date

    def pop(self) -> tuple[float, Item]:
        """Take off and return the earliest date and its item; there must be one. O(log n)."""
        (date, serial), item = self._order.popitem(0)
        del self._dates[serial]
        return date, item

    def __len__(self) -> int:
        return len(self._dates)

    def _check(self) -> None:
        assert sorted((date, serial) for serial, date in self._dates.items()) == list(self._order)
        assert all(item.serial == serial for (_, serial), item in self._order.items())
