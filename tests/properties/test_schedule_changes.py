"""Weighted schedules whose weights and members change: lags are carried, bounds hold."""

from collections import Counter
from copy import deepcopy
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings, target
from hypothesis import strategies as st
from schedule_models import ChairmanModel, LagBook, few, harmonic, margin, named, pour_model

from balancers.structures import ChairmanSchedule, SmoothSchedule

SCHEDULES = [ChairmanSchedule, SmoothSchedule]

small = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9), max_size=6)
"""Integer weights whose lags keep short denominators; zero weights, empty sets included."""


operations = st.lists(
    st.one_of(
        st.tuples(st.just("next"), st.just(())),
        st.tuples(st.just("next"), st.just(())),
        st.tuples(st.just("next"), st.frozensets(st.sampled_from("abcdefz"), max_size=5)),
        st.tuples(st.just("update"), small),
        st.tuples(st.just("run"), st.tuples(st.integers(0, 6), st.frozensets(st.integers(0, 5)))),
        st.tuples(
            st.just("starve"),
            st.tuples(st.integers(1, 12), st.frozensets(st.sampled_from("abcdef"), min_size=1)),
        ),
        st.tuples(st.just("copy"), st.none()),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(small, st.integers(0, 100), operations)
def test_any_history_follows_the_rule(weights, phase, history):
    """Through picks, exclusions, runs taken back in part and changes, all is as in the model."""
    schedule = ChairmanSchedule(weights, phase=phase)
    model = ChairmanModel(weights, phase)
    for action, argument in history:
        if action == "next":
            expected = model.choose(argument)
            if expected is None:
                with pytest.raises(LookupError):
                    schedule.next(argument)
            else:
                assert schedule.next(argument) == expected
                model.charge(expected)
        elif action == "starve":
            # Whoever is left out falls behind by more than a change of weights would ever cause.
            count, starved = argument
            for _ in range(count if set(model.share) - starved else 0):
                expected = model.choose(starved)
                assert schedule.next(starved) == expected
                model.charge(expected)
        elif action == "update":
            schedule.update(argument)
            model.update(argument)
        elif action == "run":
            count, unused = argument
            ahead = schedule.run(count if model.share else 0)
            trial = deepcopy(model)
            for id_ in ahead:
                assert trial.choose() == id_
                trial.charge(id_)
            schedule.retract(Counter(id_ for i, id_ in enumerate(ahead) if i in unused))
            for i, id_ in enumerate(ahead):
                if i not in unused:
                    model.charge(id_)
        else:
            twin = schedule.copy()
            for _ in range(3 if model.share else 0):
                twin.next(())
            twin._check()
        schedule._check()
        lags = schedule.lags()
        assert list(lags) == list(model.weights)
        # Beyond that the schedule may have rounded, and ties may fall otherwise.
        assume(max((lag.denominator for lag in model.lags.values()), default=1) < 2**100)
        assert {id_: lag for id_, lag in lags.items() if id_ in model.share} == model.lags


@pytest.mark.parametrize("weights", [(1, 3, 9, 9), (9, 2, 1, 5), (7, 1, 6, 20), (4, 3, 2, 1)])
@pytest.mark.parametrize("starved", ["ab", "ac", "bcd"])
def test_the_overdue_are_served_by_their_lags(weights, starved):
    """However long some were left out, the overdue go by the largest lag from the next pick on."""
    for count in range(1, 25):
        schedule = ChairmanSchedule(dict(zip("abcd", weights, strict=True)))
        model = ChairmanModel(schedule.quota())
        for exclude in [starved] * count + [""] * 8:
            expected = model.choose(set(exclude))
            assert schedule.next(set(exclude)) == expected
            model.charge(expected)


levels = st.one_of(st.floats(min_value=1e-6, max_value=1e6), st.sampled_from([1.0, 1e-9, 3.0]))


@st.composite
def changing_weights(draw):
    """Weight vectors for fixed members, one for each step."""
    n = draw(st.integers(1, 7))
    return draw(st.lists(st.lists(levels, min_size=n, max_size=n).map(named), min_size=1))


def bounds(kind, n):
    """Return the proved (least, largest) lag of n fixed members under any weights."""
    if kind is SmoothSchedule:
        return -(1 - Fraction(1, n)), harmonic(n) - 1
    if n == 1:
        return Fraction(0), Fraction(0)
    return -(1 - margin(n)), 1 - margin(n) + harmonic(n - 1)


@pytest.mark.parametrize("kind", SCHEDULES)
@settings(max_examples=200)
@given(steps=changing_weights())
def test_lag_is_bounded_under_any_weights(kind, steps):
    """With fixed members and weights changed before each pick, lag stays within the bounds."""
    schedule = kind(steps[0])
    low, high = bounds(kind, len(steps[0]))
    assert high < harmonic(len(steps[0])) + 1
    book = LagBook(steps[0])
    for weights in steps:
        schedule.update(weights)
        book.count(weights, schedule.next())
        assert all(low <= lag <= high for lag in book.lags.values())
    schedule._check()
    # Rounded down, and by next to nothing.
    for id_, lag in schedule.lags().items():
        assert 0 <= book.lags[id_] - lag < Fraction(1, 2**100)
    target(float(max(book.lags.values())), label="behind")
    target(float(-min(book.lags.values())), label="ahead")


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("n", [2, 3, 10, 60])
@pytest.mark.parametrize("spare", [1e-9, 1e-3])
def test_the_worst_adversary_is_held(kind, n, spare):
    """Weights spread over those not picked yet force about H(n) - 1, and no more than the bound.

    Afterwards fixed weights go on from there, overdue ids first, still within the bound, and the
    chairman schedule comes back to its own bound.
    """
    ids = [f"e{place}" for place in range(n)]
    schedule, book, waiting = kind(ids), LagBook(ids), set(ids)
    low, high = bounds(kind, n)
    while len(waiting) > 1:
        weights = {id_: 1.0 if id_ in waiting else spare for id_ in ids}
        schedule.update(weights)
        picked = schedule.next()
        book.count(weights, picked)
        waiting.discard(picked)
        assert all(low <= lag <= high for lag in book.lags.values())
    if spare < 1e-6:
        assert max(book.lags.values()) > harmonic(n) - 1 - Fraction(1, 1000)
    weights = {id_: [0.3, 1.7, 2.2, 9.0][place % 4] for place, id_ in enumerate(ids)}
    schedule.update(weights)
    for _ in range(12 * n):
        book.count(weights, schedule.next())
        assert all(low <= lag <= high for lag in book.lags.values())
    schedule._check()
    if kind is ChairmanSchedule:
        assert all(abs(lag) <= 1 - margin(n) for lag in book.lags.values())


@settings(max_examples=60)
@given(small, st.lists(st.tuples(small, st.integers(0, 9)), max_size=5))
def test_layout_after_changes_is_what_follows(weights, changes):
    """After changes too, a layout that is offered is what next() gives; offers are the rule."""
    schedule = ChairmanSchedule(weights)
    for changed, picks in changes:
        schedule.update(changed)
        for _ in range(picks if schedule.period else 0):
            schedule.next()
    plan = schedule.layout()
    assert (plan is None) == (schedule.period == 0)
    if plan is not None:
        expected = [*plan[0], *plan[1], *plan[1]]
        assert [schedule.next() for _ in expected] == expected


@pytest.mark.parametrize("kind", SCHEDULES)
def test_integers_stay_short_under_endless_churn(kind):
    """Lags of 2,000 sets of float weights that come and go keep bounded denominators."""
    schedule = kind({})
    for turn in range(2_000):
        members = named([1 / (3 + turn * k % 17) + k for k in range(1, 3 + turn % 5)])
        schedule.update(members)
        for _ in range(turn % 3):
            schedule.next()
    schedule._check()
    assert max(lag.denominator for lag in schedule.lags().values()).bit_length() <= 192
    assert all(abs(lag) < 3 for lag in schedule.lags().values())
    assert 0 <= -sum(schedule.lags().values()) < Fraction(1, 2**100)


@pytest.mark.parametrize("kind", SCHEDULES)
@given(weights=few, scale=st.sampled_from([2.0, 0.5, 1024.0]), picks=st.integers(0, 20))
def test_the_same_proportions_change_nothing(kind, weights, scale, picks):
    """An update to a common multiple of the weights leaves the sequence as it would have been."""
    schedule, other = kind(weights), kind(weights)
    for _ in range(picks):
        assert schedule.next() == other.next()
    schedule.update({id_: weight * scale for id_, weight in weights.items()})
    assert [schedule.next() for _ in range(30)] == [other.next() for _ in range(30)]


@pytest.mark.parametrize("kind", SCHEDULES)
def test_leavers_hand_their_lag_on_and_joiners_start_at_0(kind):
    """A removed id's lag is poured over the survivors, a joiner has none; weight 0 is leaving."""
    seen = set()
    for picks in range(10):
        schedule = kind({"a": 5, "b": 3, "c": 1, "d": 1})
        for _ in range(picks):
            schedule.next()
        before = schedule.lags()
        kept = {id_: before[id_] for id_ in "bcd"}
        schedule.update({"e": 7, "b": 3, "c": 1, "d": 1, "a": 0})
        after = schedule.lags()
        assert after.pop("e") == 0
        assert after.pop("a") == 0
        assert after == pour_model(kept, before["a"])
        seen.add((before["a"] > 0) - (before["a"] < 0))
    assert seen == {-1, 0, 1}
