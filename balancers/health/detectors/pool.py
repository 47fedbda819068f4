"""How often requests fail elsewhere: the yardstick of the sequential test.

The rate is that of the *other* endpoints, so an endpoint cannot excuse itself by its own
failures, and a fault that hits everybody accuses nobody. It is the larger of two estimates
that forget by requests, not by time: a short one (8 requests an endpoint), which sees an
outage of the whole pool as fast as the test could see it in one endpoint, and a long one
(100 an endpoint), which does not flutter at low rates.

Cost:
    A success adds 1 to ``good``, without a lock; everything else happens on failures, O(1).
    Without the interpreter's lock two threads may lose an addition: the rate then comes out
    too high, never too low, and the test errs towards ejecting nobody.

Source:
    The floor and the factor are ``algorithms``' practice for sequential tests; leaving the
    endpoint itself out of its yardstick is the usual leave-one-out device.
"""

from __future__ import annotations

import math

__all__ = ["PoolRate", "PoolShare"]


class _Horizon:
    """Failures and requests, both forgotten at the same pace."""

    __slots__ = ("failures", "keep", "requests", "span")

    def __init__(self) -> None:
        self.failures = 0.0
        self.requests = 0.0
        self.resize(1.0)

    def resize(self, span: float) -> None:
        self.span = span
        self.keep = math.exp(-1.0 / span)

    def pass_by(self, requests: int) -> float:
        """Let that many requests go by; return what is left of the weight of the old."""
        left = math.exp(-requests / self.span)
        self.failures *= left
        self.requests = self.requests * left + (1.0 - left) / (1.0 - self.keep)
        return left


class PoolShare:
    """One endpoint's part in the failures of its pool."""

    __slots__ = ("at", "long", "short")

    def __init__(self) -> None:
        self.short: float = 0.0
        self.long: float = 0.0
        self.at: int = 0


class PoolRate:
    """The failure rate of a pool, seen from any of its endpoints.

    Attributes:
        good: Requests that succeeded; whoever sees a success adds 1.
        bad: Requests that failed.
        size: Endpoints that take traffic.
    """

    __slots__ = ("_at", "_fitted", "_long", "_short", "bad", "good", "size")

    def __init__(self) -> None:
        self.good: int = 0
        self.bad: int = 0
        self.size: int = 1
        self._at = 0
        self._short = _Horizon()
        self._long = _Horizon()
        self._fitted = 0

    def resize(self, size: int) -> None:
        """Tell how many endpoints take traffic. O(1)."""
        self.size = max(1, size)  # the horizons follow when they are needed

    def rate(self, share: PoolShare) -> float:
        """The failure rate, 0..1, of everybody but the one whose share this is. O(1)."""
        self._catch_up(share)
        others = 1.0 - 1.0 / self.size
        if others == 0.0:
            return 0.0
        rates = (
            (self._short.failures - share.short) / (self._short.requests * others or 1.0),
            (self._long.failures - share.long) / (self._long.requests * others or 1.0),
        )
        return min(1.0, max(0.0, *rates))

    def failed(self, share: PoolShare) -> None:
        """Count a failure of the one whose share this is. O(1)."""
        self.bad += 1
        self._catch_up(share)
        for horizon in (self._short, self._long):
            horizon.failures += 1.0
        share.short += 1.0
        share.long += 1.0

    def overall(self) -> float:
        """The failure rate of the whole pool over the long horizon, for the snapshot."""
        return min(1.0, self._long.failures / self._long.requests) if self._long.requests else 0.0

    def _catch_up(self, share: PoolShare) -> None:
        if self._fitted != self.size:
            self._fitted = self.size
            self._short.resize(max(32.0, 8.0 * self.size))
            self._long.resize(max(1000.0, 100.0 * self.size))
        now = self.good + self.bad
        passed = now - self._at
        if passed > 0:
            self._short.pass_by(passed)
            self._long.pass_by(passed)
            self._at = now
        behind = self._at - share.at
        if behind > 0:
            share.short *= math.exp(-behind / self._short.span)
            share.long *= math.exp(-behind / self._long.span)
            share.at = self._at
