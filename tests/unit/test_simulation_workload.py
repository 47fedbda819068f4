"""Where arrivals come from: the built-in workload, traces, and the laws of service times."""

import gzip
import json
import math
import random
import statistics
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.simulation import (
    LAWS,
    BadLines,
    SyntheticWorkload,
    TraceError,
    TraceFile,
    TraceWorkload,
    access_log,
    json_lines,
    parse_law,
)


def columns(workload):
    """Return all times, keys and demands of a workload."""
    batches = list(workload.batches())
    return tuple(
        [value for batch in batches for value in getattr(batch, column)]
        for column in ("times", "keys", "demands")
    )


def trace_of(path, rows, **options):
    """Write (time, key, size) rows as JSON Lines and return the trace."""
    path.write_text("".join(json.dumps({"t": t, "k": k, "n": n}) + "\n" for t, k, n in rows))
    return TraceFile(path, json_lines("t", "k", "n"), "JSON Lines", **options)


# --------------------------------------------------------------------------------------- laws


@pytest.mark.parametrize("text", ["exponential:2", "lognormal:2:3", "pareto:2:1.5", "pareto:2:1"])
def test_laws_have_the_mean_they_state(text):
    """The mean of 200,000 draws is the law's mean.

    Draws are independent with variance below 40, so 6.11 standard deviations of the mean are
    below 0.087: false alarms ≤ 1e-9 by the normal law.
    """
    draws = parse_law(text).draw(random.Random(1), [1.0] * 200_000)

    assert min(draws) > 0.0
    assert statistics.fmean(draws) == pytest.approx(2.0, abs=0.087)


def test_lognormal_and_exponential_have_their_shape():
    """The log of a log-normal is normal with variance ln(1 + scv); half of exponentials are < ln 2.

    Over 200,000 draws the sample variance of a normal deviates by 6.11·√(2/200,000) = 1.9 % and
    the share by 6.11·√(1/4/200,000) = 0.7 % with chance 1e-9.
    """
    logs = list(map(math.log, parse_law("lognormal:1:4").draw(random.Random(2), [1.0] * 200_000)))
    assert statistics.variance(logs) == pytest.approx(math.log(5.0), rel=0.02)

    draws = parse_law("exponential:1").draw(random.Random(2), [1.0] * 200_000)
    below = sum(draw < math.log(2.0) for draw in draws) / len(draws)
    assert below == pytest.approx(0.5, abs=0.007)


@given(st.floats(0.01, 5.0), st.integers(0, 2**32))
def test_pareto_is_bounded(exponent, seed):
    """Bounded Pareto lies within [L, 1000 L]; its tail is (x/L)^−α, corrected for the bound."""
    draws = parse_law(f"pareto:1:{exponent!r}").draw(random.Random(seed), [1.0] * 50)
    greatest = parse_law(f"pareto:1:{exponent!r}").draw(Constant(0.0), [1.0])[0]
    least = parse_law(f"pareto:1:{exponent!r}").draw(Constant(1.0), [1.0])[0]

    assert greatest == pytest.approx(1000.0 * least)
    assert all(least * (1 - 1e-9) <= draw <= greatest * (1 + 1e-9) for draw in draws)


class Constant(random.Random):
    """An rng that always draws the same."""

    def __init__(self, value):
        super().__init__(0)
        self.value = value

    def random(self):
        return self.value


def test_a_demand_is_never_zero():
    """The one uniform that would make an exponential demand 0 makes it the least positive."""
    assert parse_law("exponential:1").draw(Constant(0.0), [1.0])[0] > 0.0


def test_trace_law_follows_sizes():
    """A tenth of the mean is fixed, the rest in proportion to the size; the mean holds."""
    draws = parse_law("trace:2").draw(random.Random(0), [0.0, 1.0, 2.0])

    assert draws == pytest.approx([0.2, 2.0, 3.8])
    assert parse_law("deterministic:2").draw(random.Random(0), [0.0, 9.0]) == [2.0, 2.0]


@pytest.mark.parametrize("name", LAWS)
def test_a_law_s_text_reads_back(name):
    """``str`` of a law names it completely."""
    law = parse_law(name)

    assert str(parse_law(str(law))) == str(law)
    assert law.mean == 0.01


