"""The chairman rule while ids leave and come back keeps its bounds, and does what it says."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_models import harmonic, margin, named

from balancers.structures import ChairmanSchedule

weights = st.one_of(
    st.lists(st.integers(1, 9), min_size=2, max_size=7),
    st.lists(st.floats(0.01, 100), min_size=2, max_size=7),
    st.builds(lambda n: [1] * n, st.integers(2, 12)),
).map(named)
ids = st.frozensets(st.integers(0, 11).map("e{}".format), max_size=6)
histories = st.lists(
    st.one_of(
        st.tuples(st.just("pick"), st.integers(1, 12)),
        st.tuples(st.just("flip"), ids),
        st.tuples(st.just("starve"), st.integers(1, 30)),
        st.tuples(st.just("undo"), st.integers(0, 6)),
        st.tuples(st.just("copy"), st.none()),
    ),
    max_size=25,
)


def lags_of(schedule):
    """The lags of those in, exactly."""
    lags, unit = schedule.numerators()
    return {id_: Fraction(lag, unit) for id_, lag in sorted(lags.items())}


def follows_the_rule(picked, before, moved, share, total):
    """Whether it is the overdue of the largest lag, else the released due first.

    But for 2**-60, as times are rounded down by next to nothing.
    """
    d, e, little = margin(len(before)), margin(total), Fraction(1, 2**60)
    overdue = [lag for lag in before.values() if lag > 1 - e]
    if overdue:
        return before[picked] == max(overdue)
    due = {id_: (1 - e - lag) / share[id_] for id_, lag in before.items()}
    released = [id_ for id_ in before if before[id_] + share[id_] * moved >= d]
    return picked in released and due[picked] <= min(due[id_] for id_ in released) + little


@settings(max_examples=150)
@given(weights, st.integers(0, 60), histories)
def test_bounds_hold_whoever_leaves_and_comes_back(weights, phase, history):
    """Lags stay in [-(1 - D), 1 - E + H(N-1)]; others keep theirs; all earn by their rates."""
    schedule = ChairmanSchedule(weights, phase=phase).paced({})
    order, total = list(weights), sum(map(Fraction, weights.values()))
    share = {id_: Fraction(weight) / total for id_, weight in weights.items()}
    high = 1 - margin(len(order)) + harmonic(len(order) - 1)
    low, starved = min(lags_of(schedule).values()), False
    for action, argument in history:
        before = lags_of(schedule)
        if action == "flip":
            known = argument & set(order)
            leaving = known & set(before)
            if len(leaving) == len(before):
                continue
            schedule.leave(leaving)
            schedule.enter(known - leaving)
            after = lags_of(schedule)
            assert set(after) == set(before) ^ known
            assert all(after[id_] == before[id_] for id_ in set(before) & set(after))
            assert not any(after[id_] for id_ in known - leaving)
        elif action == "undo":
            ahead = schedule.run(argument)
            schedule.retract(Counter(ahead))
            assert lags_of(schedule) == before
            assert schedule.run(argument) == ahead
        elif action == "starve":
            # Whoever is left out falls behind by more than any change would ever cause.
            starved = True
            out = set(sorted(before)[1:])
            for _ in range(argument):
                assert schedule.next(out) not in out
            low = min(low, *lags_of(schedule).values())
        elif action == "copy":
            twin = schedule.copy()
            assert twin.run(5) == schedule.copy().run(5)
            twin._check()
        else:
            for _ in range(argument):
                before = lags_of(schedule)
                picked = schedule.next()
                after = lags_of(schedule)
                gains = {id_: after[id_] + (id_ == picked) - before[id_] for id_ in before}
                moved = gains[picked] / share[picked]
                assert all(gain == share[id_] * moved for id_, gain in gains.items())
                turn = 1 / sum(share[id_] for id_ in before)
                released = [i for i in before if before[i] + share[i] * turn >= margin(len(before))]
                if not released:
                    assert moved > turn
                elif sum(before.values()) <= 0:
                    assert abs(turn - moved) < Fraction(1, 2**100)
                else:  # behind together: time waits
                    owed = max(0, sum(before.values()) - 1)
                    assert abs(sum(after.values()) - owed) < Fraction(1, 2**90)
                assert follows_the_rule(picked, before, moved, share, len(order))
                low = min(low, -(1 - margin(len(before))))
                assert all(low <= lag for lag in after.values())
                assert starved or max(after.values()) <= high
                assert after[picked] >= -(1 - margin(len(before))) or len(before) == 1
        schedule._check()


@given(weights, st.integers(0, 60), st.integers(0, 40))
def test_with_nobody_out_it_is_the_schedule(weights, phase, picks):
    """While nobody leaves, the picks are those of the schedule it was made of."""
    schedule = ChairmanSchedule(weights, phase=phase)
    schedule.run(picks)
    other = schedule.paced({})
    assert other.run(40) == schedule.run(40)
    assert schedule.lags() == lags_of(other)


@given(weights, st.lists(ids, max_size=10))
def test_exclude_goes_to_the_rest(weights, excludes):
    """A pick with exclude goes to one of the others, or says that there is none."""
    schedule = ChairmanSchedule(weights).paced({})
    schedule.leave(["e0"])
    for exclude in excludes:
        if set(weights) - exclude - {"e0"}:
            assert schedule.next(exclude) not in exclude | {"e0"}
        else:
            with pytest.raises(LookupError):
                schedule.next(exclude)
        schedule._check()


@given(weights, st.integers(0, 60), st.integers(0, 90), st.integers(0, 30))
def test_a_schedule_goes_back_before_it_is_paced(weights, phase, picks, unused):
    """Picks nobody used are taken back on the way, and from a cycle later on."""
    schedule = ChairmanSchedule(weights, phase=phase)
    schedule.run(picks)
    lags = schedule.lags()
    ahead = schedule.run(unused)
    other = schedule.paced(Counter(ahead))
    other._check()
    assert lags_of(other) == lags
    assert other.run(unused) == ahead
    assert not other.run(0)  # from now on those picks are not of the last run
    other.retract(Counter(ahead))
    other._check()
    assert lags_of(other) == lags
