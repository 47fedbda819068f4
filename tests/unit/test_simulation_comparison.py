"""Who runs, what is measured, and how it is written down."""

import csv
import io
import json
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import Endpoint, RoundRobin
from balancers.policies import registered
from balancers.simulation import (
    MEASURES,
    Batch,
    Run,
    SyntheticWorkload,
    as_csv,
    as_json,
    as_table,
    capacity,
    compare,
    contender,
    fifo,
    parse_contenders,
    parse_law,
)
from balancers.simulation.chart import draw
from balancers.simulation.contenders import parse_policies
from balancers.simulation.measures import busiest_to_mean, share_error
from balancers.simulation.report import curve, shown
from balancers.simulation.scene import Dot, Line, Rect, Scene, Text, as_png, as_svg


class First(RoundRobin):
    """Goes to the first endpoint, or nowhere if told so."""

    keyed = True

    def __init__(self, endpoints, *, refuse=False, **options):
        super().__init__(endpoints, **options)
        self.refuse = refuse

    def pick(self, key=None, *, exclude=(), cost=1.0):
        ids = [endpoint.id for endpoint in self.endpoints]
        return super().pick(key, exclude=ids if self.refuse else ids[1:], cost=cost)


class Broken(RoundRobin):
    """Raises at the hundredth pick."""

    count = 0

    def pick(self, key=None, *, exclude=(), cost=1.0):
        self.count += 1
        if self.count == 100:
            raise KeyError("lost")
        return super().pick(key, exclude=exclude, cost=cost)


class Picky(RoundRobin):
    """Refuses every membership."""

    def __init__(self, endpoints, **options):
        raise ValueError("no, thank you")


ENDPOINTS = [Endpoint("a", weight=3), Endpoint("b"), Endpoint("c", weight=0)]
EVERYBODY = [
    contender(RoundRobin),
    contender(First),
    contender(First, "Refusing", refuse=True),
    contender(Broken),
    contender(Picky),
]


def comparison(contenders=EVERYBODY, *, count=2_000, seed=0, **options):
    """Run the contenders on a small built-in workload."""
    workload = SyntheticWorkload(200.0, parse_law("exponential:0.01"), count=count, seed=seed)
    return compare(
        workload,
        ENDPOINTS,
        contenders,
        fifo(),
        capacity=capacity(ENDPOINTS),
        setting={"title": "3 endpoints"},
        seed=seed,
        **options,
    )


# --------------------------------------------------------------------------------- contenders


def test_every_registered_policy_runs_unasked():
    """Without a list, the contenders are the registered policies, in their order."""
    assert [each.name for each in parse_contenders()] == list(registered())


def test_a_registered_policy_answers_to_its_aliases():
    """A policy is named by class name or alias, case ignored."""
    for name, policy in registered().items():
        for alias in (name, name.lower(), *policy.aliases):
            assert [each.name for each in parse_contenders(alias)] == [name]


def test_options_and_modules_can_be_named(tmp_path, monkeypatch):
    """Entries take literal options in brackets, and a module of the working directory."""
    (tmp_path / "my_own_policies.py").write_text(
        "from balancers import RoundRobin\n"
        "class Mine(RoundRobin):\n"
        "    keyed = True\n"
        "    def __init__(self, endpoints, *, label, **options):\n"
        "        super().__init__(endpoints, **options)\n"
        "        self.label = label\n"
    )
    monkeypatch.chdir(tmp_path)
    text = "RoundRobin(phase=0), my_own_policies:Mine(label='a,(b'),RoundRobin"
    plain, mine, again = parse_contenders(text)

    assert [plain.name, again.name] == ["RoundRobin(phase=0)", "RoundRobin"]
    assert mine.name == "Mine(label='a,(b')"
    assert (plain.keyed, mine.keyed) == (False, True)
    run = Run(mine.build, tuple(ENDPOINTS), fifo())
    assert run.balancer.label == "a,(b"
    (nested,) = parse_contenders("my_own_policies:Mine(label=(1, [2, 3]), phase=0)")
    assert Run(nested.build, tuple(ENDPOINTS), fifo()).balancer.label == (1, [2, 3])


