"""Retry budget: retries are a fraction of requests, so that they cannot multiply an outage.

Guarantees:
    At the moment a retry is granted, the retries granted within the last ``ttl`` seconds, this
    one included, are at most ratio · (requests within them) + min_per_second · ttl. So the load
    is at most 1 + ratio times the requests, beside the floor, whatever fails and however often
    each request is tried; without a budget m tries over t tiers make it m^t. "Within the last
    ``ttl`` seconds" is to a slice of ttl / 10.

Use when:
    Anything is retried.

Avoid when:
    A request must be tried until it succeeds: queue it instead.

Cost:
    O(1) a call, under one private lock.

Source:
    Finagle and tower: 20 %, 10 a second, 10 s.
"""

from __future__ import annotations

import time
from threading import Lock

from balancers.core.numbers import checked_factor
from balancers.protocol import Clock
from balancers.structures.sliding_sum import SlidingSum

__all__ = ["RetryBudget"]

_SLICES = 10


class RetryBudget:
    """Says whether a retry may be sent; thread-safe.

    ::

        budget.deposit()
        answer = send()
        if answer.failed and budget.withdraw():
            answer = send()

    Args:
        ratio: Retries for each request, ≥ 0, taken as the decimal it is written as.
        min_per_second: Retries that are always granted, ≥ 0 a second, for clients with few
            requests.
        ttl: Seconds for which a request counts, > 0.
        clock: Seconds, never going backwards.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For one out of range.
    """

    __slots__ = ("_clock", "_lock", "_ratio", "_requests", "_reserve", "_retries")

    def __init__(
        self,
        ratio: float = 0.2,
        *,
        min_per_second: float = 10.0,
        ttl: float = 10.0,
        clock: Clock = time.monotonic,
    ) -> None:
        if not callable(clock):
            raise TypeError(f"clock is callable, not {clock!r}")
        self._ratio = checked_factor("ratio", ratio, above=False)
        floor = checked_factor("min_per_second", min_per_second, above=False)
        self._reserve = floor * checked_factor("ttl", ttl)
        self._requests = SlidingSum(ttl, _SLICES)
        self._retries = SlidingSum(ttl, _SLICES)
        self._clock = clock
        self._lock = Lock()

    def deposit(self) -> None:
        """Count a request; once for each, not for its retries."""
        now = self._clock()
        with self._lock:
            self._requests.add(now)

    def withdraw(self) -> bool:
        """Take the price of one retry; False if there is not enough: do not retry."""
        now = self._clock()
        with self._lock:
            allowed = self._ratio * self._requests.sum(now) + self._reserve
            if self._retries.sum(now) + 1 > allowed:
                return False
            self._retries.add(now)
            return True

    @property
    def balance(self) -> float:
        """How many retries would be granted now."""
        now = self._clock()
        with self._lock:
            allowed = self._ratio * self._requests.sum(now) + self._reserve
            return float(allowed - self._retries.sum(now))

    def _check(self) -> None:
        with self._lock:
            self._requests._check()
            self._retries._check()
