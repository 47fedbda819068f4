"""The averages of latency: their laws, with time that only moves when told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.structures.ewma import Ewma, FadingEwma, PeakEwmaCell

latencies = st.floats(1e-6, 1e4)
gaps = st.floats(0.0, 100.0)
decays = st.floats(0.1, 1000.0)
histories = st.lists(st.tuples(gaps, latencies), min_size=1, max_size=12)


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9)


@given(histories, decays)
def test_ewma_is_the_weighed_mean(history: list[tuple[float, float]], decay: float) -> None:
    """A sample weighs 1 - d beside what came before it, which weighs d = exp(-dt/decay)."""
    ewma = Ewma(decay)
    assert ewma.value is None
    now, mean = 0.0, None
    for gap, sample in history:
        now += gap
        ewma.observe(sample, now)
        keep = math.exp(-gap / decay)
        mean = sample if mean is None else mean * keep + sample * (1 - keep)
        assert ewma.value == near(mean)


@given(histories, decays, gaps)
def test_peak_law(history: list[tuple[float, float]], decay: float, idle: float) -> None:
    """It jumps up to a worse sample, blends with a better one, and fades while idle."""
    cell = PeakEwmaCell(decay)
    assert cell.read(0.0) is None
    assert not cell.known
    now, value = 0.0, None
    for gap, sample in history:
        now += gap
        cell.observe(sample, now)
        keep = math.exp(-gap / decay)
        if value is None or sample >= value:
            value = sample
        else:
            value = value * keep + sample * (1 - keep)
        assert cell.read(now) == near(value)
        assert value >= sample
    assert value is not None
    assert cell.read(now + idle) == near(value * math.exp(-idle / decay))


@given(histories, decays)
def test_peak_is_never_below_a_faded_sample(
    history: list[tuple[float, float]], decay: float
) -> None:
    """At any time it is at least each sample decayed by its age."""
    cell = PeakEwmaCell(decay)
    now = 0.0
    seen: list[tuple[float, float]] = []
    for gap, sample in history:
        now += gap
        cell.observe(sample, now)
        seen.append((now, sample))
        for at, old in seen:
            reading = cell.read(now)
            assert reading is not None
            assert reading >= old * math.exp((at - now) / decay) * (1 - 1e-9)


@given(histories, st.integers(0, 11), st.floats(1.0, 100.0), decays)
def test_every_sample_counts_upwards(
    history: list[tuple[float, float]], place: int, factor: float, decay: float
) -> None:
    """A larger sample, all else the same, never makes a smaller value, in any of the classes."""
    for kind in (PeakEwmaCell, FadingEwma, Ewma):
        values = []
        for times in (1.0, factor):
            cell = kind(decay)
            now = 0.0
            for index, (gap, sample) in enumerate(history):
                now += gap
                cell.observe(sample * (times if index == place else 1.0), now)
            values.append(cell.value if isinstance(cell, Ewma) else cell.read(now))
        assert values[1] >= values[0] * (1 - 1e-9)


@given(histories, st.lists(gaps, max_size=5), decays)
def test_reading_changes_nothing(
    history: list[tuple[float, float]], reads: list[float], decay: float
) -> None:
    """What is read at the end does not depend on how often it was read before."""
    watched, alone = PeakEwmaCell(decay), PeakEwmaCell(decay)
    now = 0.0
    for gap, sample in history:
        for part in reads:
            watched.read(now + part)
        now += gap
        watched.observe(sample, now)
        alone.observe(sample, now)
    assert watched.read(now) == alone.read(now)


@given(
    st.lists(st.tuples(st.integers(0, 3), gaps, latencies), min_size=1, max_size=20),
    st.floats(0.0, 1000.0),
)
def test_rank_is_the_order_at_any_time(
    history: list[tuple[int, float, float]], later: float
) -> None:
    """Estimates of one decay keep their order while time passes: that of their ranks."""
    cells = [FadingEwma(10.0) for _ in range(4)]
    now = 0.0
    for who, gap, sample in history:
        now += gap
        cells[who].observe(sample, now)
    known = [cell for cell in cells if cell.known]
    for cell in known:
        reading = cell.read(now + later)
        assert reading is not None
        # Both sides in the logarithm: a reading may be too small for a float.
        if reading > 1e-300:
            assert math.log(reading) == pytest.approx(cell.rank - (now + later) / 10.0, abs=1e-6)
    assert all(cell.rank == math.inf for cell in cells if not cell.known)


@given(histories, latencies, gaps)
def test_a_peak_sample_never_improves(
    history: list[tuple[float, float]], sample: float, gap: float
) -> None:
    """After ``observe_peak`` the reading is at least what it would have been without."""
    told, alone = FadingEwma(10.0), FadingEwma(10.0)
    now = 0.0
    for pause, latency in history:
        now += pause
        told.observe(latency, now)
        alone.observe(latency, now)
    now += gap
    told.observe_peak(sample, now)
    for later in (0.0, 1.0, 50.0):
        with_it, without = told.read(now + later), alone.read(now + later)
        assert with_it is not None
        assert without is not None
        assert with_it >= without * (1 - 1e-9)


def test_time_standing_or_going_back() -> None:
    """A sample from the past counts as one of now; nothing grows beyond the samples."""
    cell = PeakEwmaCell(1.0)
    cell.observe(2.0, 10.0)
    cell.observe(1.0, 5.0)
    assert cell.read(10.0) == 2.0
    assert cell.read(0.0) == 2.0


@pytest.mark.parametrize("kind", [Ewma, FadingEwma, PeakEwmaCell])
def test_bad_decay(kind: type) -> None:
    """A decay that is no positive finite number of seconds is refused."""
    for decay in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="decay"):
            kind(decay)
    for decay in (True, "1", None):
        with pytest.raises(TypeError, match="decay"):
            kind(decay)
