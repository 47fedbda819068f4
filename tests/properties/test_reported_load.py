"""Weights from the servers' own reports: gRFC A58's formula, dates and mean, by a manual clock."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import Adaptive, Endpoint, Outcome, WeightedRoundRobin
from balancers.structures.reported_load import (
    LoadReports,
    ReportedLoad,
    blended,
    reported_weight,
)
from balancers.testing import ManualClock

rates = st.floats(0.01, 1e5)
loads = st.floats(1e-3, 10.0)


@pytest.mark.parametrize(
    ("qps", "eps", "utilisation", "penalty", "weight"),
    [
        # By hand from the text of A58: qps / (utilisation + eps/qps · penalty).
        (100.0, 0.0, 0.5, 1.0, 200.0),
        (100.0, 25.0, 0.5, 1.0, 100.0 / 0.75),
        (100.0, 25.0, 0.5, 2.0, 100.0),
        (100.0, 25.0, 0.5, 0.0, 200.0),
        (1000.0, 500.0, 0.5, 1.0, 1000.0),
        (10.0, 10.0, 0.25, 1.0, 8.0),
        (10.0, 0.0, 2.0, 1.0, 5.0),  # a utilisation above 1 is legal
        # "if new_weight == 0 return": what was not measured says nothing.
        (100.0, 10.0, 0.0, 1.0, 0.0),
        (0.0, 0.0, 0.5, 1.0, 0.0),
    ],
)
def test_the_formula(
    qps: float, eps: float, utilisation: float, penalty: float, weight: float
) -> None:
    """The weight is A58's, and 0 where rate or utilisation is 0."""
    assert reported_weight(qps, eps, utilisation, penalty) == pytest.approx(weight, rel=1e-12)


@given(rates, st.floats(0.0, 1.0), st.floats(0.0, 1.0), loads, loads, st.floats(0.0, 10.0))
def test_more_utilisation_or_errors_never_weigh_more(
    qps: float, fails: float, more: float, low: float, high: float, penalty: float
) -> None:
    """At one rate the weight falls with utilisation and errors; twice the utilisation halves it."""
    fails, more = sorted((fails, more))
    low, high = sorted((low, high))
    weight = reported_weight(qps, qps * fails, low, penalty)
    assert reported_weight(qps, qps * more, high, penalty) <= weight * (1 + 1e-12)
    assert reported_weight(qps, 0.0, 2 * low) == pytest.approx(reported_weight(qps, 0.0, low) / 2)


@given(st.dictionaries(st.sampled_from("abcdef"), st.tuples(loads, st.booleans()), min_size=2))
def test_the_unknown_get_the_mean(pool: dict[str, tuple[float, bool]]) -> None:
    """With equal weights given, known ones keep their proportions, the unknown get the mean."""
    known = {name: 1 / load for name, (load, reports) in pool.items() if reports}
    found = blended(dict.fromkeys(pool, 3.0), known)
    assert list(found) == list(pool)
    if len(known) < 2:
        assert set(found.values()) == {3.0}
        return
    mean = sum(map(Fraction, known.values())) / len(known)
    for name, weight in found.items():
        part = Fraction(known[name]) / mean if name in known else Fraction(1)
        part = min(max(part, Fraction(1, 10)), Fraction(10))
        assert abs(Fraction(weight) * 16 / 3 - part) <= Fraction(1, 8192) + Fraction(1, 10**12)


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.sampled_from([0.0, 5e-324, 1e-9, 1.0, 3.0, 1.7e308]),
        min_size=2,
    ),
    st.dictionaries(st.sampled_from("abcd"), st.floats(1e-12, 1e15)),
)
def test_any_weights_given_stay_weights(given: dict[str, float], known: dict[str, float]) -> None:
    """Weight 0 stays 0, any other stays positive and finite, whatever is given or reported."""
    found = blended(given, known)
    for name, weight in given.items():
        assert (found[name] > 0.0) is (weight > 0.0)
        assert math.isfinite(found[name])
    level = blended(given, {name: weight for name, weight in given.items() if weight})
    positive = [name for name, weight in given.items() if 1e-9 <= weight <= 3.0]
    for name in positive:  # who reports what it was given keeps its part
        assert level[name] / level[positive[0]] == pytest.approx(
            given[name] / given[positive[0]], rel=1e-3
        )