@pytest.mark.parametrize(
    "text",
    ["", "gauss", "exponential:", "exponential:0", "exponential:-1", "exponential:nan",
     "pareto:1:0", "exponential:inf", "exponential:1:2", "lognormal:1:2:3",
     "pareto:1:1e-9", "lognormal:1e10", "deterministic:x"],
)  # fmt: skip
def test_bad_laws_are_refused(text):
    """An unknown name or a number out of range raises with the value in the sentence."""
    with pytest.raises(ValueError, match="law"):
        parse_law(text)


# ----------------------------------------------------------------------------------- synthetic


def test_the_built_in_workload_is_the_same_every_time():
    """Twice the same from one object, the same from an equal one, another by another seed."""
    law = parse_law("exponential:0.1")
    one, two, other = (SyntheticWorkload(5.0, law, count=20_000, seed=s) for s in (7, 7, 8))

    assert columns(one) == columns(one) == columns(two)
    for mine, theirs in zip(columns(one), columns(other), strict=True):
        assert mine != theirs


def test_streams_do_not_touch_each_other():
    """Another service law leaves times and keys; other keys leave times and demands."""
    plain = columns(SyntheticWorkload(5.0, parse_law("exponential"), count=500))
    heavy = columns(SyntheticWorkload(5.0, parse_law("lognormal"), count=500))
    few = columns(SyntheticWorkload(5.0, parse_law("exponential"), count=500, keys=3))

    assert plain[:2] == heavy[:2]
    assert (plain[0], plain[2]) == (few[0], few[2])


def test_gaps_keys_and_demands_are_independent():
    """No stream echoes another: long gaps do not go with much work, nor with certain keys.

    The correlation of two independent columns of 20,000 has deviation 1/√20,000, and exceeds
    6.11 of those with chance 1e-9; streams drawn from one seed correlate almost perfectly.
    """
    workload = SyntheticWorkload(5.0, parse_law("exponential:1"), count=20_000, keys=1000, skew=0.0)
    times, keys, demands = columns(workload)
    gaps = [b - a for a, b in pairwise([0.0, *times])]
    ranks = [int(a) * 256 + int(b) for a, b in (key.split(".")[2:] for key in keys)]

    for one, two in ((gaps, demands), (gaps, ranks), (demands, ranks)):
        assert abs(statistics.correlation(one, two)) < 6.11 / math.sqrt(20_000)


def test_poisson_arrivals_and_zipf_keys():
    """Gaps are exponential of mean 1/rate, the most frequent key has its share.

    Over 100,000 requests the mean gap deviates by 6.11/√100,000 = 1.9 %, the squared coefficient
    of variation by 6.11·√(8/100,000) = 5.5 %, the share of one key by
    6.11·√(p(1−p)/100,000), each with chance 1e-9.
    """
    workload = SyntheticWorkload(50.0, parse_law("exponential"), count=100_000, keys=100, skew=1.0)
    times, keys, _ = columns(workload)
    gaps = [b - a for a, b in pairwise([0.0, *times])]
    mean = statistics.fmean(gaps)

    assert min(gaps) >= 0.0
    assert mean == pytest.approx(1 / 50.0, rel=0.02)
    assert statistics.variance(gaps) / mean**2 == pytest.approx(1.0, abs=0.055)
    share = 1.0 / sum(1.0 / k for k in range(1, 101))
    margin = 6.11 * math.sqrt(share * (1 - share) / 100_000)
    (top, count), *_ = Counter(keys).most_common(1)
    assert top == "10.0.0.0"
    assert count / 100_000 == pytest.approx(share, abs=margin)


@pytest.mark.parametrize(
    "options",
    [{"rate": 0.0}, {"rate": math.inf}, {"rate": math.nan}, {"count": 0}, {"keys": 0},
     {"keys": 10**7}, {"skew": -1.0}, {"skew": math.nan}, {"service": parse_law("trace")}],
)  # fmt: skip
def test_bad_parameters_are_refused(options):
    """A number out of range, or a law that needs a trace, raises ValueError."""
    with pytest.raises(ValueError, match=r"must be|needs a trace"):
        SyntheticWorkload(**{"rate": 1.0, "service": parse_law("exponential"), **options})


# --------------------------------------------------------------------------------------- traces


