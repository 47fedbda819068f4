"""The event loop against queueing theory.

The seeds are fixed. Each test states the chance that another seed would have failed a correct
engine: at most 1e-9.
"""

import math
import random
import statistics

import pytest
from simulation_models import sharing

from balancers import Endpoint, RoundRobin
from balancers.policies.power_of_two import PowerOfTwoChoices
from balancers.simulation import Batch, Run, contender, fifo
from balancers.simulation.oracles import erlang_c


def mean_latency(seed, rate, count, draw, servers):
    """Simulate one endpoint from empty; the mean latency of ``count`` Poisson arrivals."""
    rng = random.Random(seed)
    now, times = 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate)
        times.append(now)
    demands = [draw(rng) for _ in range(count)]
    run = Run(contender(RoundRobin).build, (Endpoint("only"),), servers)
    run.feed(Batch(times, [None] * count, demands))
    run.finish()
    return run.histogram.mean


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_mm1_mean_wait_is_that_of_theory(rho):
    """M/M/1: the mean wait is ρ/(μ − λ).

    The mean of n successive waits has, for large n, variance
    ρ(2 + 5ρ − 4ρ² + ρ³) / (μ²(1 − ρ)⁴ n) (Daley 1968, Whitt 1989). The test fails beyond 6.11
    standard deviations: chance 1e-9 for a correct engine, by the normal law.
    """
    count = 60_000 if rho < 0.85 else 300_000
    wait = mean_latency(1, rho, count, lambda rng: rng.expovariate(1.0), fifo()) - 1.0
    variance = rho * (2 + 5 * rho - 4 * rho**2 + rho**3) / (1 - rho) ** 4 / count
    # The mean service time is part of the latency, with its own variance; correlation adds up.
    deviation = math.sqrt(variance) + math.sqrt(1.0 / count)

    assert abs(wait - rho / (1 - rho)) < 6.11 * deviation


def replicated(expected, replicate, runs=32):
    """Assert that the mean over independent runs is ``expected``.

    Student's t with 31 degrees of freedom exceeds 8.62 with chance 1e-9. Each run starts empty,
    which biases its mean by far less than its deviation.
    """
    values = [replicate(seed) for seed in range(runs)]
    error = statistics.stdev(values) / math.sqrt(runs)

    assert abs(statistics.fmean(values) - expected) < 8.62 * error
    assert 8.62 * error < 0.2 * expected  # else the test would prove nothing


@pytest.mark.parametrize(("workers", "rho"), [(2, 0.5), (4, 0.7), (16, 0.8), (16, 0.9), (16, 0.95)])
def test_mmk_mean_latency_is_that_of_theory(workers, rho):
    """M/M/k: the mean latency is 1/μ + C(k, λ/μ)/(kμ − λ), false alarms ≤ 1e-9."""
    rate = workers * rho
    # A run must be long beside (1 − ρ)⁻² service times.
    count = {0.9: 12_000, 0.95: 25_000}.get(rho, 4_000)
    expected = 1.0 + erlang_c(workers, rate) / (workers - rate)

    replicated(
        expected,
        lambda seed: mean_latency(seed, rate, count, lambda r: r.expovariate(1.0), fifo(workers)),
    )


def test_md1_mean_latency_is_that_of_theory():
    """M/D/1: the mean latency is 1 + ρ/(2(1 − ρ)) (Pollaczek, Khinchine), false alarms ≤ 1e-9."""
    replicated(1.0 + 0.6 / 0.8, lambda seed: mean_latency(seed, 0.6, 6_000, lambda r: 1.0, fifo()))


@pytest.mark.parametrize("law", ["exponential", "deterministic"])
def test_processor_sharing_is_insensitive(law):
    """M/G/1-PS: the mean latency is 1/(1 − ρ) whatever the law; a model the engine never saw.

    False alarms ≤ 1e-9, see ``replicated``.
    """
    draw = {"exponential": lambda r: r.expovariate(1.0), "deterministic": lambda r: 1.0}[law]

    replicated(1.0 / (1.0 - 0.6), lambda seed: mean_latency(seed, 0.6, 3_000, draw, sharing))


SERVERS = 300


def found_by_sampling(rho, seed):
    """Run P2C over many single workers from empty; the shares of servers with ≥ 1 … 4 inside.

    Sampled every other service time once the empty start is forgotten.
    """
    rng = random.Random(seed)
    endpoints = tuple(Endpoint(f"e{i}") for i in range(SERVERS))
    run = Run(contender(PowerOfTwoChoices).build, endpoints, fifo(), seed=seed)
    start = 3.0 / (1.0 - rho)  # of the slowest level in which queues forget, several times over
    end = start + 24.0
    seen = []

    def sample(at):
        inside = [view.in_flight for view in run.balancer.snapshot().endpoints]
        seen.append([sum(q >= k for q in inside) / SERVERS for k in (1, 2, 3, 4)])

    for i in range(12):
        run.at(start + 2.0 * i, sample)
    now, times = 0.0, []
    while now < end:
        now += rng.expovariate(rho * SERVERS)
        times.append(now)
    run.feed(Batch(times, [None] * len(times), [rng.expovariate(1.0) for _ in times]))
    return [statistics.fmean(column) for column in zip(*seen, strict=True)]


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.9, 0.95])
def test_two_choices_are_those_of_the_supermarket_model(rho):
    """P2C: a share ρ^(2^k − 1) of the servers has k requests or more.

    The law is that of infinitely many servers; n of them are off by the order of 1/n, and more
    the longer queues remember: 1/(n(1 − ρ)) is allowed, twice what was measured. Beyond it,
    Student's t of 16 independent runs at 1e-9 false alarms a level: 13.4 standard errors.
    """
    runs = [found_by_sampling(rho, seed) for seed in range(16)]
    for k, shares in enumerate(zip(*runs, strict=True), 1):
        expected = rho ** (2**k - 1)
        error = statistics.stdev(shares) / math.sqrt(len(runs))
        assert abs(statistics.fmean(shares) - expected) < 13.4 * error + 1 / SERVERS / (1 - rho)
        if k == 4:  # a single random choice, ρ^k, is far outside
            assert 13.4 * error + 1 / SERVERS / (1 - rho) < 0.8 * (rho**4 - expected)
