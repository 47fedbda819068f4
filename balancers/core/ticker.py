"""A counter many threads may advance without a lock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

__all__ = ["Ticker", "position"]


class Ticker:
    """Counts 0, 1, 2, …; each number is handed out once, whatever the threads do.

    Attributes:
        count: The ``itertools.count`` itself. ``next(ticker.count)`` is the quickest way to
            take a number; it is atomic under the interpreter's lock and, since CPython 3.14,
            on free-threaded builds (3.13's is not).
        next: Takes a number: ``count``'s own C method.
    """

    __slots__ = ("count", "next")

    next: Callable[[], int]

    def __init__(self, start: int = 0) -> None:
        self.count: count[int] = count(start)
        self.next = self.count.__next__

    def peek(self) -> int:
        """Return the number that comes next, without taking it."""
        return position(self.count)


def position(counter: count[int]) -> int:
    """Return the number that ``next(counter)`` would, without taking it.

    Its text is the only place an ``itertools.count`` shows its position without moving (copying
    it ends with CPython 3.14).
    """
    return int(repr(counter)[len("count(") : -1])