@given(times=st.lists(st.integers(0, 10**6), min_size=2, max_size=60), window=st.integers(1, 70))
def test_order_is_restored_in_a_window(tmp_path_factory, times, window):
    """Arrivals never go back; in a window large enough they are simply sorted; none is lost."""
    rows = [(time / 8, f"k{i}", i) for i, time in enumerate(times)]
    path, late = tmp_path_factory.getbasetemp() / "order", [0]
    file = trace_of(path, [(t, i, i) for t, _, i in rows], window=window)
    found = list(file.arrivals(BadLines(), late, None))

    ordered = [time for time, _, _, _ in found]
    assert ordered == sorted(ordered)
    assert sorted(number for _, number, _, _ in found) == list(range(len(times)))
    assert all(number == key == size for _, number, key, size in found)
    if window >= len(times):
        assert ordered == sorted(time for time, _, _ in rows)
        assert late == [0]
    moved = sum(time != rows[number][0] for time, number, _, _ in found)
    assert late == [moved]


def test_time_is_scaled_to_the_rate(tmp_path):
    """Mean rate is the one asked for, and gaps keep their proportions."""
    times = [0.0, 1.0, 3.0, 3.0, 10.0]
    file = trace_of(tmp_path / "t", [(t, i, 0) for i, t in enumerate(times)])
    workload = TraceWorkload(file, file.survey(), parse_law("deterministic:1"), rate=2.0)
    found, keys, demands = columns(workload)

    assert found == pytest.approx([0.0, 0.2, 0.6, 0.6, 2.0])
    assert keys == [0, 1, 2, 3, 4]
    assert demands == [1.0] * 5
    assert workload.rate == pytest.approx(2.0)
    assert workload.speed == pytest.approx(5.0)


def test_speed_replays_what_was_recorded(tmp_path):
    """At speed s every gap is divided by s, silences included."""
    times = [100.0, 101.0, 102.0, 103.0, 104.0, 5104.0]
    file = trace_of(tmp_path / "t", [(t, "k", 0) for t in times])
    workload = TraceWorkload(file, file.survey(), parse_law("exponential"), speed=10.0)

    assert columns(workload)[0] == pytest.approx([(t - 100.0) / 10.0 for t in times])
    assert workload.rate == pytest.approx(5 / 500.4)


def test_silence_is_cut(tmp_path):
    """A gap of more than about 20 median gaps is cut to it, unless gaps are kept."""
    times, now = [], 0.0
    for burst in range(4):
        for _ in range(100):
            times.append(now)
            now += 1.0
        now += 3599.0 * (burst < 3)
    file = trace_of(tmp_path / "t", [(t, "k", 0) for t in times])
    survey = file.survey()
    cut = TraceWorkload(file, survey, parse_law("exponential"), rate=1.0)
    kept = TraceWorkload(file, survey, parse_law("exponential"), rate=1.0, keep_gaps=True)

    gaps = [b - a for a, b in pairwise(columns(cut)[0])]
    assert max(gaps) / min(gaps) == pytest.approx(20.0, rel=0.1)
    assert cut.facts()["gaps_cut_to"] == pytest.approx(20.0, rel=0.1)
    assert columns(cut)[0][-1] == pytest.approx(399.0)
    gaps = [b - a for a, b in pairwise(columns(kept)[0])]
    assert max(gaps) / min(gaps) == pytest.approx(3600.0)
    assert kept.facts()["gaps_cut_to"] is None


def test_poisson_arrivals_are_not_cut(tmp_path):
    """Even traffic is left alone: no gap of 5,000 exponential ones is 20 medians long.

    A gap exceeds 20 ln 2 = 13.9 means with chance 1e-6; the seed is fixed.
    """
    rng, now, times = random.Random(3), 0.0, []
    for _ in range(5_000):
        now += rng.expovariate(1.0)
        times.append(now)
    file = trace_of(tmp_path / "t", [(t, "k", 0) for t in times])
    workload = TraceWorkload(file, file.survey(), parse_law("exponential"), rate=1.0)

    assert workload.facts()["gaps_cut_to"] is None


def test_whole_seconds_are_spread(tmp_path):
    """Requests logged in one second are spread over it, the same way every time."""
    start = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    path = tmp_path / "log.gz"
    lines = [
        f'c{i} - - [{start + timedelta(seconds=i // 100):%d/%b/%Y:%H:%M:%S %z}] "GET / H" 200 1\n'
        for i in range(400)
    ]
    path.write_bytes(gzip.compress("".join(lines).encode()))
    file = TraceFile(path, access_log(), "clf", spread=1.0, seed=5)
    found = list(file.arrivals(BadLines(), [0], None))

    assert found == list(file.arrivals(BadLines(), [0], None))
    for time, number, key, _ in found:
        assert 0.0 <= time - start.timestamp() - number // 100 < 1.0
        assert key == f"c{number}"
    parts = Counter(int((time - start.timestamp()) * 10) for time, *_ in found)
    assert len(parts) == 40  # 10 a tenth on average; an empty one has chance e^-10


