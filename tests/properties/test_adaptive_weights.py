"""Adaptive: weights of any size."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from balancers import Adaptive, Endpoint
from balancers.structures.changes import relative, unit_of
from balancers.testing import ManualClock


@given(
    st.lists(
        st.lists(st.sampled_from([5e-324, 1e-300, 1.0, 1e300, 1.7e308]), min_size=2, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_weights_may_be_anything_finite(memberships: list[list[float]]) -> None:
    """No weight, and no change of scale, stops picks, settlements or explanations."""
    clock = ManualClock()
    balancer = Adaptive([], clock=clock, rng=Random(1))
    for weights in memberships:
        balancer.update([Endpoint(f"{i}", weight=w) for i, w in enumerate(weights)])
        for turn in range(40):
            cost = 1.0 + turn % 2
            told = balancer.explain().chosen
            with balancer.pick(cost=cost) as pick:
                clock.advance(0.5)
            assert told is not None
            assert cost != 1.0 or pick.endpoint.id == told.id
        balancer._board._check()


@given(st.dictionaries(st.integers(), st.floats(1e-200, 1e200), min_size=1))
def test_the_unit_keeps_proportions_exactly(weights: dict[int, float]) -> None:
    """In units of a power of two the largest is in 1..2, and ratios are what they were."""
    unit = unit_of(weights.values())
    found = relative(weights, unit)
    assert math.frexp(unit)[0] == 0.5
    assert 1.0 <= max(found.values()) < 2.0
    for item, weight in weights.items():
        assert found[item] == max(weight / unit, 1e-280)
        assert found[item] * unit == weight or found[item] == 1e-280
