"""Smooth weighted round robin picks exactly as nginx does.

The sequences were worked out by hand from the rule of ngx_http_upstream_round_robin.c (every peer
earns its weight; the first of the richest is picked and pays the total); 5, 1, 1 is the example of
the commit that introduced it in 2012.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_models import NginxModel

from balancers.structures import SmoothSchedule

SEQUENCES = [
    ((5, 1, 1), "0010200"),
    ((1, 1, 1), "012"),
    ((1, 2), "101"),
    ((2, 1), "010"),
    ((1, 1, 5), "2202122"),
    ((4, 2, 1), "0102010"),
    ((3, 2), "01010"),
    ((10, 1), "00000100000"),
    ((6, 3, 1), "0100102010"),
    ((1,), "0"),
    ((2, 4, 6), "210212"),
]


@pytest.mark.parametrize(("weights", "expected"), SEQUENCES)
def test_known_sequences(weights, expected):
    """Two cycles of each weight vector are the known sequence, twice."""
    schedule = SmoothSchedule({str(place): weight for place, weight in enumerate(weights)})
    assert "".join(schedule.next() for _ in range(2 * len(expected))) == 2 * expected


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 7))
def test_equals_the_loop_of_nginx(weights, scale):
    """The schedule is the literal loop, step by step, whatever common factor the weights have."""
    named = {f"s{place}": weight * scale for place, weight in enumerate(weights)}
    schedule, model = SmoothSchedule(named), NginxModel(named)
    for _ in range(2 * sum(weights) + 3):
        assert schedule.next() == model.next()


def test_lag_is_nginx_current_weight():
    """After every pick an id's lag is nginx's current_weight over the total weight."""
    named = {"a": 7, "b": 3, "c": 2, "d": 2}
    schedule, model = SmoothSchedule(named), NginxModel(named)
    for _ in range(30):
        schedule.next()
        model.next()
        assert {id_: lag * 14 for id_, lag in schedule.lags().items()} == {
            id_: current for id_, _, current in model.peers
        }