def test_policies_can_be_named_without_running_them():
    """Each entry gives its name, the class itself, and a maker with the options filled in."""
    (name, policy, make), (plain, _, _) = parse_policies("rr(phase=1),Maglev")

    assert (name, policy, plain) == ("RoundRobin(phase=1)", RoundRobin, "Maglev")
    assert make(["a", "b"]).pick().endpoint.id == "b"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no policy named; known: RoundRobin"),
        (" , ", "no policy named"),
        ("nobody", "unknown policy 'nobody'; known: RoundRobin"),
        ("RoundRobin,rr", "RoundRobin is named twice"),
        ("RoundRobin(3)", "literals by name"),
        ("RoundRobin(phase=open)", "literals by name"),
        ("RoundRobin(**{'phase': 1})", "literals by name"),
        ("RoundRobin(phase=0", "cannot understand"),
        ("no_such_module:X", "cannot load the policy no_such_module:X: ModuleNotFoundError"),
        ("balancers:Nothing", "cannot load the policy balancers:Nothing: AttributeError"),
        ("balancers:__all__", "is not a policy"),
        ("a b", "cannot understand"),
    ],
)
def test_bad_lists_are_refused(text, reason):
    """What cannot be understood or found raises ValueError; unknown names list the known."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_contenders(text)


# ---------------------------------------------------------------------------------- comparing


def test_a_contender_that_raises_costs_only_itself():
    """Trouble in a policy, early or late, is noted; the others run to the end."""
    results = {result.name: result for result in comparison().results}

    assert results["Broken"].trouble == "KeyError: 'lost'"
    assert results["Picky"].trouble == "ValueError: no, thank you"
    for name in ("RoundRobin", "First", "Refusing"):
        assert results[name].trouble is None
        assert results[name].requests == 2_000


def test_everybody_meets_the_same_arrivals():
    """Two equal policies get equal results, and company changes nobody's result."""
    twice = comparison([contender(First, "one"), contender(First, "two")]).results
    alone = comparison([contender(First, "two")]).results

    assert twice[0].steps == twice[1].steps == alone[0].steps
    assert twice[1] == alone[0]
    assert comparison([contender(First, "one")], seed=1).results[0].steps != twice[0].steps


def test_measures_of_a_known_run():
    """Shares 3/4, 1/4, 0 are the weights; 1, 0, 0 is a quarter off and 4/3 of the fair part."""

    class Leaning(First):
        turn = 0

        def pick(self, key=None, *, exclude=(), cost=1.0):
            self.turn += 1
            return RoundRobin.pick(self, exclude=["b" if self.turn % 4 else "a"])

    even, leaning = (
        Run(contender(policy).build, tuple(ENDPOINTS), fifo()) for policy in (Leaning, First)
    )
    for run in (even, leaning):
        assert share_error(run) is None
        assert busiest_to_mean(run) is None
        run.feed(Batch([float(i) for i in range(400)], [None] * 400, [0.3] * 400))
        run.finish()

    assert share_error(even) == pytest.approx(0.0)
    assert busiest_to_mean(even) == pytest.approx(1.0)
    assert share_error(leaning) == pytest.approx(0.25)
    assert busiest_to_mean(leaning) == pytest.approx(4 / 3)
    assert {m.name: m.of(leaning) for m in MEASURES}["p99"] == pytest.approx(0.1, rel=0.001)


def test_nothing_is_made_up_where_nobody_answered():
    """A policy that always refuses has errors and no latencies."""
    (result,) = comparison([contender(First, refuse=True)]).results

    assert result.measures["errors"] == 2_000
    assert {result.measures[name] for name in ("p50", "p999", "share_error", "mean")} == {None}


def test_offered_load_is_work_over_capacity():
    """200 requests a second of 10 ms each load a fleet of speed 4 by one half.

    Over 50,000 requests the ratio of two means deviates by 6.11·√(2/50,000) = 3.9 %: false
    alarms ≤ 1e-9.
    """
    assert comparison([], count=50_000).load == pytest.approx(0.5, rel=0.039)


def test_progress_and_timer_are_the_callers():
    """Progress counts requests up to all of them; elapsed time is the injected timer's."""
    seen, now = [], iter(range(10**6))
    found = comparison([contender(First)], count=20_000, progress=seen.append, timer=now.__next__)

    assert seen == sorted(seen)
    assert seen[-1] == 20_000
    assert found.results[0].elapsed == len(seen) + 1  # a tick a batch, and one for the end


# ------------------------------------------------------------------------------------- writing


def test_json_and_csv_hold_every_measure():
    """JSON and CSV agree, name every measure in SI units, and say who did not finish."""
    found = comparison()
    data = json.loads(as_json(found))
    rows = {row["policy"]: row for row in csv.DictReader(io.StringIO(as_csv(found)))}

    assert data["workload"]["requests"] == 2_000
    for policy in data["policies"]:
        row = rows[policy["policy"]]
        if policy["trouble"]:
            assert row["trouble"] == policy["trouble"]
            continue
        assert sum(endpoint["picks"] for endpoint in policy["endpoints"]) + policy["errors"] == 2000
        for measure in MEASURES:
            value = policy[measure.name]
            assert row[measure.name] == ("" if value is None else repr(value))
    assert "elapsed" not in as_json(found)


