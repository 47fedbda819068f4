"""``explain`` names whom the next pick gets, whatever has happened in between."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import Endpoint
from balancers.policies import registered
from balancers.testing import ManualClock

LOADED = [name for name, policy in registered().items() if not policy.keyed]

ends = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0.25, 0.5])), max_size=6)
weights = st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=2, max_size=6)
rounds = st.lists(
    st.tuples(st.integers(1, 6), ends, st.sampled_from([0.0, 0.5]), st.none() | weights),
    min_size=5,
    max_size=15,
)


@pytest.mark.parametrize("name", LOADED)
@given(rounds=rounds, seed=st.integers(0, 99))
def test_the_chosen_is_the_next_pick(name, rounds, seed):
    """However many leases end between two picks, and however the members change."""
    clock = ManualClock()
    members = [Endpoint(f"{i}") for i in range(5)]
    balancer = registered()[name](members, clock=clock, rng=Random(seed))
    held = []
    for picks, ended, wait, change in rounds:
        for _ in range(picks):
            told = balancer.explain().chosen
            held.append(balancer.pick())
            assert told is not None
            assert held[-1].endpoint.id == told.id
        clock.advance(wait)
        for which, latency in ended:
            if held:
                held.pop(which % len(held)).done(latency=latency)
        if change is not None:
            balancer.update([Endpoint(f"{i}", weight=w) for i, w in enumerate(change)])
    for lease in held:
        lease.done()