def reporting(
    reports: LoadReports, rules: ReportedLoad, begin: float, seconds: float, load: float | None
) -> float:
    """Have ten requests a second end, each with a report; return when the last ended."""
    steps = round(seconds * 10)
    for step in range(steps + 1):
        reports.observe(begin + step / 10, False, load, rules)
    return begin + steps / 10


def test_blackout_expiry_and_blackout_again() -> None:
    """A weight is used from blackout after the first report to expiry after the last one."""
    rules = ReportedLoad(blackout=10.0, expiry=180.0)
    reports = LoadReports()
    # Nothing that a report could be measured by: neither the first request nor a load of 0.
    reports.observe(99.8, False, 0.5, rules)
    reports.observe(99.9, False, 0.0, rules)
    assert reports.weight(1000.0, rules) is None
    last = reporting(reports, rules, 100.0, 20.0, 0.5)
    assert reports.weight(109.9, rules) is None
    assert reports.weight(110.0, rules) == pytest.approx(20.0, rel=0.02)
    assert reports.utilisation == pytest.approx(0.5)
    # Requests without a report, or with a load of 0, prolong nothing.
    reporting(reports, rules, last, 179.0, 0.0)
    reporting(reports, rules, last + 179.0, 1.0, None)
    assert reports.weight(last + 179.9, rules) == pytest.approx(20.0, rel=0.02)
    assert reports.weight(last + 180.0, rules) is None
    begin = last + 200.0
    reporting(reports, rules, begin, 20.0, 2.0)
    assert reports.weight(begin + 9.9, rules) is None
    assert reports.weight(begin + 20.0, rules) == pytest.approx(5.0, rel=0.25)


def test_what_was_reported_before_a_gap_is_forgotten() -> None:
    """However long the window, the mean is over reports without a gap of ``expiry``."""
    rules = ReportedLoad(expiry=30.0, window=1000.0)
    reports = LoadReports()
    last = reporting(reports, rules, 0.0, 20.0, 0.5)
    assert reports.utilisation == pytest.approx(0.5)
    reporting(reports, rules, last + 30.0, 20.0, 2.0)
    assert reports.utilisation == pytest.approx(2.0)


@given(st.floats(0.1, 100.0), loads, st.integers(0, 9), st.floats(0.0, 3.0))
def test_the_rate_is_what_was_seen(rate: float, load: float, failing: int, penalty: float) -> None:
    """At an even rate and load the weight is the formula's, within 1 %, failures aside."""
    rules = ReportedLoad(window=10.0, blackout=0.0, penalty=penalty)
    reports = LoadReports()
    for step in range(max(40, round(50 * rate))):
        failed = step % 10 < failing
        reports.observe(step / rate, failed, None if failed else load, rules)
    weight = reports.weight(step / rate, rules)
    if weight is None or rate < 3.0:  # too few requests in a window to tell the rate of errors
        return
    expected = reported_weight(rate, rate * failing / 10, load, penalty)
    assert weight == pytest.approx(expected, rel=0.03 + 0.5 / rate if failing else 0.01)


def play(
    balancer: Adaptive | WeightedRoundRobin,
    clock: ManualClock,
    seconds: float,
    cost: dict[str, float],
    failing: str = "",
    memory: float = 1.0,
) -> Counter[str]:
    """Send 100 requests a second to servers each of which they cost some utilisation.

    Servers report their mean utilisation over about ``memory`` seconds.
    """
    counts: Counter[str] = Counter()
    used: dict[str, float] = dict.fromkeys(cost, 0.0)
    for _ in range(round(seconds * 100)):
        clock.advance(0.01)
        for name in used:
            used[name] *= math.exp(-0.01 / memory)
        lease = balancer.pick()
        name = lease.endpoint.id
        counts[name] += 1
        outcome = Outcome.FAILURE if name == failing else Outcome.SUCCESS
        # This request, at the very edge of what it remembers, is half in it.
        lease.done(outcome, load=cost[name] * (used[name] + 0.5) / memory)
        used[name] += 1.0
    return counts


