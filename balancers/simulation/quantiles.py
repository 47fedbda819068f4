"""A histogram of latencies of a fixed size: flat in memory, however long a run is.

Every power of two of seconds between 2⁻³⁰ (a nanosecond) and 2³⁴ (544 years) is cut into 128
equal buckets, whose middle stands for all it holds: within 1/256, 0.4 %, of each. That is 8,192
counters, 64 KiB. What is shorter than a nanosecond or longer than the range counts in the first
or last bucket; mean, least and greatest are kept exactly.

The bucket of a number is the front of its own binary form: its exponent and the first seven bits
of its fraction. No logarithm is taken, so the counts are the same on every platform.

Source: Tene, HdrHistogram, 2012.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, repeat
from operator import add, rshift

__all__ = ["BUCKETS", "RELATIVE_ERROR", "LatencyHistogram"]

_FINE = 7  # bits of the fraction that tell buckets apart
_LOWEST, _HIGHEST = -30, 34  # powers of two

RELATIVE_ERROR: float = 0.5 / (1 << _FINE)
"""Of a quantile, between a nanosecond and 544 years."""

BUCKETS: int = (_HIGHEST - _LOWEST) << _FINE
"""Counters of every histogram, full or empty."""

_SHIFT = 52 - _FINE  # of an IEEE 754 double: 52 bits of fraction, exponents from 1023
_BASE = (1023 + _LOWEST) << _FINE
_LEAST = math.ldexp(1.0, _LOWEST)
_GREATEST = math.nextafter(math.ldexp(1.0, _HIGHEST), 0.0)


class LatencyHistogram:
    """Counts of non-negative latencies in seconds.

    Invariants:
        1. ``count`` is the sum over the buckets.
        2. ``least`` ≤ every value ≤ ``greatest``; both 0 while empty.
        3. Buckets below that of ``least`` and above that of ``greatest`` are empty.
    """

    __slots__ = ("_buckets", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self._buckets: array[int] = array("Q", bytes(8 * BUCKETS))
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

        Runtime complexity: O(len(values)).
        """
        if not values:
            return
        least, greatest = min(values), max(values)
        if not (least >= 0.0 and greatest < math.inf):
            raise ValueError(f"a latency must be finite and ≥ 0, not {least} … {greatest}")
        buckets = self._buckets
        for bits in map(rshift, _bits(values, least, greatest), repeat(_SHIFT)):
            buckets[bits - _BASE] += 1
        self.least = min(self.least, least) if self.count else least
        self.greatest = max(self.greatest, greatest)
        self.count += len(values)
        # Correctly rounded: the built-in sum rounds otherwise from Python 3.12 on than before.
        self.total += math.fsum(values)

    def merge(self, other: LatencyHistogram) -> None:
        """Count everything the other one counted.

        Runtime complexity: O(buckets of the other, from its least value to its greatest).
        """
        if other.count:
            used = other._used()
            self._buckets[used] = array("Q", map(add, self._buckets[used], other._buckets[used]))
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

        Runtime complexity: O(buckets from the least value to the greatest).
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile must be within 0..1, not {q}")
        if not self.count:
            return None
        used = self._used()
        upto = list(accumulate(self._buckets[used]))
        return self._value(used.start + bisect_left(upto, max(1, math.ceil(q * self.count))))

    def steps(self) -> list[tuple[float, int]]:
        """Return the distribution as (seconds, how many were no slower), rising.

        Runtime complexity: O(buckets from the least value to the greatest).
        """
        found: list[tuple[float, int]] = []
        upto, used = 0, self._used()
        for index, count in enumerate(self._buckets[used], used.start):
            if count:
                upto += count
                found.append((self._value(index), upto))
        return found

    def _used(self) -> slice:
        """Return the buckets from that of the least value to that of the greatest."""
        if not self.count:
            return slice(0, 0)
        first, last = _bits((self.least, self.greatest), self.least, self.greatest)
        return slice((first >> _SHIFT) - _BASE, (last >> _SHIFT) - _BASE + 1)

    def _value(self, index: int) -> float:
        """Return what stands for a bucket: its middle, or an extreme that is nearer."""
        power, part = divmod(index, 1 << _FINE)
        middle = math.ldexp((1 << _FINE) + part + 0.5, power + _LOWEST - _FINE)
        return min(max(middle, self.least), self.greatest)

    def _check(self) -> None:
        assert self.count == sum(self._buckets) == sum(self._buckets[self._used()])
        assert len(self._buckets) == BUCKETS
        assert 0.0 <= self.least <= self.greatest


def _bits(values: Sequence[float], least: float, greatest: float) -> array[int]:
    """Return the binary forms of the values as integers, those out of range as its ends."""
    if least < _LEAST or greatest > _GREATEST:
        values = [min(max(value, _LEAST), _GREATEST) for value in values]
    found = array("Q")
    found.frombytes(array("d", values).tobytes())
    return found
