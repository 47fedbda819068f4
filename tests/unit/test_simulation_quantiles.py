"""The latency histogram against sorted lists."""

import math
import sys
from fractions import Fraction
from functools import reduce
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.simulation import LatencyHistogram
from balancers.simulation.quantiles import RELATIVE_ERROR

NANOSECOND = 2.0**-30
latency = (
    st.floats(0.0, 1e6)
    | st.floats(1e-9, 1.0)
    | st.sampled_from([0.0, -0.0, 5e-324, 1e-300, NANOSECOND, 2.0**34 - 1.0])
)


@given(st.lists(st.lists(latency, max_size=30), min_size=1, max_size=4), st.floats(0.0, 1.0))
def test_quantiles_lie_within_the_stated_error(parts, q):
    """A quantile is within 0.4 % of the order statistic, added at once, in parts or merged.

    Below a nanosecond it is within a nanosecond.
    """
    values = sorted(value for part in parts for value in part)
    added, merged = LatencyHistogram(), LatencyHistogram()
    for part in parts:
        added.add_all(part)
        single = LatencyHistogram()
        single.add_all(part)
        merged.merge(single)
        added._check()
        merged._check()

    assert added.steps() == merged.steps()
    assert (added.count, added.least, added.greatest) == (
        merged.count,
        merged.least,
        merged.greatest,
    )
    if not values:
        assert added.quantile(q) is None
        assert added.mean is None
    else:
        for share in (q, 0.0, 1.0):
            exact = values[max(1, math.ceil(share * len(values))) - 1]
            allowed = Fraction(exact) * Fraction(RELATIVE_ERROR)
            if exact < NANOSECOND:
                allowed = Fraction(NANOSECOND) * (1 + Fraction(RELATIVE_ERROR))
            assert abs(Fraction(added.quantile(share)) - Fraction(exact)) <= allowed
            assert added.least <= added.quantile(share) <= added.greatest


def test_sums_are_correctly_rounded():
    """The mean is that of exact addition, so that every Python version agrees on it."""
    values = [0.1] * 10
    histogram = LatencyHistogram()
    histogram.add_all(values)

    assert histogram.total == float(sum(map(Fraction, values)))
    assert histogram.total != reduce(add, values)  # what adding one by one gives


@pytest.mark.parametrize("bad", [[-1.0], [1.0, math.inf], [0.5, -1e-9]])
def test_an_impossible_latency_is_refused(bad):
    """Negative and infinite latencies raise and count nothing."""
    histogram = LatencyHistogram()

    with pytest.raises(ValueError, match="latency"):
        histogram.add_all(bad)
    assert histogram.count == 0


@given(st.lists(st.floats(0.0, 1e300), max_size=200))
def test_a_histogram_never_grows(values):
    """Whatever is counted, from nothing to 10^300 s, takes the counters that were there before."""
    histogram = LatencyHistogram()
    assert RELATIVE_ERROR <= 0.004
    size = sys.getsizeof(histogram._buckets)
    histogram.add_all(values)
    histogram._check()

    assert sys.getsizeof(histogram._buckets) == size < 70_000
    assert histogram.count == len(values)
