"""A sum over the last few seconds, in slices of time."""

from __future__ import annotations

__all__ = ["SlidingSum"]


class SlidingSum:
    """The sum of what was added within a span of time, forgotten a slice at a time.

    Time is cut into slices of span / slices seconds, at whole multiples of that; the sum is over
    the slice that runs and the slices − 1 before it, so over the last span · (1 − 1/slices) to
    span seconds.

    Args:
        span: Seconds, > 0.
        slices: ≥ 1.

    The caller gives the time, in seconds; one that goes backwards counts as the latest.

    Invariants (checked by ``_check``):

    1. ``_total`` is the sum of ``_slices``; integers stay exact.
    2. ``_slices[i mod slices]`` holds slice i for the last ``slices`` values of i up to
       ``_head``.
    """

    __slots__ = ("_head", "_slices", "_total", "_width")

    def __init__(self, span: float, slices: int) -> None:
        self._width = span / slices
        self._slices = [0] * slices
        self._head = 0
        self._total = 0

    def add(self, now: float, amount: int = 1) -> None:
        """Add an amount at a time. O(1) amortised."""
        self._advance(now)
        self._slices[self._head % len(self._slices)] += amount
        self._total += amount

    def sum(self, now: float) -> int:
        """Return the sum over the span that ends at a time. O(1) amortised."""
        self._advance(now)
        return self._total

    def _advance(self, now: float) -> None:
        head = int(now // self._width)
        passed = head - self._head
        if passed <= 0:
            return
        slices = self._slices
        if passed >= len(slices):
            self._slices = [0] * len(slices)
            self._total = 0
        else:
            for index in range(self._head + 1, head + 1):
                self._total -= slices[index % len(slices)]
                slices[index % len(slices)] = 0
        self._head = head

    def _check(self) -> None:
        assert self._total == sum(self._slices)
