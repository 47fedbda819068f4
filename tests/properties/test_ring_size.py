"""How many points a ring needs: the tail of the shares' law, and rings that size themselves."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers.errors import InvalidEndpointError
from balancers.structures import HashRing
from balancers.structures.ring_size import (
    _share_above,
    imbalance,
    overload_chance,
    vnodes_for,
    vnodes_for_weights,
)


@given(st.integers(1, 12), st.integers(2, 8), st.integers(1, 63))
def test_tail_is_the_binomial_one(count: int, members: int, x: int):
    """P(share > x) is the chance of at most v - 1 of N - 1 points below x, summed in fractions."""
    total = count * members
    part = Fraction(x, 64)
    exact = sum(comb(total - 1, k) * part**k * (1 - part) ** (total - 1 - k) for k in range(count))
    found = _share_above(count, total, float(part))
    if count - 1 < (total - 1) * part:
        assert found == pytest.approx(float(exact), rel=1e-9)
    else:
        assert found == 1.0  # at or above its mean no bound is claimed


@given(st.integers(1, 2000), st.floats(1.05, 4.0), st.sampled_from([1e-3, 1e-6, 1e-9]))
def test_vnodes_for_is_the_least(n: int, multiple: float, failure: float):
    """The number found keeps the chance, one less does not."""
    try:
        vnodes = vnodes_for(n, multiple, failure)
    except InvalidEndpointError:
        return
    assert overload_chance([(vnodes, 1 / n)] * n, multiple) <= failure
    if vnodes > 1:
        assert overload_chance([(vnodes - 1, 1 / n)] * n, multiple) > failure


@settings(max_examples=15)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 5), min_size=1),
    st.sampled_from([1.25, 1.5, 2.0]),
    st.integers(0, 5),
)
def test_sized_keeps_its_promise(weights: dict[str, int], multiple: float, seed: int):
    """No member of a sized ring owns more than the multiple of its due, nor is one starved."""
    ring = HashRing.sized(weights, max_imbalance=multiple, seed=seed)
    shares = ring.shares()
    total = sum(weights.values())
    assert all(0 < shares[id_] <= multiple * w / total for id_, w in weights.items())
    assert imbalance(shares, weights)[1] <= multiple


def test_sized_makes_room():
    """The points are those of the capacity, twice the members by default."""
    ids = [f"n{i}" for i in range(50)]
    assert HashRing.sized(ids, max_imbalance=1.5).vnodes == vnodes_for(100, 1.5)
    assert HashRing.sized(ids, max_imbalance=1.5, capacity=50).vnodes == vnodes_for(50, 1.5)
    assert HashRing.sized(ids, max_imbalance=1.5, capacity=1000).vnodes == vnodes_for(1000, 1.5)


def test_sized_corrects_bad_luck(monkeypatch: pytest.MonkeyPatch):
    """A ring that misses its bound by chance is given more points until it keeps it."""
    monkeypatch.setattr("balancers.structures.ring.vnodes_for_weights", lambda *_: 3)
    ring = HashRing.sized([f"n{i}" for i in range(20)], max_imbalance=1.2)
    assert ring.vnodes > 3
    assert max(ring.shares().values()) * 20 <= 1.2


def test_imbalance_names_the_worst():
    """The worst is the largest multiple of its due, not the largest share; weight 0 is no one."""
    assert imbalance({"a": 0.7, "b": 0.3, "z": 0.0}, {"a": 3, "b": 1, "z": 0}) == ("b", 1.2)
    assert imbalance({}, {}) == ("", 1.0)


@pytest.mark.parametrize("multiple", [1.0, 0.5, float("nan"), float("inf")])
def test_impossible_bounds_raise(multiple: float):
    """A bound at or below 1, or not finite, raises."""
    with pytest.raises(ValueError, match="max_imbalance must be finite and > 1"):
        vnodes_for(10, multiple)


def test_out_of_range_raises():
    """Too many points, too small a capacity, and bad arguments raise with the figures."""
    with pytest.raises(InvalidEndpointError, match="more than 16777216 points"):
        vnodes_for(10_000, 1.05)
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        vnodes_for(0, 1.5)
    with pytest.raises(ValueError, match="failure must be between 0 and 1"):
        vnodes_for(10, 1.5, 0.0)
    with pytest.raises(ValueError, match="weights must be finite and > 0"):
        vnodes_for_weights([1.0, 0.0], 1.5)
    with pytest.raises(ValueError, match="capacity must be >= the 2 members, got 1"):
        HashRing.sized(["a", "b"], capacity=1)
