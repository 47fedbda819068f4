"""The endpoints that have answered, the one with the least score first.

Invariants (``_check``):

1. ``gauge.entry`` is the one live entry of a gauge in ``heap``, None if it has none; other entries
   are left over from before, and no more than ``_SLACK`` beyond the number of endpoints.
2. A live entry is filed at most as high as the gauge's true score, unless a load fell and
   ``refile`` was not called. As in ``LoadHeap`` a score that has risen is noticed when its turn
   comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

from balancers.structures.gauge import Gauge
from balancers.structures.ties import one_of

__all__ = ["Remembered"]

Item = TypeVar("Item")

_SLACK = 64


class Remembered(Generic[Item]):
    """A heap of gauges by score, ``gauge.score`` and the logarithm of load + 1.

    Args:
        log_load: Returns the logarithm of a gauge's load and 1 more, or what stands for it.

    Attributes:
        heap: The entries: (score, gauge); one list for ever.
    """

    __slots__ = ("_log_load", "heap")

    def __init__(self, log_load: Callable[[Gauge[Item]], float]) -> None:
        self.heap: list[tuple[float, Gauge[Item]]] = []
        self._log_load = log_load

    def file(self, gauge: Gauge[Item]) -> None:
        """File a gauge under its true score; an entry it has is left behind. O(log n)."""
        gauge.entry = entry = gauge.score + self._log_load(gauge), gauge
        heappush(self.heap, entry)

    def refile(self, gauge: Gauge[Item]) -> None:
        """File a gauge anew if its score has fallen, or if it is not filed. O(log n)."""
        if gauge.entry is None or gauge.score + self._log_load(gauge) < gauge.entry[0]:
            self.file(gauge)

    def least(self, random: Callable[[], float], exclude: Collection[Item]) -> Gauge[Item] | None:
        """Return one of the least score outside ``exclude``, ties by chance; None if none is left.

        Runtime complexity: O(log n) amortised, O(len(exclude) log n) more, and O(T) where T
        share the least score exactly.
        """
        heap = self.heap
        aside: list[Gauge[Item]] = []
        found = None
        while heap:
            entry = heap[0]
            gauge = entry[1]
            if gauge.entry is not entry:
                heappop(heap)
            elif exclude and gauge.item in exclude:
                heappop(heap)
                gauge.entry = None
                aside.append(gauge)
            elif (score := gauge.score + self._log_load(gauge)) > entry[0]:
                gauge.entry = entry = score, gauge
                heapreplace(heap, entry)
            else:
                tied = any(child[0] == entry[0] for child in heap[1:3])
                found = self._one_of_tied(random, exclude) if tied else gauge
                break
        for gauge in aside:
            self.file(gauge)
        return found

    def _one_of_tied(self, random: Callable[[], float], exclude: Collection[Item]) -> Gauge[Item]:
        """Return one of those filed under the least score, the first of which is."""
        heap = self.heap
        score = heap[0][0]
        found = []
        places = [0]
        while places:  # equal keys are a subtree at the root
            place = places.pop()
            if place < len(heap) and heap[place][0] == score:
                gauge = heap[place][1]
                mine = gauge.entry is heap[place] and gauge.item not in exclude
                if mine and gauge.score + self._log_load(gauge) <= score:
                    found.append(gauge)
                places += (2 * place + 1, 2 * place + 2)
        found.sort()  # the heap's order tells of the past
        return one_of(found, random)

    def tidy(self, members: int) -> None:
        """Drop what is left over if it is more than lives; O(n), amortised O(1)."""
        if len(self.heap) > 2 * members + _SLACK:
            self.heap[:] = [entry for entry in self.heap if entry[1].entry is entry]
            heapify(self.heap)

    def copy_to(self, twin: Remembered[Item], copies: dict[Gauge[Item], Gauge[Item]]) -> None:
        """File the copies of these gauges in another heap as they are filed here. O(n)."""
        for entry in self.heap:
            score, gauge = entry
            if gauge.entry is entry:
                copies[gauge].entry = copied = score, copies[gauge]
                twin.heap.append(copied)
        heapify(twin.heap)

    def _check(self, gauges: Collection[Gauge[Item]]) -> None:
        live = [entry[1] for entry in self.heap if entry[1].entry is entry]
        assert sorted(live) == sorted(gauge for gauge in gauges if gauge.entry is not None)
        assert len(self.heap) <= 2 * len(gauges) + _SLACK + 1
        for gauge in live:
            assert gauge.known
            assert not gauge.barred
            assert not gauge.held
            assert gauge.entry is not None
            assert gauge.entry[0] <= gauge.score + self._log_load(gauge) + 1e-9
