"""The share of errors that is ordinary in a pool."""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum

__all__ = ["ErrorRate"]

SOUND = 0.5
"""Endpoints that fail as often as this, or more, say nothing of what is ordinary."""


class ErrorRate:
    """The mean share of errors over the endpoints that fail less than half the time.

    Attributes:
        rate: 0..1; 0 if there is no such endpoint.
    """

    __slots__ = ("_sound", "_sum", "rate")

    def __init__(self) -> None:
        self._sum = 0.0
        self._sound = 0
        self.rate: float = 0.0

    def recount(self, shares: Iterable[float]) -> None:
        """Take the shares of all the endpoints, anew. O(n)."""
        sound = [share for share in shares if share < SOUND]
        self._sum, self._sound = fsum(sound), len(sound)
        self.rate = self._sum / self._sound if sound else 0.0

    def move(self, before: float, now: float) -> None:
        """Take note of the change of one endpoint's share. O(1)."""
        if before < SOUND:
            self._sum -= before
            self._sound -= 1
        if now < SOUND:
            self._sum += now
            self._sound += 1
        self.rate = max(0.0, self._sum / self._sound) if self._sound else 0.0

    def _check(self, shares: Iterable[float]) -> None:
        sound = [share for share in shares if share < SOUND]
        assert self._sound == len(sound)
        assert abs(self._sum - fsum(sound)) < 1e-6
