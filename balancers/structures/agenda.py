"""A list of dates: one date an item, changed and popped in order."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

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

    1. ``_dates`` has the date of each item by its serial, ``_items`` the item.
    2. ``_heap`` holds each item's date and serial; what else it holds is stale, namely
       dates that items have no more. Less than half of it is stale, 64 entries aside.
    """

    __slots__ = ("_dates", "_heap", "_items")

    def __init__(self) -> None:
        self._dates: dict[int, float] = {}
        self._items: dict[int, Item] = {}
        self._heap: list[tuple[float, int]] = []

    def put(self, item: Item, date: float) -> None:
        """Give the item this date instead of any other; ``math.inf`` takes it off.

        Runtime complexity: O(log n), amortised.
        """
        serial = item.serial
        if self._dates.get(serial) == date:
            return
        if date == math.inf:
            self.drop(item)
            return
        self._dates[serial] = date
        self._items[serial] = item
        heappush(self._heap, (date, serial))
        self._tidy()

    def drop(self, item: Item) -> None:
        """Take the item off, if it is on. O(1), amortised."""
        if self._dates.pop(item.serial, None) is not None:
            del self._items[item.serial]
            self._tidy()

    def date(self, item: Item) -> float:
        """The item's date, ``math.inf`` if it has none. O(1)."""
        return self._dates.get(item.serial, math.inf)

    def next(self) -> float:
        """The earliest date, ``math.inf`` if there is none. O(1), amortised O(log n)."""
        heap, dates = self._heap, self._dates
        while heap:
            date, serial = heap[0]
            if dates.get(serial) == date:
                return date
            heappop(heap)
        return math.inf

    def pop(self) -> tuple[float, Item]:
        """Take off and return the earliest date and its item; there must be one. O(log n)."""
        self.next()
        date, serial = heappop(self._heap)
        del self._dates[serial]
        return date, self._items.pop(serial)

    def __len__(self) -> int:
        return len(self._dates)

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._dates) + 64:
            self._heap = [(date, serial) for serial, date in self._dates.items()]
            heapify(self._heap)

    def _check(self) -> None:
        assert self._dates.keys() == self._items.keys()
        assert {(date, serial) for serial, date in self._dates.items()} <= set(self._heap)
        assert len(self._heap) <= 2 * len(self._dates) + 64
        assert all(item.serial == serial for serial, item in self._items.items())
