"""Passive detectors: what ejects, what does not, how soon, and how often by mistake."""

import math
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.health import HealthPolicy
from balancers.health.detectors.consecutive import Consecutive
from balancers.health.detectors.latency import latency_limit, latency_outliers
from balancers.health.detectors.outliers import failure_percentages, success_rates
from balancers.health.detectors.pool import PoolRate, PoolShare
from balancers.health.detectors.ratio import Ratio
from balancers.health.detectors.sequential import Sequential
from balancers.health.detectors.tally import Sample, Tally

outcomes = st.lists(st.booleans(), max_size=60)


def feed(detector, good: bool, at: float = 0.0) -> str | None:
    """Tell a detector of an outcome; return its verdict."""
    if good:
        detector.succeeded(at, None)
        return None
    return detector.failed(at)


# -- consecutive failures ------------------------------------------------------------------


@given(outcomes, st.integers(1, 6))
def test_consecutive_trips_exactly_at_k_in_a_row(history: list[bool], k: int) -> None:
    """It trips at a failure that ends a run of at least k, and at no other."""
    detector = Consecutive(k)
    for at, good in enumerate(history):
        tripped = feed(detector, good) is not None

        assert tripped == (at + 1 >= k and not any(history[at + 1 - k : at + 1]))
        assert detector.quiet == good


# -- the sequential test -------------------------------------------------------------------


def lone(policy: HealthPolicy | None = None, size: int = 1) -> tuple[Sequential, PoolRate]:
    """A test in a pool whose others never fail, so that p0 stays at the floor."""
    pool = PoolRate()
    pool.resize(size)
    return Sequential(policy or HealthPolicy(), pool), pool


@given(outcomes)
def test_evidence_is_pages_recursion_exactly(history: list[bool]) -> None:
    """exp(evidence) is the largest likelihood ratio of any suffix, or 1."""
    detector, _ = lone(HealthPolicy(sequential_floor=0.25, sequential_alpha=1e-300))
    bad = Fraction(1, 2) / Fraction(1, 4)
    fine = (1 - Fraction(1, 2)) / (1 - Fraction(1, 4))
    for good in history:
        feed(detector, good)
    best = Fraction(1)
    for start in range(len(history)):
        ratio = Fraction(1)
        for good in history[start:]:
            ratio *= fine if good else bad
        best = max(best, ratio)

    assert detector.evidence == pytest.approx(math.log(best), rel=1e-9, abs=1e-9)


@given(
    st.floats(0.001, 0.2), st.floats(0.3, 0.9), st.sampled_from((1e-3, 1e-6, 1e-9)), st.booleans()
)
def test_enough_failures_in_a_row_always_trip(
    floor: float, alternative: float, alpha: float, stained: bool
) -> None:
    """⌈ln(1/α)/ln(p1/p0)⌉ failures in a row eject, one less does not from a clean record."""
    policy = HealthPolicy(
        sequential_floor=floor, sequential_alternative=alternative, sequential_alpha=alpha
    )
    detector, _ = lone(policy)
    alternative = max(alternative, math.sqrt(floor))
    need = math.ceil(-math.log(alpha) / math.log(alternative / floor) - 1e-9)
    if stained:
        detector.failed(0.0)
        detector.succeeded(0.0, None)
    verdicts = [detector.failed(0.0) for _ in range(need)]

    assert verdicts[-1] is not None
    if not stained:
        assert verdicts[:-1] == [None] * (need - 1)


