"""Adaptive throttling: a client refuses its own requests once the servers refuse too many.

Guarantees:
    A request is refused with chance max(0, (requests − k · accepts) / (requests + padding)),
    over the last ``window`` seconds. While servers accept at least 1/k of what is asked nothing
    is refused; when they accept nothing, all but about one request in ``requests`` is. Requests
    are counted when they are asked for, the refused ones too, so that slow answers do not look
    like few requests.

Use when:
    Refusing costs the servers nearly as much as answering.

Avoid when:
    Requests are few: below some tens a window the numbers say little.

Cost:
    O(1) a call, under one private lock.

Source:
    Beyer et al., "Site Reliability Engineering", chapter 21: k = 2, two minutes; gRPC's route
    lookup uses padding 8 and 30 s. Counting at the start: zeromicro/go-zero#5011.
"""

from __future__ import annotations

import time
from random import Random
from threading import Lock

from balancers.core.numbers import checked_number
from balancers.protocol import Clock
from balancers.structures.sliding_sum import SlidingSum

__all__ = ["AdaptiveThrottle"]

_SLICES = 60


class AdaptiveThrottle:
    """Says whether to send a request at all; thread-safe.

    ::

        if not throttle.admit():
            raise Overloaded
        answer = send()
        if not answer.refused_for_overload:
            throttle.accepted()

    Args:
        k: How many requests an accepted one pays for, finite and ≥ 1: more lets more through.
        window: Seconds that count, > 0; to a 60th.
        padding: Requests' worth of doubt, > 0.
        clock: Seconds, never going backwards.
        rng: Source of chance; one of its own, freshly seeded, if None.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For one out of range.
    """

    __slots__ = ("_accepts", "_clock", "_k", "_lock", "_padding", "_requests", "_rng")

    def __init__(
        self,
        k: float = 2.0,
        *,
        window: float = 120.0,
        padding: float = 1.0,
        clock: Clock = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        self._k = checked_number("k", k, least=1.0)
        checked_number("window", window, above=True)
        self._padding = checked_number("padding", padding, above=True)
        if not callable(clock):
            raise TypeError(f"clock is callable, not {clock!r}")
        if rng is not None and not isinstance(rng, Random):
            raise TypeError(f"rng is a random.Random or None, not {rng!r}")
        self._requests = SlidingSum(window, _SLICES)
        self._accepts = SlidingSum(window, _SLICES)
        self._clock = clock
        self._rng = Random() if rng is None else rng
        self._lock = Lock()

    def admit(self) -> bool:
        """Count a request and say whether to send it; False: refuse it here and now."""
        now = self._clock()
        with self._lock:
            refused = self._chance(now) > self._rng.random()
            self._requests.add(now)
        return not refused

    def accepted(self) -> None:
        """Tell that the servers took a request: it was answered, or failed for other reasons."""
        now = self._clock()
        with self._lock:
            self._accepts.add(now)

    @property
    def chance(self) -> float:
        """The chance, 0..1, that a request would be refused now."""
        now = self._clock()
        with self._lock:
            return self._chance(now)

    def _chance(self, now: float) -> float:
        requests = self._requests.sum(now)
        excess = requests - self._k * self._accepts.sum(now)
        return max(0.0, excess / (requests + self._padding))

    def _check(self) -> None:
        with self._lock:
            self._requests._check()
            self._accepts._check()
