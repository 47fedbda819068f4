"""Consecutive failures: the rule everybody knows.

Guarantees:
    k failures in a row eject, and nothing less does. With independent failures of
    probability p the mean number of requests to an ejection is (1 − p^k)/(p^k (1 − p)):
    10¹⁰ at p = 1 % and k = 5, but 3,900 at p = 20 %.

Use when:
    Always: it is the fastest rule for an endpoint that answers nothing at all.

Avoid when:
    Alone: an endpoint that fails every other request is found after 62 requests at k = 5, one
    that fails 30 % after 586.

Cost:
    O(1), one number an endpoint.

Source:
    Envoy's consecutive_5xx, Finagle's failure accrual, linkerd's breaker.
"""

from __future__ import annotations

__all__ = ["Consecutive"]


class Consecutive:
    """Counts failures since the last success."""

    __slots__ = ("_limit", "run")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.run: int = 0

    @property
    def quiet(self) -> bool:
        """Whether a success would change nothing."""
        return self.run == 0

    def failed(self, at: float) -> str | None:
        """Learn of a failure; return a reason to eject, or None."""
        self.run += 1
        return f"{self.run} failures in a row" if self.run >= self._limit else None

    def succeeded(self, at: float, latency: float | None) -> None:
        """Learn of a success."""
        self.run = 0

    def reset(self) -> None:
        """Forget everything."""
        self.run = 0

    def report(self) -> dict[str, float]:
        """Return numbers for the snapshot."""
        return {"consecutive_failures": self.run}
