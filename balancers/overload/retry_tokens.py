"""Retry tokens: failures take tokens, successes give a little back, and retries need half.

Guarantees:
    Retries stop once failures have outrun successes by max_tokens / 2, each success counting
    token_ratio, and come back when successes have made up for it. No clock is involved.

Use when:
    A gRPC service config states the two numbers.

Avoid when:
    A bound on the added load is wanted: that is ``RetryBudget``.

Cost:
    O(1) a call, under one private lock.

Source:
    gRFC A6, "throttling retry attempts and hedged RPCs".
"""

from __future__ import annotations

from threading import Lock

from balancers.core.numbers import checked_factor, checked_whole

__all__ = ["RetryTokens"]

_MILLI = 1000  # as gRPC counts: in thousandths, so that nothing is rounded twice


class RetryTokens:
    """Says whether retries are allowed; thread-safe.

    Args:
        max_tokens: 1..1000.
        token_ratio: What a success gives back, > 0; three decimals count.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For one out of range.
    """

    __slots__ = ("_gain", "_lock", "_most", "_tokens")

    def __init__(self, max_tokens: int = 10, token_ratio: float = 0.1) -> None:
        if checked_whole("max_tokens", max_tokens, 1) > 1000:
            raise ValueError(f"max_tokens must be ≤ 1000, not {max_tokens}")
        self._gain = int(checked_factor("token_ratio", token_ratio) * _MILLI)
        if not self._gain:
            raise ValueError(f"token_ratio must be ≥ 0.001, not {token_ratio}")
        self._most = self._tokens = max_tokens * _MILLI
        self._lock = Lock()

    def succeeded(self) -> None:
        """An attempt, first or not, succeeded."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._gain)

    def failed(self) -> bool:
        """An attempt failed in a way that could be retried; returns whether it may be."""
        with self._lock:
            self._tokens = max(0, self._tokens - _MILLI)
            return self._tokens * 2 > self._most

    @property
    def tokens(self) -> float:
        """How many there are, 0..max_tokens; retries need more than half."""
        with self._lock:
            return self._tokens / _MILLI
