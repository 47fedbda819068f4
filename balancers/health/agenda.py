"""A list of dates: one date an item, cheap to change, popped in order."""

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
    """A heap whose entries are not moved but outdated.

    Invariants (checked by ``_check``):

    1. ``_dates`` has the valid date of each item by its serial; a heap entry with another
       date is void.
    2. Every valid date is in the heap.
    3. The heap holds at most twice as many entries as there are items, and 64.
    """

    __slots__ = ("_dates", "_heap")

    def __init__(self) -> None:
        self._dates: dict[int, float] = {}
        self._heap: list[tuple[float, int, Item]] = []

    def put(self, item: Item, date: float) -> None:
        """Give the item this date instead of any other; ``math.inf`` takes it off. O(log n)."""
        if date == math.inf:
            self.drop(item)
            return
        if self._dates.get(item.serial) == date:
            return
        self._dates[item.serial] = date
        heappush(self._heap, (date, item.serial, item))
        if len(self._heap) > 2 * len(self._dates) + 64:
            dates = self._dates
            self._heap = [entry for entry in self._heap if dates.get(entry[1]) == entry[0]]
            # an item put back on an earlier date of its own is there twice
            self._heap = list({entry[1]: entry for entry in self._heap}.values())
            heapify(self._heap)

    def drop(self, item: Item) -> None:
        """Take the item off. O(1)."""
        self._dates.pop(item.serial, None)

    def date(self, item: Item) -> float:
        """The item's date, ``math.inf`` if it has none. O(1)."""
        return self._dates.get(item.serial, math.inf)

    def next(self) -> float:
        """The earliest date, ``math.inf`` if there is none. O(log n) amortised."""
        heap = self._heap
        while heap and self._dates.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else math.inf

    def pop(self) -> tuple[float, Item]:
        """Take off and return the earliest date and its item; there must be one. O(log n)."""
        self.next()
        date, serial, item = heappop(self._heap)
        del self._dates[serial]
        return date, item

    def __len__(self) -> int:
        return len(self._dates)

    def _check(self) -> None:
        present = {(date, serial) for date, serial, _ in self._heap}
        assert all((date, serial) in present for serial, date in self._dates.items())
        assert len(self._heap) <= 2 * len(self._dates) + 65
