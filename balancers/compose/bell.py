"""``Bell``: tells those who wait, again where need be, but never within itself.

Whoever is told that there is room may take it and give it back, which is news again. Told at
once, it would be told by itself, deeper and deeper.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

__all__ = ["Bell"]


class Bell:
    """Runs what is to be told; several threads may, each on its own account.

    Invariants:
        1. ``_ringing`` has the threads inside ``ring``, and whether they have cause to go on.
    """

    __slots__ = ("_ringing",)

    def __init__(self) -> None:
        self._ringing: dict[int, bool] = {}

    def ring(self, tell: Callable[[], object]) -> None:
        """Call ``tell()``; called from within, have the call outside do it once more."""
        me, ringing = get_ident(), self._ringing
        if me in ringing:
            ringing[me] = True
            return
        again = True
        try:
            while again:
                ringing[me] = False
                tell()
                again = ringing[me]
        finally:
            ringing.pop(me, None)
