"""How fast a machine is, as time goes by: steady, warming up, or beside noisy neighbours.

A speed is piecewise constant. The pieces are made as they are needed and dropped when time has
passed them, so that a run of any length holds a few.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator

__all__ = ["Profile", "noisy", "steady", "warming"]

WARM_STEPS = 10


class Profile:
    """Speed over time: work is the integral of it.

    Invariant: ``_pieces`` are (end, speed) in order of time, the first one reaches beyond the
    latest ``start`` asked about, and every speed is > 0.

    Args:
        pieces: (end in seconds, speed), ends rising; the last end is infinity, or there is no
            last one.
    """

    __slots__ = ("_more", "_pieces")

    def __init__(self, pieces: Iterator[tuple[float, float]]) -> None:
        self._more = pieces
        self._pieces: deque[tuple[float, float]] = deque((next(pieces),))

    def finish(self, start: float, work: float) -> float:
        """Return when ``work`` begun at ``start`` is done.

        Args:
            start: Seconds, never earlier than in a call before.
            work: Seconds at speed 1, ≥ 0.

        Runtime complexity: O(pieces passed).
        """
        self._drop(start)
        now, index = start, 0
        while True:
            end, speed = self._piece(index)
            done = now + work / speed
            if done <= end:
                return done
            work -= (end - now) * speed
            now = end
            index += 1

    def work(self, start: float, end: float) -> float:
        """Return the work done between two times; ``start`` as for ``finish``."""
        self._drop(start)
        total, now, index = 0.0, start, 0
        while True:
            until, speed = self._piece(index)
            if end <= until:
                return total + (end - now) * speed
            total += (until - now) * speed
            now = until
            index += 1

    def speed(self, now: float) -> float:
        """Return the speed at ``now``, or at the latest ``start`` if that is later."""
        for index in range(len(self._pieces) + 1):
            end, speed = self._piece(index)
            if now < end:
                return speed
        return self._pieces[-1][1]

    def _piece(self, index: int) -> tuple[float, float]:
        while index >= len(self._pieces):
            self._pieces.append(next(self._more))
        return self._pieces[index]

    def _drop(self, start: float) -> None:
        while self._pieces[0][0] <= start:
            self._piece(1)
            self._pieces.popleft()


def steady(speed: float) -> Profile:
    """Return a speed that never changes."""
    return Profile(iter(((math.inf, speed),)))


def warming(speed: float, born: float, seconds: float, factor: float) -> Profile:
    """Return a speed that starts at ``speed/factor`` and rises to ``speed``, in ten even steps.

    Args:
        speed: When warm, > 0.
        born: When it starts, seconds.
        seconds: How long it takes, > 0.
        factor: How much slower it is at first, ≥ 1.
    """

    def pieces() -> Iterator[tuple[float, float]]:
        cold = speed / factor
        for step in range(WARM_STEPS):
            until = born + seconds * (step + 1) / WARM_STEPS
            yield until, cold + (speed - cold) * step / WARM_STEPS
        yield math.inf, speed

    return Profile(pieces())


def noisy(speed: float, rng: random.Random, factor: float, busy: float, quiet: float) -> Profile:
    """Return a speed that falls by ``factor`` while a neighbour is busy.

    Args:
        speed: While it is quiet, > 0.
        rng: The machine's own.
        factor: ≥ 1.
        busy: Mean seconds of a busy spell, exponential.
        quiet: Mean seconds between two.
    """

    def pieces() -> Iterator[tuple[float, float]]:
        now = 0.0
        loud = rng.random() < busy / (busy + quiet)  # the stationary chance
        while True:
            now += -(busy if loud else quiet) * math.log(1.0 - rng.random())
            yield now, speed / factor if loud else speed
            loud = not loud

    return Profile(pieces())