def test_default_finds_a_dead_endpoint_in_four() -> None:
    """Golden: 4 failures at p0 = 1 % and α = 10⁻⁶, whatever came before."""
    detector, pool = lone(size=10)
    for _ in range(10_000):
        pool.good += 1

    assert [detector.failed(0.0) is not None for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(("rate", "most"), [(1.0, 4.0), (0.9, 5.0), (0.5, 11.0), (0.3, 24.0)])
def test_mean_delay(rate: float, most: float) -> None:
    """Mean requests to an ejection: 4, 4.4, 9.2 and 19 at 100, 90, 50 and 30 % failures.

    Mean of 4,000 runs; the bounds lie beyond six standard errors of those means (the delay's
    standard deviation is below its mean), so a false alarm is rarer than 1e-9.
    """
    rng = Random(11)
    total = 0
    for _ in range(4_000):
        detector, pool = lone(size=100)
        pool.good = 10**7
        while True:
            total += 1
            if feed(detector, rng.random() >= rate):
                break

    assert total / 4_000 <= most


def test_false_ejections_are_as_rare_as_stated() -> None:
    """At α = 10⁻³ and errors exactly at p0, alarms come no more often than one in 1/α requests.

    In 10⁶ requests Lorden's bound allows 1,000 on average; each run starts at evidence 0 and
    the gaps are independent, so 1,000 plus six standard deviations is a 1e-9 event. Measured:
    about an eighth of the bound.
    """
    policy = HealthPolicy(sequential_floor=0.05, sequential_alpha=1e-3)
    rng = Random(5)
    detector, _ = lone(policy)
    alarms = 0
    for _ in range(1_000_000):
        if rng.random() < 0.05:
            if detector.failed(0.0):
                alarms += 1
                detector.reset()
        elif not detector.quiet:
            detector.succeeded(0.0, None)

    assert 1 <= alarms <= 1_000 + 6 * math.sqrt(1_000)


def test_no_false_ejection_in_a_thousand_requests() -> None:
    """At α = 10⁻¹² a thousand requests at p0 eject with probability ≤ 1e-9: they must not."""
    policy = HealthPolicy(sequential_alpha=1e-12)
    for seed in range(50):
        rng = Random(seed)
        detector, _ = lone(policy)

        assert not any(feed(detector, rng.random() >= 0.01) for _ in range(1_000))


@pytest.mark.parametrize("size", [3, 5, 10, 100])
@pytest.mark.parametrize("rate", [1.0, 0.5, 0.1])
def test_fault_of_the_whole_pool_ejects_hardly_anybody(size: int, rate: float) -> None:
    """When all begin to fail at once the test accuses fewer than a fifth of them."""
    accused = set()
    for seed in range(5):
        rng = Random(seed)
        pool = PoolRate()
        pool.resize(size)
        tests = [Sequential(HealthPolicy(), pool) for _ in range(size)]
        pool.good += 1_000 * size
        for _ in range(200 * size):
            one = rng.randrange(size)
            if rng.random() >= rate:
                pool.good += 1
                tests[one].succeeded(0.0, None)
            elif tests[one].failed(0.0):
                accused.add((seed, one))

    assert len(accused) < size


# -- the pool's rate -----------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=200), st.integers(2, 5))
def test_pool_rate_is_that_of_the_others(events: list[tuple[int, bool]], size: int) -> None:
    """The rate is the larger of two exponentially forgetting means over everybody else."""
    pool = PoolRate()
    pool.resize(size)
    shares = [PoolShare() for _ in range(5)]
    for who, good in events:
        if good:
            pool.good += 1
        else:
            pool.failed(shares[who])
    me = shares[0]

    def mean(span: float) -> float:
        keep = math.exp(-1.0 / span)
        ages = range(len(events) - 1, -1, -1)
        weights = [keep**age for age in ages]
        bad = math.fsum(
            w for w, (who, good) in zip(weights, events, strict=True) if not good and who != 0
        )
        return bad / (math.fsum(weights) * (1 - 1 / size)) if weights else 0.0

    expected = min(1.0, max(mean(max(32.0, 8.0 * size)), mean(max(1000.0, 100.0 * size))))

    assert pool.rate(me) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_lone_endpoint_has_no_others() -> None:
    """With one endpoint there is no yardstick but the floor."""
    pool = PoolRate()
    share = PoolShare()
    pool.failed(share)

    assert pool.rate(share) == 0.0


# -- windowed ratio ------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=80))
def test_ratio_counts_the_last_buckets(events: list[tuple[float, bool]]) -> None:
    """It trips exactly when the last ten buckets hold enough requests and enough failures."""
    policy = HealthPolicy(failure_ratio=0.5, failure_ratio_window=10.0, failure_ratio_requests=4)
    detector = Ratio(policy)
    now = 0.0
    seen: list[tuple[int, bool]] = []
    for gap, good in events:
        now += gap
        seen.append((int(now // 1.0), good))
        recent = [ok for bucket, ok in seen if bucket > int(now // 1.0) - 10]
        tripped = feed(detector, good, now) is not None
        share = Fraction(recent.count(False), len(recent))

        assert tripped == (not good and len(recent) >= 4 and share >= Fraction(1, 2))


# -- comparisons ---------------------------------------------------------------------------

samples = st.lists(
    st.builds(Sample, st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8
).map(lambda found: {f"e{i}": sample for i, sample in enumerate(found)})


@given(samples, st.integers(1, 6), st.integers(1, 60))
def test_success_rate_outliers_by_exact_arithmetic(
    found: dict[str, Sample], hosts: int, requests: int
) -> None:
    """Flags rates below mean − 1.9 σ, σ over the population, among those with enough."""
    policy = HealthPolicy(
        success_rate_stdev=1.9, success_rate_hosts=hosts, success_rate_requests=requests
    )
    rates = {
        n: Fraction(s.good, s.good + s.bad) for n, s in found.items() if s.good + s.bad >= requests
    }
    flagged = set()
    if len(rates) >= hosts:
        mean = sum(rates.values()) / len(rates)
        variance = sum((r - mean) ** 2 for r in rates.values()) / len(rates)
        # r < mean − 1.9 σ, without the root
        flagged = {
            n
            for n, r in rates.items()
            if r < mean and (mean - r) ** 2 > Fraction(361, 100) * variance
        }

    assert set(success_rates(found, policy)) == flagged


@given(samples, st.integers(0, 10), st.integers(1, 6), st.sampled_from(("envoy", "grpc")))
def test_failure_percentages_by_exact_arithmetic(
    found: dict[str, Sample], tenths: int, hosts: int, rules: str
) -> None:
    """Flags shares at the threshold by Envoy's rule, above it by gRPC's."""
    policy = HealthPolicy(
        failure_percentage=tenths / 10,
        failure_percentage_hosts=hosts,
        failure_percentage_requests=10,
        outlier_rules=rules,
    )
    limit = Fraction(tenths / 10)  # the float's own value: that is what the user gave
    shares = {n: s.bad / s.total for n, s in found.items() if s.total >= 10}
    flagged = {
        n
        for n, share in shares.items()
        if len(shares) >= hosts and (share > limit if rules == "grpc" else share >= limit)
    }

    assert set(failure_percentages(found, policy)) == flagged


@given(st.lists(st.floats(0.001, 10.0), min_size=1, max_size=9), st.floats(1.5, 5.0))
def test_latency_outliers_are_a_minority_above_the_median(means: list[float], factor: float):
    """Whoever is flagged exceeds factor × median, nobody else does, and most are not."""
    policy = HealthPolicy(latency_factor=factor, latency_hosts=2, latency_requests=1)
    found = {f"e{i}": Sample(1, 0, mean, 1) for i, mean in enumerate(means)}
    limit = latency_limit(found, policy)
    if len(means) < 2:
        assert limit is None
        return
    assert limit is not None
    flagged = latency_outliers(found, policy, limit)
    median = sorted(means)[(len(means) - 1) // 2]

    assert limit == factor * median
    assert set(flagged) == {n for n, s in found.items() if s.seconds > limit}
    assert 2 * len(flagged) <= len(means)


def test_latency_floor_and_counts() -> None:
    """Nobody is too slow below the floor, nor by fewer requests than asked for."""
    policy = HealthPolicy(latency_factor=2.0, latency_floor=1.0, latency_requests=2)
    quick = {f"e{i}": Sample(2, 0, 0.02, 2) for i in range(3)}
    few = {**quick, "slow": Sample(1, 0, 9.0, 1)}

    assert latency_limit(quick, policy) == 1.0
    assert latency_outliers({**quick, "slow": Sample(2, 0, 1.9, 2)}, policy, 1.0) == {}
    assert latency_outliers(few, policy, 1.0) == {}


def test_tally_takes_each_interval_once() -> None:
    """What is taken is counted anew."""
    tally = Tally()
    tally.succeeded(0.0, 0.5)
    tally.succeeded(0.0, None)
    tally.failed(0.0)

    assert tally.take() == Sample(2, 1, 0.5, 1)
    assert tally.take() == Sample(0, 0)
