"""The largest of many numbers that each rise at their own constant rate.

A plain heap cannot hold them, because their order changes with time. Here every number lives in
the class of its rate's bit length, and its heap key is a ceiling: the value it had when last
looked at, rising since then at the class's top rate 2**bits. All ceilings of one class rise
together, so their order is free of time. The true maximum is found by looking again at whoever
has the highest ceiling until that one has just been looked at.

A rate is at least half its class's top rate, so a ceiling drifts from its value no faster than the
value itself rises, and an entry far from the top is seldom looked at: O(log n) looks a call
where values are spread out (no worst-case bound is claimed), each O(log n), plus O(1) for each
class in use (as many as the powers of two between the least and the largest rate, at most).
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace

__all__ = ["RisingMax"]


class RisingMax:
    """Lines ``offset + rate * now`` by index; :meth:`pop` takes out the highest at ``now``.

    Invariants:
        1. ``_classes[b]`` holds the indices whose rate has ``b`` bits, and is never empty.
        2. An entry is ``(key, index, seen)``: ``(now << b) - key`` is at least the value at every
           ``now >= seen``, and equals it at ``seen``.
    """

    __slots__ = ("_classes", "_lines")

    def __init__(self) -> None:
        self._lines: dict[int, tuple[int, int]] = {}
        self._classes: dict[int, list[tuple[int, int, int]]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def push(self, index: int, offset: int, rate: int, now: int) -> None:
        """Add a line that is not in yet.

        Args:
            index: >= 0, names the line.
            offset: Value at time 0.
            rate: > 0.
            now: Not before the ``now`` of any earlier call.

        Runtime complexity: O(log n).
        """
        self._lines[index] = (offset, rate)
        bits = rate.bit_length()
        entry = ((now << bits) - offset - rate * now, index, now)
        heappush(self._classes.setdefault(bits, []), entry)

    def pop(self, now: int) -> int:
        """Remove the line that is highest at ``now`` and return its index; ties: the least index.

        Args:
            now: Not before the ``now`` of any earlier call.

        Raises:
            IndexError: Nothing is in.

        Runtime complexity: see the module.
        """
        best: tuple[int, int] | None = None  # (-value, index): the least tuple wins
        best_bits = 0
        for bits, heap in self._classes.items():
            lift = now << bits
            while True:
                key, index, seen = heap[0]
                if best is not None and (key - lift, index) > best:
                    break  # not even the ceiling reaches the best so far
                if seen == now:
                    # Stale entries rank behind by their ceilings; a ceiling lies above the value
                    # as soon as time has passed, so none of them ties with this one.
                    best = (key - lift, index)
                    best_bits = bits
                    break
                offset, rate = self._lines[index]
                heapreplace(heap, (lift - offset - rate * now, index, now))
        if best is None:
            raise IndexError("pop from an empty RisingMax")
        heap = self._classes[best_bits]
        index = heappop(heap)[1]
        if not heap:
            del self._classes[best_bits]
        del self._lines[index]
        return index

    def __iter__(self) -> Iterator[int]:
        """Iterate over the indices that are in, in no useful order."""
        return iter(self._lines)

    def copy(self) -> RisingMax:
        """Return an independent copy. O(n)."""
        twin = RisingMax()
        twin._lines = dict(self._lines)
        twin._classes = {bits: heap[:] for bits, heap in self._classes.items()}
        return twin

    def _check(self) -> None:
        """Assert the invariants."""
        entries = [(bits, entry) for bits, heap in self._classes.items() for entry in heap]
        assert all(self._classes.values())
        assert sorted(entry[1] for _, entry in entries) == sorted(self._lines)
        for bits, (key, index, seen) in entries:
            offset, rate = self._lines[index]
            assert rate.bit_length() == bits
            assert (seen << bits) - key == offset + rate * seen
