"""How far it is, on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

__all__ = ["ProgressLine"]

_EVERY = 0.2  # seconds between two drawings on a terminal
_EVERY_LINE = 2.0  # and between two lines in a file


class ProgressLine:
    """One line, drawn over itself on a terminal, or written anew where it is no terminal.

    Args:
        out: Where to.
        timer: A real clock, seconds.
        overwrite: Whether ``out`` is a terminal.
    """

    def __init__(self, out: TextIO, timer: Callable[[], float], *, overwrite: bool) -> None:
        self._out = out
        self._timer = timer
        self._overwrite = overwrite
        self._last = timer()
        self._width = 0

    def show(self, text: str, *, now: bool = False) -> None:
        """Show ``text``, unless something was shown a moment ago.

        Args:
            text: One line.
            now: Show it in any case.
        """
        time = self._timer()
        if not now and time - self._last < (_EVERY if self._overwrite else _EVERY_LINE):
            return
        self._last = time
        if self._overwrite:
            self._out.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._out.write(text + "\n")
        self._out.flush()

    def clear(self) -> None:
        """Leave no trace on a terminal."""
        if self._overwrite and self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()
            self._width = 0
