"""Peak EWMA and least response time: what they learn, and what it does to their choices."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import (
    Endpoint,
    LeastResponseTime,
    NoEligibleEndpointError,
    Outcome,
    PeakEwma,
    Pick,
    PowerOfTwoChoices,
)
from balancers.testing import ManualClock, RecordingObserver
from balancers.testing.binomial import binomial_range

latencies = st.floats(1e-4, 50.0)
POLICIES = [PeakEwma, LeastResponseTime]
both = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)


def teach(balancer: Any, name: str, latency: float, outcome: Outcome = Outcome.SUCCESS) -> None:
    """Have one endpoint answer once."""
    others = {endpoint.id for endpoint in balancer.endpoints} - {name}
    balancer.pick(exclude=others).done(outcome, latency=latency)


def estimate(balancer: Any, name: str) -> float:
    views = {view.endpoint.id: view for view in balancer.snapshot().endpoints}
    latency = views[name].latency
    assert latency is not None
    return float(latency)


@given(
    st.lists(st.tuples(st.floats(0.0, 30.0), latencies, st.booleans()), min_size=1, max_size=8),
    st.floats(0.0, 60.0),
    st.floats(1.0, 30.0),
    st.booleans(),
)
def test_peak_and_decay(
    history: list[tuple[float, float, bool]], idle: float, decay: float, watched: bool
) -> None:
    """The estimate follows the peak law, by explicit latencies and by the clock alike."""
    clock = ManualClock(1e6)
    observer = RecordingObserver() if watched else None
    balancer = PeakEwma(["a"], decay=decay, clock=clock, observer=observer)
    value = None
    for gap, latency, timed in history:
        if timed:
            clock.advance(gap)
            with balancer.pick():
                clock.advance(latency)
            passed = gap + latency
        else:
            clock.advance(gap)
            balancer.pick().done(latency=latency)
            passed = gap
        keep = math.exp(-passed / decay)
        if value is None or latency >= value:
            value = latency
        else:
            value = value * keep + latency * (1 - keep)
        assert estimate(balancer, "a") == pytest.approx(value, rel=1e-6)
    clock.advance(idle)
    assert value is not None
    assert estimate(balancer, "a") == pytest.approx(value * math.exp(-idle / decay), rel=1e-6)
    assert estimate(balancer, "a") == estimate(balancer, "a")


@given(
    st.lists(st.tuples(st.sampled_from("pppddx"), st.integers(0, 99)), max_size=60),
    st.integers(2, 5),
    st.integers(2, 3),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_equal_latencies_give_the_choices_of_p2c(
    steps: list[tuple[str, int]], n: int, choices: int, weighed: bool, seed: int
) -> None:
    """With the same latency everywhere every pick is the one PowerOfTwoChoices makes."""
    members = [Endpoint(str(i), weight=1.0 + (i % 2 if weighed else 0)) for i in range(n)]
    clock = ManualClock()
    plain = PowerOfTwoChoices(members, choices=choices, rng=Random(seed), clock=clock)
    peak = PeakEwma(members, choices=choices, rng=Random(seed), clock=clock)
    for policy in (plain, peak):
        for member in members:
            teach(policy, member.id, 0.25)
    leases: list[tuple[Pick, Pick]] = []
    for what, place in steps:
        if what == "p":
            leases.append((plain.pick(), peak.pick()))
        elif what == "x":
            gone = {str(place % n)}
            leases.append((plain.pick(exclude=gone), peak.pick(exclude=gone)))
        elif leases:
            for lease in leases.pop(place % len(leases)):
                lease.done(latency=0.25)
            continue
        else:
            continue
        assert leases[-1][0].endpoint == leases[-1][1].endpoint
    for pair in leases:
        for lease in pair:
            lease.done(latency=0.25)


@both
@given(data=st.data(), latency=latencies, later=st.floats(0.0, 100.0))
def test_a_failure_never_improves(
    policy: type[PeakEwma], data: st.DataObject, latency: float, later: float
) -> None:
    """After a failure, however fast, the estimate is at least what it would have been."""
    history = data.draw(st.lists(st.tuples(st.sampled_from("ab"), latencies), max_size=6))
    clock = ManualClock()
    told, alone = (policy(["a", "b"], clock=clock, rng=Random(1)) for _ in range(2))
    for name, seen in [("a", 1.0), *history]:
        clock.advance(data.draw(st.floats(0.0, 20.0)))
        for balancer in (told, alone):
            teach(balancer, name, seen)
    clock.advance(data.draw(st.floats(0.0, 20.0)))
    teach(told, "a", latency, Outcome.FAILURE)
    assert estimate(told, "a") >= 5.0 * (1 - 1e-9) or policy is LeastResponseTime
    for pause in (0.0, later):
        clock.advance(pause)
        assert estimate(told, "a") >= estimate(alone, "a") * (1 - 1e-9)


@both
def test_a_fast_failure_is_a_slow_answer(policy: type[PeakEwma]) -> None:
    """An error in 1 ms counts as 5 s, or as ten times what the others take if that is more."""
    for others, expected in ((0.01, 5.0), (20.0, 200.0)):
        balancer = policy(["a", "b"], clock=ManualClock(), rng=Random(1))
        for _ in range(200):
            teach(balancer, "b", others)
        teach(balancer, "a", others)
        for _ in range(3):  # its own penalty does not count as what answers take
            teach(balancer, "a", 0.001, Outcome.FAILURE)
            assert estimate(balancer, "a") == pytest.approx(expected)
        picks = Counter()
        for _ in range(50):
            with balancer.pick() as lease:
                picks[lease.endpoint.id] += 1
        assert picks["a"] == 0


@both
def test_retry_after_is_a_penalty(policy: type[PeakEwma]) -> None:
    """What the server asks for counts as latency, up to 300 s; a cancellation says nothing."""
    balancer = policy(["a", "b"], clock=ManualClock(), rng=Random(1))
    teach(balancer, "a", 0.01)
    teach(balancer, "b", 0.01)
    lease = balancer.pick(exclude=["b"])
    lease.done(Outcome.CANCELLED, latency=9.0)
    assert estimate(balancer, "a") == pytest.approx(0.01)
    balancer.pick(exclude=["b"]).done(Outcome.FAILURE, latency=0.01, retry_after=42.0)
    assert estimate(balancer, "a") == pytest.approx(42.0)
    balancer.pick(exclude=["b"]).done(Outcome.FAILURE, latency=0.01, retry_after=1e6)
    assert estimate(balancer, "a") == pytest.approx(300.0)


@both
def test_an_idle_endpoint_is_tried_again(policy: type[PeakEwma]) -> None:
    """One that was a thousand times slower gets requests again within 15 decays."""
    clock = ManualClock()
    balancer = policy(["a", "b"], clock=clock, rng=Random(1))
    for _ in range(20):
        teach(balancer, "a", 10.0)
        teach(balancer, "b", 0.01)
    names = []
    for _ in range(1500):
        clock.advance(0.1)
        with balancer.pick() as lease:
            clock.advance(0.01)
        names.append(lease.endpoint.id)
    assert "a" not in names[:100]
    assert "a" in names
    assert estimate(balancer, "a") < 0.02


@both
def test_the_unheard_of_hold_one_request(policy: type[PeakEwma]) -> None:
    """While somebody known is drawn beside it, an endpoint that owes its first answer is left."""
    balancer = policy(["a", "b"], clock=ManualClock(), rng=Random(1))
    teach(balancer, "a", 0.5)
    first = balancer.pick(exclude=["a"])
    others = [balancer.pick() for _ in range(20)]
    assert {lease.endpoint.id for lease in others} == {"a"}
    first.done(latency=0.5)
    assert balancer.explain().chosen == Endpoint("b")
    for lease in others:
        lease.done(latency=0.5)


@both
def test_a_cancelled_first_request_leaves_it_unheard_of(policy: type[PeakEwma]) -> None:
    """It owes no answer any more, so that it may be tried as before."""
    balancer = policy(["a", "b"], clock=ManualClock(), rng=Random(1))
    teach(balancer, "a", 0.5)
    balancer.pick(exclude=["a"]).done(Outcome.CANCELLED, latency=9.0)
    held = balancer.pick(exclude=["b"])
    assert balancer.snapshot().endpoints[1].latency is None
    with balancer.pick() as lease:
        assert lease.endpoint.id == "b"
    held.done()


@both
def test_the_unheard_of_hold_one_request_of_any_cost(policy: type[PeakEwma]) -> None:
    """Where costs are told, too, an endpoint that owes its first answer is left."""
    balancer = policy(["a", "b"], clock=ManualClock(), rng=Random(1))
    teach(balancer, "a", 0.5)
    first = balancer.pick(exclude=["a"], cost=0.5)
    others = [balancer.pick(cost=2.0) for _ in range(20)]
    assert {lease.endpoint.id for lease in others} == {"a"}
    for lease in [first, *others]:
        lease.done()


@both
def test_where_all_are_unheard_of_the_least_loaded_wins(policy: type[PeakEwma]) -> None:
    """Before the first answer picks go by load alone, and nobody is left out."""
    balancer = policy(["a", "b"], clock=ManualClock(), rng=Random(1))
    leases = [balancer.pick() for _ in range(10)]
    assert Counter(lease.endpoint.id for lease in leases) == {"a": 5, "b": 5}
    for lease in leases:
        lease.done(Outcome.CANCELLED)
    assert balancer.pick().done(latency=1.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("pppdd"), st.integers(0, 99), latencies, st.floats(0.0, 5.0)),
        max_size=50,
    ),
    st.integers(1, 5),
    st.integers(0, 2**32),
)
def test_least_response_time_is_the_least(
    steps: list[tuple[str, int, float, float]], n: int, seed: int
) -> None:
    """Once all have answered, who is picked minimises latency × (load + 1)/weight of all."""
    clock = ManualClock(1e5)
    members = [Endpoint(str(i), weight=1.0 + i % 3) for i in range(n)]
    balancer = LeastResponseTime(members, clock=clock, rng=Random(seed))
    for member in members:
        teach(balancer, member.id, 1.0 + int(member.id))
    leases: list[Pick] = []
    for what, place, latency, gap in steps:
        clock.advance(gap)
        if what == "d":
            if leases:
                leases.pop(place % len(leases)).done(latency=latency)
            continue
        exclude = {str(place % n)} if place % 4 == 0 and n > 1 else set[str]()
        explained = balancer.explain(exclude=exclude)
        scores = {c.endpoint.id: c.score for c in explained.candidates if c.considered}
        lease = balancer.pick(exclude=exclude)
        leases.append(lease)
        score = scores[lease.endpoint.id]
        assert score is not None
        assert score <= min(s for s in scores.values() if s is not None) * (1 + 1e-6)
        assert explained.chosen is lease.endpoint
        balancer._board._check()
    for lease in leases:
        lease.done(latency=1.0)


def test_least_response_time_with_costs() -> None:
    """With other costs than 1 the least latency × (load + cost)/weight is found by looking."""
    balancer = LeastResponseTime(["a", "b"], clock=ManualClock(), rng=Random(1))
    teach(balancer, "a", 1.0)
    teach(balancer, "b", 3.0)
    leases = [balancer.pick(cost=cost) for cost in (4.0, 4.0, 8.0, 1.0)]
    # 4 against 12, 8 against 12, 16 against 24, then 17 against 3.
    assert [lease.endpoint.id for lease in leases] == ["a", "a", "a", "b"]
    for lease in leases:
        lease.done()


@both
def test_ties_are_even(policy: type[PeakEwma]) -> None:
    """Of five endpoints with one history each gets a fifth of 2,000 serial picks, at 1e-9."""
    clock = ManualClock()
    balancer = policy("abcde".replace("", " ").split(), clock=clock, rng=Random(5))
    for name in "abcde":
        teach(balancer, name, 0.5)
    counts: Counter[str] = Counter()
    for _ in range(2000):
        lease = balancer.pick()
        counts[lease.endpoint.id] += 1
        lease.done(Outcome.CANCELLED)
    low, high = binomial_range(2000, Fraction(1, 5))
    assert all(low <= counts[name] <= high for name in "abcde")


@both
def test_membership(policy: type[PeakEwma]) -> None:
    """Who stays keeps its estimate, who comes back starts afresh, who has left teaches nobody."""
    clock = ManualClock()
    balancer = policy(["a", "b"], clock=clock, rng=Random(1))
    teach(balancer, "a", 2.0)
    teach(balancer, "b", 1.0)
    late = balancer.pick(exclude=["a"])
    balancer.update(["c", "a"])
    assert estimate(balancer, "a") == 2.0
    balancer.update(["a", "b"])
    late.done(latency=9.0)
    views = {view.endpoint.id: view.latency for view in balancer.snapshot().endpoints}
    assert views == {"a": 2.0, "b": None}
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick(exclude=["a", "b"])
    assert balancer.explain(exclude=["a", "b"]).chosen is None


@both
def test_bad_decay(policy: type[PeakEwma]) -> None:
    """A decay that is no positive finite number of seconds is refused."""
    for decay in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="decay"):
            policy(["a"], decay=decay)
    with pytest.raises(TypeError, match="decay"):
        policy(["a"], decay=True)
