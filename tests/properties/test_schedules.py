"""The weighted schedules keep their bounds, exactly, and follow their rules pick by pick."""

import pickle
from collections import Counter
from fractions import Fraction
from math import gcd

import pytest
from hypothesis import given, target
from hypothesis import strategies as st
from schedule_models import (
    ChairmanModel,
    LagBook,
    few,
    margin,
    named,
    shares,
    weight_sets,
)

from balancers.structures import ChairmanSchedule, SmoothSchedule

SCHEDULES = [ChairmanSchedule, SmoothSchedule]
PHASES = st.integers(0, 2**32)


# -- the chairman schedule with fixed weights ------------------------------------------------------


@given(weight_sets, st.one_of(st.just(0), PHASES))
def test_lag_is_within_the_optimal_bound(weights, phase):
    """From any phase, |lag| <= 1 - 1/(2n-2) at every prefix, and 0 for a single id."""
    schedule = ChairmanSchedule(weights, phase=phase)
    bound = 1 - margin(len(weights)) if len(weights) > 1 else 0
    lags = schedule.lags()
    assert sum(lags.values()) == 0
    if phase == 0:
        assert not any(lags.values())
    book = LagBook(weights)
    book.lags.update(lags)
    assert all(abs(lag) <= bound for lag in book.lags.values())
    for _ in range(60):
        book.count(weights, schedule.next())
        assert all(abs(lag) <= bound for lag in book.lags.values())
    assert schedule.lags() == book.lags
    schedule._check()
    target(float(max(map(abs, book.lags.values()))))


@given(weight_sets, PHASES)
def test_windows_are_within_twice_the_bound(weights, phase):
    """From any phase, every window's counts are within 2(1 - D) of the shares."""
    schedule = ChairmanSchedule(weights, phase=phase)
    book = LagBook(weights)
    history = [dict(book.lags)]
    for _ in range(40):
        book.count(weights, schedule.next())
        history.append(dict(book.lags))
    for id_ in weights:
        course = [lags[id_] for lags in history]
        assert max(course) - min(course) <= 2 * (1 - margin(len(weights)))


@given(weight_sets, st.one_of(st.integers(0, 200), PHASES))
def test_a_phase_is_the_state_the_rule_defines(weights, phase):
    """A phase has exactly the lags of the literal definition."""
    assert ChairmanSchedule(weights, phase=phase).lags() == ChairmanModel(weights, phase).lags


@given(weight_sets, st.one_of(st.just(0), PHASES))
def test_picks_are_those_of_the_rule(weights, phase):
    """Every pick is the released job due first in exact fractions; ties go in the order given."""
    schedule = ChairmanSchedule(weights, phase=phase)
    model = ChairmanModel(weights, phase)
    for _ in range(60):
        expected = model.choose()
        model.charge(expected)
        assert schedule.next() == expected


@given(weight_sets, PHASES, st.lists(st.integers(0, 30), max_size=4))
def test_a_run_is_so_many_picks(weights, phase, lengths):
    """run(k) gives what k calls of next() give, and leaves the schedule where they do."""
    one, other = (ChairmanSchedule(weights, phase=phase) for _ in range(2))
    for length in lengths:
        assert one.run(length) == [other.next() for _ in range(length)]
        assert one.lags() == other.lags()
        one._check()


@given(weight_sets, PHASES, st.lists(st.integers(0, 40), max_size=4))
def test_a_run_is_as_many_picks(weights, phase, counts):
    """run(k) gives the next k picks and leaves the schedule where they would."""
    schedule, other = ChairmanSchedule(weights, phase=phase), ChairmanSchedule(weights, phase=phase)
    for count in counts:
        assert schedule.run(count) == [other.next() for _ in range(count)]
        schedule._check()
        assert schedule.lags() == other.lags()


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7).map(named), PHASES)
def test_layout_from_a_phase_is_what_follows(weights, phase):
    """lead_in then cycle for ever is what next() gives, and phase 0 needs no lead_in."""
    schedule = ChairmanSchedule(weights, phase=phase)
    lead_in, cycle = schedule.layout()
    assert len(cycle) == schedule.period == sum(schedule.quota().values())
    assert Counter(cycle) == schedule.quota()
    assert len(lead_in) in {0, len(cycle)}
    assert phase or not lead_in
    expected = list(lead_in) + 3 * list(cycle)
    assert [schedule.next() for _ in expected] == expected


@given(st.lists(st.integers(1, 12), min_size=1, max_size=7).map(named), st.integers(0, 300))
def test_whole_cycles_from_phase_0_return_to_it(weights, steps):
    """The picks from phase 0 have the period of the weights, at every step."""
    schedule = ChairmanSchedule(weights)
    cycle = schedule.layout()[1]
    assert all(schedule.next() == cycle[step % len(cycle)] for step in range(steps))
    if steps % len(cycle) == 0:
        assert not any(schedule.lags().values())


@given(weight_sets)
def test_layout_is_only_offered_for_short_cycles(weights):
    """layout() is None exactly where the period is above the limit, and moves nothing."""
    schedule = ChairmanSchedule(weights)
    quota = schedule.quota()
    assert gcd(*quota.values()) == 1
    assert {id_: Fraction(k, schedule.period) for id_, k in quota.items()} == shares(weights)
    if schedule.period > 200:
        assert schedule.layout(limit=200) is None
    else:
        assert schedule.layout(limit=schedule.period) is not None
        assert schedule.layout(limit=schedule.period - 1) is None
    assert not any(schedule.lags().values())


def test_equal_weights_rotate_and_phases_move_the_start():
    """Equal weights give plain round robin; over a cycle of phases each id is first once."""
    ids = ["a", "b", "c", "d", "e"]
    schedule = ChairmanSchedule(ids)
    assert [schedule.next() for _ in range(10)] == 2 * ids
    assert sorted(ChairmanSchedule(ids, phase=k).next() for k in range(1000, 1005)) == ids


# -- both schedules --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SCHEDULES)
@given(weights=st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0, 0.0, 1, 2.5, 1e9])))
def test_zero_weights_are_never_picked(kind, weights):
    """Nobody of weight 0 is picked; with nobody else LookupError says so, and nothing moves."""
    schedule = kind(weights)
    if not any(weights.values()):
        with pytest.raises(LookupError, match="all weights are 0"):
            schedule.next()
        assert not any(schedule.lags().values())
        schedule.update({"x": 1})
        assert schedule.next() == "x"
        return
    assert all(weights[schedule.next()] for _ in range(50))
    assert list(schedule.lags()) == list(weights)


@pytest.mark.parametrize("kind", SCHEDULES)
@given(weights=few, picks=st.integers(0, 30))
def test_schedules_pickle(kind, weights, picks):
    """A pickled schedule goes on as the original."""
    schedule = kind(weights)
    for _ in range(picks):
        schedule.next()
    twin = pickle.loads(pickle.dumps(schedule))
    assert [twin.next() for _ in range(20)] == [schedule.next() for _ in range(20)]


def test_extreme_weights_stay_exact():
    """Weights at both ends of the floats keep the bound, though one is due in 10**600 picks."""
    weights = {"a": 1e300, "b": 5e-324, "c": 1e300}
    schedule = ChairmanSchedule(weights)
    book = LagBook(weights)
    for _ in range(50):
        book.count(weights, schedule.next())
        assert all(abs(lag) <= Fraction(3, 4) for lag in book.lags.values())
    schedule._check()
