"""Windowed failure ratio: so many of the last seconds' requests failed.

Guarantees:
    Ejects at the first failure that finds at least ``failure_ratio_requests`` requests in
    the window and at least the share ``failure_ratio`` of them failed. The window is cut into
    ten buckets, so it is between 0.9 and 1 times as long as asked.

Use when:
    A service has an agreed error budget and enough traffic to measure it an endpoint.

Avoid when:
    Traffic is thin: below the minimum count it says nothing. It also compares with a fixed
    share, so that a fault of the whole pool ejects up to the cap.

Cost:
    O(1) amortised; every success takes the registry's lock while this detector is on.

Source:
    linkerd's unified breaker (windowed success ratio over ten buckets).
"""

from __future__ import annotations

from balancers.health.policy import HealthPolicy

__all__ = ["Ratio"]

BUCKETS = 10


class Ratio:
    """Successes and failures of a sliding window."""

    __slots__ = ("_bad", "_good", "_limit", "_minimum", "_newest", "_width", "_window")

    def __init__(self, policy: HealthPolicy) -> None:
        assert policy.failure_ratio is not None
        self._limit = policy.failure_ratio
        self._minimum = policy.failure_ratio_requests
        self._window = policy.failure_ratio_window
        self._width = policy.failure_ratio_window / BUCKETS
        self.reset()

    @property
    def quiet(self) -> bool:
        """Whether a success would change nothing."""
        return False

    def failed(self, at: float) -> str | None:
        """Learn of a failure; return a reason to eject, or None."""
        self._turn(at)
        self._bad[self._newest % BUCKETS] += 1
        bad = sum(self._bad)
        total = bad + sum(self._good)
        if total < self._minimum or bad < self._limit * total - 1e-9:
            return None
        return f"{bad} of {total} requests failed within {self._window:g} s"

    def succeeded(self, at: float, latency: float | None) -> None:
        """Learn of a success."""
        self._turn(at)
        self._good[self._newest % BUCKETS] += 1

    def reset(self) -> None:
        """Forget everything."""
        self._good = [0] * BUCKETS
        self._bad = [0] * BUCKETS
        self._newest = 0

    def report(self) -> dict[str, float]:
        """Return numbers for the snapshot."""
        return {"window_failures": sum(self._bad), "window_successes": sum(self._good)}

    def _turn(self, at: float) -> None:
        """Empty the buckets that time has left behind."""
        bucket = int(at // self._width)
        for stale in range(max(self._newest + 1, bucket - BUCKETS + 1), bucket + 1):
            self._good[stale % BUCKETS] = 0
            self._bad[stale % BUCKETS] = 0
        self._newest = max(self._newest, bucket)
