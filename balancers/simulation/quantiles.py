"""A histogram of latencies with a stated relative error, flat in memory.

Bucket ``i`` holds values in (γ^(i−1), γ^i], γ = (1 + ε)/(1 − ε); its representative
2γ^i/(γ + 1) is within ε of everything in the bucket. With ε = 0.1 % the values from a
nanosecond to thirty years fill at most 20,700 buckets. Mean, least and greatest are kept exactly.

Source: Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees", VLDB 2019.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from operator import mul

__all__ = ["RELATIVE_ERROR", "LatencyHistogram"]

RELATIVE_ERROR = 0.001

_GAMMA = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)
_SCALE = 1.0 / math.log(_GAMMA)
_ZERO = -(10**9)  # the bucket of 0.0, below that of any positive float


class LatencyHistogram:
    """Counts of non-negative latencies in seconds.

    Invariants:
        1. ``count`` is the sum over the buckets.
        2. ``least`` ≤ every value ≤ ``greatest``; both 0 while empty.
    """

    __slots__ = ("_buckets", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count: int = 0
        self.total: float = 0.0
        self.least: float = 0.0
        self.greatest: float = 0.0

    @property
    def mean(self) -> float | None:
        """Exact mean in seconds, or None while empty."""
        return self.total / self.count if self.count else None

    def add_all(self, values: Sequence[float]) -> None:
        """Count every value.

        Args:
            values: Finite and ≥ 0.

        Raises:
            ValueError: For a negative value; nothing is counted then.

        Runtime complexity: O(len(values)), in C for all but the call.
        """
        if not values:
            return
        least, greatest = min(values), max(values)
        if not (least >= 0.0 and greatest < math.inf):
            raise ValueError(f"a latency must be finite and ≥ 0, not {least} … {greatest}")
        positive = values if least > 0.0 else [value for value in values if value > 0.0]
        # math.ceil(log(v)·scale) for all values without a Python-level loop.
        self._buckets.update(map(math.ceil, map(mul, map(math.log, positive), repeat(_SCALE))))
        if len(positive) < len(values):
            self._buckets[_ZERO] += len(values) - len(positive)
        self.least = min(self.least, least) if self.count else least
        self.greatest = max(self.greatest, greatest)
        self.count += len(values)
        # Correctly rounded: the built-in sum rounds otherwise from Python 3.12 on than before.
        self.total += math.fsum(values)

    def merge(self, other: LatencyHistogram) -> None:
        """Count everything the other one counted.

        Runtime complexity: O(buckets of the other).
        """
        if other.count:
            self._buckets.update(other._buckets)
            self.least = min(self.least, other.least) if self.count else other.least
            self.greatest = max(self.greatest, other.greatest)
            self.count += other.count
            self.total += other.total

    def quantile(self, q: float) -> float | None:
        """Return the least latency that at least a share ``q`` of all do not exceed.

        Args:
            q: 0..1.

        Returns:
            Seconds, within ``RELATIVE_ERROR`` of the exact order statistic; None while empty.

        Runtime complexity: O(buckets · log buckets).
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile must be within 0..1, not {q}")
        wanted = max(1, math.ceil(q * self.count))
        for value, upto in self.steps():
            if upto >= wanted:
                return value
        return None

    def steps(self) -> list[tuple[float, int]]:
        """Return the distribution as (seconds, how many were no slower), rising.

        Runtime complexity: O(buckets · log buckets).
        """
        found: list[tuple[float, int]] = []
        upto = 0
        for bucket in sorted(self._buckets):
            upto += self._buckets[bucket]
            value = 0.0 if bucket == _ZERO else 2.0 * _GAMMA**bucket / (_GAMMA + 1.0)
            # The extremes are known exactly; a bucket's middle must not lie beyond them.
            found.append((min(max(value, self.least), self.greatest), upto))
        return found

    def _check(self) -> None:
        assert self.count == sum(self._buckets.values())
        assert 0.0 <= self.least <= self.greatest