def test_turns_follow_capacity() -> None:
    """A server that a request costs twice the utilisation gets half the turns, within 2 %."""
    clock = ManualClock()
    balancer = WeightedRoundRobin(
        ["a", "b", "c"], phase=0, clock=clock, rng=Random(1), reported_load=ReportedLoad()
    )
    cost = {"a": 0.005, "b": 0.01, "c": 0.02}
    before = play(balancer, clock, 10.0, cost)
    assert max(before.values()) - min(before.values()) <= 1  # blackout
    play(balancer, clock, 50.0, cost)
    counts = play(balancer, clock, 20.0, cost)
    assert counts["a"] == pytest.approx(2 * counts["b"], rel=0.02)
    assert counts["b"] == pytest.approx(2 * counts["c"], rel=0.02)
    details = {view.endpoint.id: view.details for view in balancer.snapshot().endpoints}
    assert details["a"]["reported_weight"] == pytest.approx(200.0, rel=0.03)
    assert details["a"]["utilisation"] == pytest.approx(0.2857, rel=0.05)
    balancer._check()


def test_a_server_that_fails_is_not_idle() -> None:
    """With penalty 1 one that fails at a hundredth of the cost gets fewer turns, not more."""
    counts = {}
    for penalty in (0.0, 1.0):
        clock = ManualClock()
        balancer = WeightedRoundRobin(
            ["a", "b", "c"],
            phase=0,
            clock=clock,
            rng=Random(1),
            reported_load=ReportedLoad(penalty=penalty),
        )
        cost = {"a": 0.0001, "b": 0.01, "c": 0.01}
        play(balancer, clock, 60.0, cost, failing="a")
        counts[penalty] = play(balancer, clock, 20.0, cost, failing="a")["a"] / 2000
    assert counts[0.0] > 0.8
    assert counts[1.0] < 0.25


def test_expiry_returns_to_the_mean() -> None:
    """Where reports end, turns are even again once they are too old; weights given come back."""
    clock = ManualClock()
    rules = ReportedLoad(blackout=1.0, expiry=30.0)
    members = [Endpoint("a", weight=1.0), Endpoint("b", weight=2.0)]
    balancer = WeightedRoundRobin(members, phase=0, clock=clock, rng=Random(1), reported_load=rules)
    counts = play(balancer, clock, 30.0, {"a": 0.02, "b": 0.02})
    assert counts["a"] == pytest.approx(counts["b"], rel=0.06)  # as reported, not as given
    counts = play(balancer, clock, 20.0, {"a": 0.0, "b": 0.0})
    assert counts["a"] == pytest.approx(counts["b"], rel=0.02)
    play(balancer, clock, 11.0, {"a": 0.0, "b": 0.0})
    counts = play(balancer, clock, 20.0, {"a": 0.0, "b": 0.0})
    assert counts["b"] == pytest.approx(2 * counts["a"], rel=0.02)


def test_a_newcomer_gets_the_mean_until_it_is_known() -> None:
    """Who joins a reporting pool gets the mean of the known while its blackout lasts."""
    clock = ManualClock()
    balancer = WeightedRoundRobin(
        ["a", "b"], phase=0, clock=clock, rng=Random(1), reported_load=ReportedLoad()
    )
    cost = {"a": 0.005, "b": 0.015, "new": 0.0}
    play(balancer, clock, 60.0, cost)
    balancer.update(["a", "b", "new"])
    counts = play(balancer, clock, 20.0, cost)
    assert counts["new"] == pytest.approx(2000 / 3, rel=0.02)
    assert counts["a"] == pytest.approx(3 * counts["b"], rel=0.05)


