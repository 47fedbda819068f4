"""A counter many threads may advance without a lock."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

__all__ = ["Ticker"]


class Ticker:
    """Counts 0, 1, 2, …; each number is handed out once, whatever the threads do.

    ``next`` is the C method of an ``itertools.count``, which is atomic under the
    interpreter's lock and, since CPython 3.14, on free-threaded builds (3.13's is not).
    """

    __slots__ = ("_count", "next")

    next: Callable[[], int]

    def __init__(self, start: int = 0) -> None:
        self._count = count(start)
        self.next = self._count.__next__

    def peek(self) -> int:
        """Return the number that comes next, without taking it.

        Its text is the only place an ``itertools.count`` shows its position without moving
        (copying it ends with CPython 3.14).
        """
        return int(repr(self._count)[len("count(") : -1])
