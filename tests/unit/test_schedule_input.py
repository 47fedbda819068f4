"""What the weighted schedules refuse, and that refusing changes nothing."""

import pytest

from balancers.errors import InvalidEndpointError
from balancers.structures import ChairmanSchedule, SmoothSchedule

SCHEDULES = [ChairmanSchedule, SmoothSchedule]


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"a": -1.0}, InvalidEndpointError),
        ({"a": float("nan")}, InvalidEndpointError),
        ({"a": float("inf")}, InvalidEndpointError),
        ({"a": True}, TypeError),
        ({"a": "1"}, TypeError),
        ({1: 1.0}, TypeError),
        (["a", "a"], InvalidEndpointError),
        ("ab", TypeError),
    ],
)
def test_bad_weights_raise_and_change_nothing(kind, bad, error):
    """Bad weights raise at construction and in update(), which then changes nothing."""
    with pytest.raises(error):
        kind(bad)
    schedule, other = kind({"a": 2, "b": 3}), kind({"a": 2, "b": 3})
    schedule.next()
    other.next()
    with pytest.raises(error):
        schedule.update(bad)
    assert schedule.lags() == other.lags()
    assert [schedule.next() for _ in range(9)] == [other.next() for _ in range(9)]


@pytest.mark.parametrize(
    ("phase", "error"),
    [(-1, ValueError), (2**32 + 1, ValueError), (1.0, TypeError), (True, TypeError)],
)
def test_bad_phases_raise(phase, error):
    """A phase is an int within 0..2**32."""
    with pytest.raises(error, match="phase"):
        ChairmanSchedule(["a"], phase=phase)


def test_bad_exclusions_and_counts_change_nothing():
    """Excluding everybody, a bare str, and counts that cannot be leave the schedule as it was."""
    schedule, other = (ChairmanSchedule({"a": 2, "b": 3, "c": 0}) for _ in range(2))
    assert schedule.next() == other.next()
    with pytest.raises(LookupError, match="excluded"):
        schedule.next(["a", "b"])
    with pytest.raises(TypeError, match="bare str"):
        schedule.next("a")
    for counts in ({"a": 1, "c": 1}, {"a": 1, "z": 1}, {"a": 1, "b": -1}):
        with pytest.raises(ValueError, match=r"counts are|no positive weight"):
            schedule.retract(counts)
    with pytest.raises(ValueError, match="count must be >= 0"):
        schedule.run(-1)
    assert schedule.lags() == other.lags()
    assert [schedule.next() for _ in range(9)] == [other.next() for _ in range(9)]
