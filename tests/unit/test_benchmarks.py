"""The measuring harness: what it reports, checked with a clock that is told the time."""

import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest
from source_tree import ROOT


@pytest.fixture(scope="module")
def timing() -> ModuleType:
    """Load benchmarks/timing.py by its path: the root is not on the path of the tests."""
    spec = importlib.util.spec_from_file_location("timing", ROOT / "benchmarks" / "timing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["timing"] = module
    spec.loader.exec_module(module)
    return module


def test_best_and_median_ratio(timing: ModuleType):
    """The ratio is best to best; the median ratio compares within each round."""
    floor = iter([9.0, 1.0, 2.0, 4.0])  # the first is the warm-up
    side = iter([9.0, 3.0, 5.0, 8.0])
    found = timing.contest(lambda _: next(floor), {"": lambda _: next(side)}, rounds=3, patience=1)[
        ""
    ]

    assert found.rounds == (3.0, 5.0, 8.0)
    assert found.floor == (1.0, 2.0, 4.0)
    assert (found.best, found.ratio, found.median_ratio) == (3.0, 3.0, 2.5)
    assert not found.settled


def test_goes_on_until_the_ratios_agree(timing: ModuleType):
    """One lucky batch of one side does not decide: the contest goes on, but not for ever."""
    floor = iter([9.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    side = iter([9.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    found = timing.contest(lambda _: next(floor), {"": lambda _: next(side)}, rounds=3)[""]

    assert (found.ratio, found.median_ratio, found.settled) == (2.0, 2.0, True)
    assert len(found.rounds) == 6

    restless = iter(range(1, 1_000))
    found = timing.contest(lambda _: 1.0, {"": lambda _: next(restless)}, rounds=5, patience=4)[""]

    assert len(found.rounds) == 20
    assert not found.settled


def test_sides_take_turns(timing: ModuleType):
    """Every side runs once a round, forwards and backwards in turn, after one warm-up."""
    order: list[str] = []

    def batch(name: str):
        return lambda _: order.append(name) or 1.0

    timing.contest(batch("f"), {"a": batch("a"), "b": batch("b")}, rounds=2)

    assert "".join(order) == "fab" + "fab" + "baf"


def test_loop_divides_by_the_steps(timing: ModuleType):
    """A batch reports seconds a step, by the clock it is given, and runs every step."""
    ticks = iter([10.0, 16.0, 0.0, 1.0])
    seen: list[object] = []
    plain = timing.loop("seen.append(key)", 3, seen=seen)
    keyed = timing.loop("seen.append(key)", keys=["a", "b"], seen=seen)

    assert plain(ticks.__next__) == 2.0
    assert keyed(ticks.__next__) == 0.5
    assert seen == [None, None, None, "a", "b"]


@pytest.mark.parametrize(("cost", "steps"), [(0.001, 5), (1.0, 1), (1e-9, 1_000), (5e-5, 100)])
def test_batches_are_sized_by_time(timing: ModuleType, cost: float, steps: int):
    """A batch takes about the time asked for, at most the steps allowed, at least one."""
    asked: list[int] = []
    timing.sized(lambda n: asked.append(n) or (lambda _: cost), seconds=0.005, limit=1_000)

    assert asked[-1] == steps


def test_no_round_is_an_error(timing: ModuleType):
    """A contest of no rounds has no best batch."""
    with pytest.raises(ValueError, match="rounds must be ≥ 1, not 0"):
        timing.contest(lambda _: 1.0, {}, rounds=0)


@pytest.mark.parametrize(
    "arguments",
    [("cycles", "--sizes", "3", "--rounds", "1", "--steps", "10"), ("memory", "--size", "3")],
    ids=lambda arguments: arguments[0],
)
def test_tables_have_a_row_for_every_policy(arguments: tuple[str, ...]):
    """``python -m benchmarks`` prints a table that names each registered policy."""
    from balancers.policies import registered

    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert all(f"| {name} " in ran.stdout for name in registered())