def test_limit_and_growth(tmp_path):
    """Only the first requests are played if so limited; lines written meanwhile are not."""
    rows = [(float(i), i, 0) for i in range(50)]
    file = trace_of(tmp_path / "t", rows, limit=20)
    assert file.survey().count == 20

    file = trace_of(tmp_path / "t", rows)
    workload = TraceWorkload(file, file.survey(), parse_law("exponential"), rate=1.0)
    with (tmp_path / "t").open("a") as more:
        more.write('{"t": 3.5, "k": "new", "n": 0}\n')
    assert columns(workload)[1] == list(range(50))


def test_memory_is_flat_in_the_length_of_a_trace(tmp_path, monkeypatch):
    """Surveying and playing hold a window and a batch, not the trace."""
    monkeypatch.setattr("balancers.simulation.trace.BATCH", 512)
    peaks = []
    for lines in (5_000, 15_000):
        path = tmp_path / f"{lines}.gz"
        with gzip.open(path, "wt", compresslevel=1) as out:
            out.writelines(f'{{"t":{i},"k":{i}}}\n' for i in range(lines))
        file = TraceFile(path, json_lines("t", "k"), "JSON Lines", window=500)
        tracemalloc.start()
        workload = TraceWorkload(file, file.survey(), parse_law("deterministic"), rate=1.0)
        assert sum(len(batch.times) for batch in workload.batches()) == lines
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.4 * peaks[0]  # held, the longer one would take three times as much


def test_traces_nothing_can_be_made_of(tmp_path):
    """No request, one time for all, no sizes where the law needs them: one sentence each."""
    exponential = parse_law("exponential")
    empty = trace_of(tmp_path / "empty", [])
    with pytest.raises(TraceError, match="empty: it is empty"):
        empty.survey()
    (tmp_path / "bad").write_text("x\ny\n")
    with pytest.raises(TraceError, match=r"bad as JSON Lines: 2 lines .* line 1: not JSON"):
        TraceFile(tmp_path / "bad", json_lines("t"), "JSON Lines").survey()

    still = trace_of(tmp_path / "still", [(1.0, "k", 0)] * 3)
    with pytest.raises(TraceError, match="all 3 requests carry the same time"):
        TraceWorkload(still, still.survey(), exponential, rate=1.0)
    with pytest.raises(TraceError, match="needs sizes"):
        TraceWorkload(still, still.survey(), parse_law("trace"), rate=1.0)

    single = trace_of(tmp_path / "single", [(1.0, "k", 0)])
    assert columns(TraceWorkload(single, single.survey(), exponential, rate=1.0))[0] == [0.0]
    for options in ({}, {"rate": 1.0, "speed": 1.0}, {"rate": 0.0}, {"speed": math.nan}):
        with pytest.raises(ValueError, match="rate and speed"):
            TraceWorkload(single, single.survey(), exponential, **options)


def test_sizes_become_demands(tmp_path):
    """With the law ``trace`` the mean demand is the law's mean, in proportion to size."""
    file = trace_of(tmp_path / "t", [(0.0, "a", 0), (1.0, "b", 100), (2.0, "c", 200)])
    workload = TraceWorkload(file, file.survey(), parse_law("trace:0.5"), rate=1.0)

    assert columns(workload)[2] == pytest.approx([0.05, 0.5, 0.95])


TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"


@pytest.mark.skipif(not TRACES.exists(), reason=f"NOT RUN: the real traces are not at {TRACES}")
def test_the_recorded_access_log_is_replayed_at_the_load_asked_for():
    """The log of one minute an hour keeps all requests and gets the mean rate asked for."""
    file = TraceFile(TRACES / "apache_access.log", access_log(), "clf", spread=1.0)
    survey = file.survey()
    workload = TraceWorkload(file, survey, parse_law("exponential"), rate=700.0)
    times, keys, _ = columns(workload)

    assert (survey.late, survey.bad.count) == (0, 0)
    assert len(set(keys)) == 1_753
    assert 9_999 / times[-1] == pytest.approx(700.0)
    busiest = max(Counter(int(time) for time in times).values())
    assert busiest < 1_000  # and no second is overwhelmed by an hour's burst
