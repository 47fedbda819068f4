"""The heaps by score and by load, against models that look at everybody."""

from __future__ import annotations

import contextlib
from collections import Counter
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancers.errors import InvalidEndpointError
from balancers.structures.load_heap import LoadHeap
from balancers.structures.score_heap import ScoreHeap
from balancers.testing.binomial import binomial_range

NAMES = "abcdefgh"
names = st.sampled_from(NAMES)
scores = st.integers(-3, 3) | st.floats(-2.0, 2.0)
wild = st.one_of(
    st.integers(1, 9).map(float),
    st.sampled_from([0.1, 0.2, 0.3, 0.7, 1e-12, 1e12, 1 / 3, 5e-324, 1e300]),
    st.floats(1e-6, 1e6),
)


class ScoreHeapMachine(RuleBasedStateMachine):
    """A dict of scores is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.heap: ScoreHeap[str] = ScoreHeap()
        self.model: dict[str, float] = {}
        self.rng = Random(1)

    @rule(name=names, score=scores)
    def place(self, name: str, score: float) -> None:
        self.heap.place(name, score)
        self.model[name] = score

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name in self.model:
            entry = self.heap.entries[name]
            assert self.heap.remove(name) == self.model.pop(name)
            assert entry.score == float("inf")
        else:
            with pytest.raises(KeyError):
                self.heap.remove(name)

    @rule()
    def copy(self) -> None:
        twin = self.heap.copy()
        self.heap.place("gone", -100)
        self.heap.remove("gone")
        self.heap = twin

    @rule()
    def many_scores(self) -> None:
        for step in range(400):
            self.heap.place("z", 10 + step)
        assert len(self.heap.scores) <= len(self.heap) + 66
        self.heap.remove("z")

    @invariant()
    def agrees(self) -> None:
        self.heap._check()
        assert {name: self.heap.score(name) for name in self.heap} == self.model
        if self.model:
            least = min(self.model.values())
            expected = {name for name, score in self.model.items() if score == least}
            assert {entry.item for entry in self.heap.lowest()} == expected
            assert self.heap.draw(self.rng.random) in expected
        else:
            with pytest.raises(LookupError):
                self.heap.lowest()


TestScoreHeap = ScoreHeapMachine.TestCase
TestScoreHeap.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class LoadHeapMachine(RuleBasedStateMachine):
    """Loads and weights as fractions are the model; every comparison is exact."""

    heap: LoadHeap[str]

    def __init__(self) -> None:
        super().__init__()
        self.rng = Random(2)
        self.weights: dict[str, float] = {}

    @precondition(lambda self: not self.weights)
    @rule(weights=st.dictionaries(names, wild | st.just(0.0), min_size=1), equal=st.booleans())
    def begin(self, weights: dict[str, float], equal: bool) -> None:
        self.weights = dict.fromkeys(weights, 2.5) if equal else weights
        self.heap = LoadHeap(self.weights)
        self.loads = dict.fromkeys(self.weights, Fraction(0))
        self.costs: list[tuple[str, float]] = []

    @precondition(lambda self: self.weights)
    @rule(
        times=st.integers(1, 8),
        cost=st.sampled_from([1, 1, 1, 1.0, 0.1, 0.5, 3, 2**40]),
        exclude=st.sets(names, max_size=3),
    )
    def charge(self, times: int, cost: float, exclude: set[str]) -> None:
        for _ in range(times):
            able = [n for n, w in self.weights.items() if w and n not in exclude]
            twin = self.heap.copy()
            if not able:
                with pytest.raises(LookupError):
                    self.heap.draw(self.rng.random, cost, exclude)
                return
            seed = self.rng.getrandbits(32)
            name = self.heap.draw(Random(seed).random, cost, exclude)
            assert twin.draw(Random(seed).random, cost, exclude) == name
            assert name in able
            if cost == 1 and all(load.denominator == 1 for load in self.loads.values()):
                exact = {n: (self.loads[n] + 1) / Fraction(self.weights[n]) for n in able}
                assert exact[name] == min(exact.values())
            rounded = {n: float(self.loads[n] + Fraction(cost)) / self.weights[n] for n in able}
            assert rounded[name] <= min(rounded.values()) * (1 + 1e-12)
            self.heap.charge(name, cost)
            self.loads[name] += Fraction(cost)
            self.costs.append((name, cost))

    @precondition(lambda self: self.weights and self.costs)
    @rule(data=st.data(), times=st.integers(1, 8))
    def settle(self, data: st.DataObject, times: int) -> None:
        for _ in range(min(times, len(self.costs))):
            name, cost = self.costs.pop(data.draw(st.integers(0, len(self.costs) - 1)))
            self.heap.settle(name, cost)
            self.loads[name] -= Fraction(cost)

    @precondition(lambda self: self.weights)
    @rule(name=names)
    def too_much(self, name: str) -> None:
        if name in self.weights:
            with pytest.raises(ValueError, match="less than"):
                self.heap.settle(name, float(self.loads[name]) * 2 + 1)

    @precondition(lambda self: self.weights)
    @rule(name=names, cost=st.sampled_from([1, 0.5]))
    def aside(self, name: str, cost: float) -> None:
        able = [n for n, w in self.weights.items() if w]
        if name in able and len(able) > 1:
            self.heap.set_aside(name)
            self.heap.fell(name)
            assert self.heap.draw(self.rng.random, cost) != name
            self.heap._check()
            self.heap.bring_back(name)

    @invariant()
    def agrees(self) -> None:
        if self.weights:
            self.heap._check()
            assert all(self.heap.load(n) == float(load) for n, load in self.loads.items())


TestLoadHeap = LoadHeapMachine.TestCase
TestLoadHeap.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def test_ties_of_one_score_are_even() -> None:
    """Over 4,000 draws each of five tied items comes up as often as chance allows at 1e-9."""
    heap = ScoreHeap([(name, 3 if name < "f" else 4) for name in NAMES])
    rng = Random(3)
    counts = Counter(heap.draw(rng.random) for _ in range(4000))
    low, high = binomial_range(4000, Fraction(1, 5))
    assert set(counts) == set("abcde")
    assert all(low <= count <= high for count in counts.values())


@pytest.mark.parametrize("cost", [1, 0.5])
def test_ties_of_several_weights_are_even(cost: float) -> None:
    """Members of different weights at the same (load + cost)/weight are drawn equally often."""
    heap: LoadHeap[str] = LoadHeap({"a": 1.0, "b": 2.0, "c": 4.0, "d": 4.0})
    for name, load in {"b": 1, "c": 3, "d": 3}.items():
        heap.charge(name, load * cost)
    rng = Random(4)
    counts = Counter(heap.draw(rng.random, cost) for _ in range(4000))
    low, high = binomial_range(4000, Fraction(1, 4))
    assert set(counts) == set("abcd")
    assert all(low <= count <= high for count in counts.values())


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.integers(0, 200))
def test_equal_weights_fill_evenly(weights: list[int], picks: int) -> None:
    """Charging the least each time keeps (load + 1)/weight within one charge of the least."""
    heap: LoadHeap[str] = LoadHeap({str(i): float(w) for i, w in enumerate(weights)})
    rng = Random(5)
    for _ in range(picks):
        heap.charge(heap.draw(rng.random))
    loads = [int(heap.load(str(i))) for i in range(len(weights))]
    least = min(Fraction(q + 1, w) for q, w in zip(loads, weights, strict=True))
    assert all(Fraction(q, w) <= least for q, w in zip(loads, weights, strict=True))


def test_bad_input_is_refused() -> None:
    """Ids given twice, bad weights and strangers raise, naming what is wrong."""
    with pytest.raises(InvalidEndpointError):
        LoadHeap({"a": -1.0})
    with pytest.raises(InvalidEndpointError):
        LoadHeap(["a", "a"])
    heap: LoadHeap[str] = LoadHeap(["a"])
    with pytest.raises(KeyError):
        heap.charge("b")
    with pytest.raises(LookupError):
        heap.draw(Random(1).random, 1, ["a"])
    assert "a" in heap
    assert len(heap) == 1


def test_rounding_decides_nothing():
    """1/0.1 is a little less than 10, though 10.0 in floats: the least is drawn all the same."""
    loads = {"c": 9.0, "d": 0.0}
    heap = LoadHeap({"c": 1.0, "d": 0.1}, loads.__getitem__)
    with contextlib.suppress(LookupError):
        heap.draw(Random(1).random, 2.0, ("c", "d"))  # costs may be any number from now on
    assert {heap.draw(Random(seed).random) for seed in range(20)} == {"d"}