def test_json_does_not_depend_on_the_timer():
    """The same seed gives the same bytes, however long it took."""
    slow = comparison(timer=iter(range(10**6)).__next__)

    assert as_json(slow) == as_json(comparison())
    assert as_csv(slow) == as_csv(comparison())


def test_the_table_has_a_row_a_policy():
    """The table names every policy once; columns line up; troubles come below."""
    lines = as_table(comparison(timer=iter(range(10**6)).__next__)).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("policy"))

    assert lines[head].split("  ")[-1].strip() == "requests/s"
    assert [line.split()[0] for line in lines[head + 1 :]] == [
        "RoundRobin", "First", "Refusing", "Broken", "Picky"
    ]  # fmt: skip
    assert len({len(line) for line in lines[head : head + 4]}) == 1
    assert lines[-1] == "Picky did not finish: ValueError: no, thank you"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "-"), (0.0, "s", "0 s"), (0.0123, "s", "12.3 ms"), (0.9996, "s", "1.00 s"),
        (0.999, "s", "999 ms"), (9.996, "s", "10.0 s"), (99.96, "s", "100 s"),
        (1e-7, "s", "0.10 µs"), (12345.6, "s", "12,346 s"), (0.5, "share", "50.00%"),
        (1.5, "ratio", "1.50"),
        (1234.5, "ratio", "1,234"), (12345.0, "count", "12,345"),
    ],
)  # fmt: skip
def test_numbers_are_shown_with_three_digits(value, unit, text):
    """Three significant digits and a unit a person reads."""
    assert shown(value, unit) == text


@given(st.lists(st.tuples(st.floats(1e-6, 1e3), st.integers(1, 1000)), max_size=300))
def test_the_curve_falls_from_left_to_right(counts):
    """A thinned curve rises in latency, falls in share, and ends at 0."""
    steps, upto = [], 0
    for value in sorted({value for value, _ in counts}):
        upto += counts[0][1]
        steps.append((value, upto))
    points = curve(tuple(steps))

    assert points == sorted(points)
    shares = [share for _, share in points]
    assert shares == sorted(shares, reverse=True)
    assert (shares[-1] == 0.0) if steps else not points


# -------------------------------------------------------------------------------------- plots


def inside(scene):
    """Yield whatever lies outside the picture."""
    for shape in scene.shapes:
        match shape:
            case Line(points):
                corners = points
            case Rect(x, y, width, height):
                corners = [(x, y), (x + width, y + height)]
            case Dot(x, y) | Text(x, y):
                corners = [(x, y)]
        for x, y in corners:
            if not (0 <= x <= scene.width and 0 <= y <= scene.height):
                yield shape


@pytest.mark.parametrize("many", [0, 1, 2, 25])
def test_a_plot_is_well_formed_and_within_its_frame(many):
    """Any number of policies, failed ones among them, makes legal XML with nothing outside."""
    policies = [contender(First, f"Policy <&\"{i}\x00\ud800'>" + "x" * i * 5) for i in range(many)]
    scene = draw(comparison(policies + EVERYBODY[2:], count=300))
    root = ET.fromstring(as_svg(scene))

    assert not list(inside(scene))
    texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert sum(text.startswith("Policy <&") for text in texts) == many
    assert "Picky did not finish: ValueError: no, thank you" in texts


def test_curves_run_to_the_right():
    """Every curve of the tail goes on to the right, up to the drop that ends it."""
    scene = draw(comparison([contender(RoundRobin), contender(First)]))
    curves = [s.points for s in scene.shapes if isinstance(s, Line) and len(s.points) > 10]

    assert len(curves) == 2
    for points in curves:
        xs = [x for x, _ in points[1:-1]]
        assert all(a < b for a, b in pairwise(xs))


def test_a_plot_of_nothing():
    """If nobody finished, the plot says so."""
    for policies in ([], [contender(Picky)]):
        scene = draw(comparison(policies, count=10))
        assert "No request was answered." in as_svg(scene)


def test_svg_is_the_same_every_time():
    """The same comparison gives the same bytes."""
    assert as_svg(draw(comparison())) == as_svg(draw(comparison()))


def test_png_draws_the_same_scene():
    """A PNG twice as large as the scene comes out, surrogates and dollar signs included."""
    pytest.importorskip("matplotlib", reason="NOT RUN: matplotlib is not installed")
    scene = Scene(100, 50, "t", [Rect(1, 1, 9, 9, "#0072b2"), Text(5, 20, "$x\ud800 ×")])
    scene.shapes += [Line(((0, 0), (9, 9)), "#000000", 2, (3.0, 3.0)), Dot(20, 20, 5, "#000000")]
    data = as_png(scene)

    assert data.startswith(b"\x89PNG")
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (200, 100)