def test_weights_change_once_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests report, the schedule is made anew at most once a period."""
    clock = ManualClock()
    balancer = WeightedRoundRobin(
        ["a", "b"], clock=clock, rng=Random(1), reported_load=ReportedLoad(period=2.5)
    )
    times: list[float] = []
    change = balancer._turns.change
    monkeypatch.setattr(
        type(balancer._turns),
        "change",
        lambda self, weights, cells: (times.append(clock()), change(weights, cells)),
    )
    play(balancer, clock, 20.0, {"a": 0.01, "b": 0.02})
    assert 7 <= len(times) <= 9
    assert all(b - a >= 2.5 - 1e-6 for a, b in pairwise(times))


def test_what_is_not_asked_for_is_not_learned() -> None:
    """Without ``reported_load`` loads change nothing, and leases are the plain ones."""
    clock = ManualClock()
    plain = WeightedRoundRobin(["a", "b"], phase=0, clock=clock)
    counts = play(plain, clock, 40.0, {"a": 0.01, "b": 0.03})
    assert counts["a"] == counts["b"]
    lease = plain.pick()
    assert type(lease).__name__ == "Pick"
    lease.done()
    assert plain.snapshot().endpoints[0].details == {}


def test_an_absurd_load_passes() -> None:
    """The largest float as a load is taken for a million, and forgotten with the window."""
    rules = ReportedLoad()
    reports = LoadReports()
    last = reporting(reports, rules, 0.0, 1.0, 1.7e308)
    assert reports.utilisation == pytest.approx(1e6)
    reporting(reports, rules, last, 300.0, 0.5)
    assert reports.utilisation == pytest.approx(0.5)


def test_a_cancelled_request_says_nothing() -> None:
    """Neither rate nor load of a lease that is cancelled is learned."""
    clock = ManualClock()
    balancer = WeightedRoundRobin(
        ["a"], clock=clock, rng=Random(1), reported_load=ReportedLoad(blackout=0.0)
    )
    for outcome in (Outcome.SUCCESS, Outcome.CANCELLED):
        for _ in range(100):
            clock.advance(0.1)
            balancer.pick().done(outcome, load=0.5 if outcome is Outcome.SUCCESS else 5.0)
            details = balancer.snapshot().endpoints[0].details
    assert details["utilisation"] == pytest.approx(0.5)
    assert details["reported_weight"] == pytest.approx(20.0, rel=0.01)


@pytest.mark.parametrize("load", [-0.1, math.nan, math.inf])
def test_a_bad_load_raises_and_leaves_the_lease_open(load: float) -> None:
    """A load that is negative or not finite is refused, and nothing is learned or settled."""
    balancer = WeightedRoundRobin(["a", "b"], rng=Random(1), reported_load=ReportedLoad())
    lease = balancer.pick()
    with pytest.raises(ValueError, match="load must be finite"):
        lease.done(load=load)
    assert sum(view.in_flight for view in balancer.snapshot().endpoints) == 1
    assert lease.done(load=1e308)
    with pytest.raises(TypeError, match="reported_load"):
        WeightedRoundRobin(["a"], reported_load=True)  # type: ignore[arg-type]


def test_bad_rules() -> None:
    """Times and factors out of range are refused by name."""
    for name in ("blackout", "expiry", "period", "penalty", "window"):
        for value in (-1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match=name):
                ReportedLoad(**{name: value})
        with pytest.raises(TypeError, match=name):
            ReportedLoad(**{name: True})
    for name in ("expiry", "window", "period"):
        with pytest.raises(ValueError, match=name):
            ReportedLoad(**{name: 0.0})


def test_adaptive_weighs_by_reports() -> None:
    """``Adaptive`` divides scores by the same weights, and caps shares by them."""
    clock = ManualClock()
    cost = {"a": 0.005, "b": 0.01, "c": 0.02}
    shares = {}
    for rules in (None, ReportedLoad()):
        balancer = Adaptive(list(cost), clock=clock, rng=Random(1), reported_load=rules)
        # Few requests go to some: they must not be told of the busy moments alone.
        play(balancer, clock, 120.0, cost, memory=10.0)
        weights = {cell.endpoint.id: gauge.weight for cell, gauge in balancer._board.gauges.items()}
        shares[rules] = {name: weight / sum(weights.values()) for name, weight in weights.items()}
        balancer._board._check()
    assert set(shares[None].values()) == {1 / 3}
    reported = shares[ReportedLoad()]
    assert reported["a"] == pytest.approx(2 * reported["b"], rel=0.03)
    assert reported["b"] == pytest.approx(2 * reported["c"], rel=0.03)
    details = balancer.snapshot().endpoints[0].details
    assert details["reported_weight"] == pytest.approx(200.0, rel=0.03)
    # A request without a report is one all the same.
    with balancer.pick() as lease:
        clock.advance(1.0)
    state = lease._cell.fact(LoadReports, LoadReports)._state
    assert state.stamp == clock()
    assert state.last < clock()
    # Weights given come back when reports have ended, and are the base of those reported.
    balancer.update([Endpoint("a"), Endpoint("b"), Endpoint("c", weight=0.0)])
    assert {cell.endpoint.id for cell in balancer._board.gauges} == {"a", "b"}
    play(balancer, clock, 200.0, {"a": 0.0, "b": 0.0})
    assert {gauge.weight for gauge in balancer._board.gauges.values()} == {1.0}
