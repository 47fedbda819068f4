"""Retry share: of all requests in flight only so many are retries.

Guarantees:
    A retry is granted only while the retries in flight, with it, are at most
    max(least, ratio · requests in flight), the retries among them.

Use when:
    Requests last long: a retry weighs as long as it runs, not for a fixed time.

Avoid when:
    Nobody tells when requests end.

Cost:
    O(1) a call, under one private lock.

Source:
    Envoy, circuit breakers' retry budget: 20 %, at least 3.
"""

from __future__ import annotations

from threading import Lock

from balancers.core.numbers import checked_factor, checked_whole

__all__ = ["RetryShare"]


class RetryShare:
    """Counts requests and retries in flight, and says whether another retry may start.

    Args:
        ratio: Retries for each request in flight, ≥ 0, as the decimal it is written as.
        least: Retries in flight that are always granted, ≥ 0.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For one out of range.
    """

    __slots__ = ("_least", "_lock", "_ratio", "_requests", "_retries")

    def __init__(self, ratio: float = 0.2, *, least: int = 3) -> None:
        self._ratio = checked_factor("ratio", ratio, above=False)
        self._least = checked_whole("least", least, 0)
        self._requests = 0
        self._retries = 0
        self._lock = Lock()

    def start(self) -> None:
        """A first attempt begins."""
        with self._lock:
            self._requests += 1

    def finish(self) -> None:
        """A first attempt has ended.

        Raises:
            RuntimeError: If none was running.
        """
        with self._lock:
            if self._requests == self._retries:
                raise RuntimeError("finish() without a start()")
            self._requests -= 1

    def start_retry(self) -> bool:
        """Begin a retry; False if it may not be sent."""
        with self._lock:
            wanted = self._retries + 1
            if wanted > self._least and wanted > self._ratio * self._requests:
                return False
            self._requests += 1
            self._retries += 1
            return True

    def finish_retry(self) -> None:
        """A retry has ended.

        Raises:
            RuntimeError: If none was running.
        """
        with self._lock:
            if not self._retries:
                raise RuntimeError("finish_retry() without a start_retry()")
            self._requests -= 1
            self._retries -= 1

    @property
    def in_flight(self) -> tuple[int, int]:
        """Requests in flight, and how many of them are retries."""
        with self._lock:
            return self._requests, self._retries
