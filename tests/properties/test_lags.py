"""The parts under the weighted schedules: carried lags, and the largest of rising numbers."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_models import harmonic, pour_model, shares

from balancers.structures.lags import carry_lags, pour
from balancers.structures.rising import RisingMax


@given(
    st.lists(st.integers(-50, 50), max_size=8),
    st.integers(-300, 300),
)
def test_pour_finds_the_level(levels, amount):
    """Pouring adds exactly the amount and equals the search over every number of ids."""
    numerators, parts = pour(levels, amount)
    poured = {str(place): Fraction(top, parts) for place, top in enumerate(numerators)}
    before = {str(place): Fraction(level) for place, level in enumerate(levels)}
    assert poured == pour_model(before, Fraction(amount))
    if levels:
        assert sum(poured.values()) == sum(levels) + amount


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(-(2**220), 2**220), min_size=1),
    st.integers(1, 2**220),
    st.integers(1, 2**220),
)
def test_carried_lags_are_exact_or_rounded_down(lags, unit, base):
    """Carrying keeps a unit that is a multiple of base, and rounds down by less than 2**-128."""
    carried, target_unit = carry_lags(lags, unit, [*lags, "z"], base)
    assert target_unit % base == 0
    assert target_unit.bit_length() <= max(192, 129, base.bit_length())
    assert carried.pop() == 0
    for before, after in zip(lags.values(), carried, strict=True):
        lost = Fraction(before, unit) - Fraction(after, target_unit)
        assert 0 <= lost < Fraction(1, 2**128)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(-50, 50), st.integers(1, 40), st.integers(0, 5)),
        max_size=60,
    )
)
def test_rising_max_is_the_maximum(actions):
    """pop() always takes the line that is highest now, the least index among equals."""
    rising, lines, now = RisingMax(), {}, 0
    for index, (push, offset, rate, pause) in enumerate(actions):
        now += pause
        if push or not lines:
            rising.push(index, offset, rate, now)
            lines[index] = (offset, rate)
        else:
            best = max(lines, key=lambda i: (lines[i][0] + lines[i][1] * now, -i))
            assert rising.pop(now) == best
            del lines[best]
        rising._check()
        assert sorted(rising) == sorted(lines)
        assert len(rising) == len(lines)
    while lines:
        best = max(lines, key=lambda i: (lines[i][0] + lines[i][1] * now, -i))
        assert rising.pop(now) == best
        del lines[best]
    with pytest.raises(IndexError):
        rising.pop(now)


def test_shares_sum_to_one():
    """The model's own arithmetic: shares are exact and sum to 1."""
    assert sum(shares({"a": 0.1, "b": 0.2, "c": 0}).values()) == 1
    assert all(big > small for small, big in pairwise(map(harmonic, range(1, 5))))
