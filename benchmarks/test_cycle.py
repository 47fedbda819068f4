"""``with balancer.pick(): pass`` for every registered policy, grouped by n, the floor beside."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from balancers import InvalidEndpointError
from balancers.core import Policy
from balancers.policies import registered
from benchmarks.cycles import SIZES, WEIGHTS, balancer_of, cycle, floor_cycle
from benchmarks.timing import CLOCK

STEPS = 100


@pytest.mark.parametrize("n", SIZES)
def test_floor(benchmark: BenchmarkFixture, n: int) -> None:
    """The floor cycle, in each group: what the others are to be read against."""
    benchmark.group = f"{STEPS:,} cycles, n = {n:,}"
    benchmark(floor_cycle(STEPS), CLOCK)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("policy", registered().values())
def test_cycle(benchmark: BenchmarkFixture, policy: type[Policy], weights: str, n: int) -> None:
    """A whole pick cycle."""
    try:
        balancer = balancer_of(policy, n, weights)
    except InvalidEndpointError as error:
        pytest.skip(str(error))
    benchmark.group = f"{STEPS:,} cycles, n = {n:,}"
    benchmark.extra_info.update(n=n, weights=weights, steps=STEPS)
    benchmark(cycle(policy, balancer, STEPS), CLOCK)
