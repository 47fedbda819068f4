"""Least response time and its board against a scan; quick ways beside the long ones."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from balancers import (
    Admin,
    Endpoint,
    HealthRegistry,
    LeastResponseTime,
    Outcome,
    PeakEwma,
    Pick,
    PowerOfTwoChoices,
)
from balancers.structures.changes import compare
from balancers.structures.ewma import FadingEwma
from balancers.structures.rank_board import RankBoard
from balancers.testing import ManualClock, RecordingObserver

items = st.sampled_from("abcdef")
DECAY = 10.0


class BoardMachine(RuleBasedStateMachine):
    """Leases and estimates in dicts are the model; the least of all is found by looking."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.weights = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 1.0, "e": 1.0, "f": 1.0}
        self.joined = {"a": 0.0, "b": 0.0, "c": 0.3, "d": 0.0, "e": 0.7, "f": 0.0}
        self.open: dict[str, set[int]] = {item: set() for item in self.weights}
        self.known: dict[str, FadingEwma] = {}
        self.serial = 0
        self.board = RankBoard(self.weights, self.joined, self.facts)
        self.random = Random(1).random

    def rank(self, item: str) -> float:
        share = math.log((len(self.open[item]) + 1.0) / self.weights[item])
        return share + (self.known[item].rank if item in self.known else self.joined[item])

    @rule(
        weights=st.dictionaries(items, st.sampled_from([0.5, 1.0, 1.0, 2.0]), min_size=1),
        ahead=st.sampled_from([0.0, 0.3]),
    )
    def change(self, weights: dict[str, float], ahead: float) -> None:
        gone = self.board.places.keys() - weights.keys()
        old = [self.board.places[item] for item in gone]
        for item in weights.keys() - self.weights.keys():
            self.joined[item] = self.now / DECAY + ahead
        self.weights = weights
        self.board.change(compare(self.board.places, weights), self.now / DECAY + ahead, self.facts)
        assert {i: place.weight for i, place in self.board.places.items()} == weights
        assert {i: p.joined for i, p in self.board.places.items()} == {
            item: self.joined[item] for item in weights
        }
        assert all(place.board is None and place.entry is None for place in old)

    def facts(self, item: str) -> tuple[set[int], FadingEwma | None]:
        return self.open[item], self.known.get(item)

    def group(self, item: str) -> str:
        return "known" if item in self.known else "pending" if self.open[item] else "fresh"

    @rule(exclude=st.sets(items, max_size=5), typical=st.sampled_from([-3.0, 0.0, 3.0]))
    def pick(self, exclude: set[str], typical: float) -> None:
        able = {item: self.rank(item) for item in self.weights if item not in exclude}
        twin = self.board.copy()
        foretold = twin.least(typical, lambda: 0.5, exclude)
        twin._check()
        place = self.board.least(typical, lambda: 0.5, exclude)
        if not able:
            assert place is foretold is None
            return
        assert place is not None
        assert foretold is not None
        assert foretold.item == place.item
        first = {
            item: rank + (typical if item not in self.known else 0.0)
            for item, rank in able.items()
            if self.group(item) != "pending"
        } or able
        value = first[place.item]
        assert value == pytest.approx(min(first.values()), abs=1e-9)
        self.board.taken(place)
        self.open[place.item].add(self.serial)
        self.serial += 1

    @rule(item=items, latency=st.sampled_from([1e-9, 0.01, 0.01, 0.5, 20.0]), gap=st.floats(0, 9))
    def settle(self, item: str, latency: float, gap: float) -> None:
        self.now += gap
        if self.open[item]:
            self.open[item].pop()
        self.known.setdefault(item, FadingEwma(DECAY)).observe(latency, self.now)
        self.board.file(item, self.known[item])

    @rule(item=items)
    def cancel(self, item: str) -> None:
        if self.open[item]:
            self.open[item].pop()
        self.board.file(item, self.known.get(item))
        self.board.file("stranger", None)

    @invariant()
    def holds(self) -> None:
        self.board._check()


TestBoard = BoardMachine.TestCase
TestBoard.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_ties_of_a_board_are_even_and_know_no_past() -> None:
    """Of equals each comes with its chance, in the order given, whoever was filed first."""
    known = {item: FadingEwma() for item in "abcde"}
    board = RankBoard(
        dict.fromkeys("abcde", 1.0), dict.fromkeys("abcde", 0.0), lambda item: ((), known[item])
    )
    for item in "ecbda":
        known[item].observe(9.0 if item == "b" else 0.5, 1.0)
        board.file(item, known[item])
    found = [board.least(0.0, lambda chance=chance: chance) for chance in (0.1, 0.3, 0.6, 0.9)]
    assert [place and place.item for place in found] == ["a", "c", "d", "e"]


def test_leftovers_are_swept_out() -> None:
    """Answers that get ever better leave no more entries behind than there is slack."""
    known = {item: FadingEwma() for item in "ab"}
    board = RankBoard({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}, lambda item: ((), known[item]))
    for step in range(2000):
        item = "ab"[step % 2]
        known[item].observe(1.0 / (step + 1), 0.0 if step < 2 else step * 1e-3)
        known[item].rank = -float(step)
        board.file(item, known[item])
        board._check()


POLICIES: list[tuple[type[Any], dict[str, Any]]] = [
    (PowerOfTwoChoices, {}),
    (PeakEwma, {}),
    (LeastResponseTime, {}),
]


@pytest.mark.parametrize(
    ("policy", "options"), POLICIES, ids=lambda each: getattr(each, "__name__", "")
)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("pppppddddxrh"),
            st.integers(0, 99),
            st.sampled_from([0.0, 0.01, 0.01, 0.2, 3.0]),
        ),
        max_size=60,
    ),
    n=st.integers(1, 5),
    weighed=st.booleans(),
    healthy=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_quick_way_is_the_long_way(
    policy: type[Any],
    options: dict[str, Any],
    steps: list[tuple[str, int, float]],
    n: int,
    weighed: bool,
    healthy: bool,
    seed: int,
) -> None:
    """With the same seed a watched balancer, whose picks go the long way, picks the same.

    Endpoints are drained and enabled meanwhile.
    """
    members = [Endpoint(str(i), weight=1.0 + (i % 3 if weighed else 0)) for i in range(n)]
    clock = ManualClock(1e3)
    registries = [HealthRegistry(clock=clock) for _ in range(2)]
    out: set[str] = set()
    sides = [
        policy(
            members,
            rng=Random(seed),
            observer=observer,
            **({"health": registry} if healthy else {"clock": clock}),
            **options,
        )
        for observer, registry in zip((None, RecordingObserver()), registries, strict=True)
    ]
    leases: list[list[Pick]] = []
    for what, place, latency in steps:
        if what == "d":
            clock.advance(latency)
            for lease in leases.pop(place % len(leases)) if leases else ():
                with lease:
                    pass
        elif what == "r":
            for lease in leases[place % len(leases)] if leases else ():
                lease.responded()
        elif what == "h":
            name = str(place % n)
            if healthy and (name in out or len(out) < n - 1):
                out ^= {name}
                for registry in registries:
                    registry.set_admin(name, Admin.DRAINING if name in out else Admin.ENABLED)
        elif what == "x":
            for lease in leases.pop(place % len(leases)) if leases else ():
                lease.done(Outcome.CANCELLED)
        else:
            leases.append([side.pick() for side in sides])
            assert leases[-1][0].endpoint == leases[-1][1].endpoint
            assert leases[-1][0].endpoint.id not in out
        seen = [[(v.latency, v.in_flight) for v in side.snapshot().endpoints] for side in sides]
        assert seen[0] == seen[1]
    for pair in leases:
        for lease in pair:
            lease.done()


@pytest.mark.parametrize("watched", [False, True])
def test_a_response_eases_the_load(watched: bool) -> None:
    """After ``responded`` a lease counts no more, whether or not picks are watched."""
    observer = RecordingObserver() if watched else None
    balancer = LeastResponseTime(["a", "b"], clock=ManualClock(), rng=Random(1), observer=observer)
    for name in "ab":
        balancer.pick(exclude={"a", "b"} - {name}).done(latency=1.0 if name == "a" else 1.5)
    held = [balancer.pick(exclude=["b"]) for _ in range(5)]
    assert balancer.explain().chosen == Endpoint("b")
    with balancer.pick() as lease:
        assert lease.endpoint.id == "b"
    for lease in held:
        lease.responded()
    balancer._board._check()
    with balancer.pick() as lease:
        assert lease.endpoint.id == "a"
    for lease in held:
        lease.done()


def test_a_settlement_while_the_board_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned while an update builds the new board is not lost to it."""
    monkeypatch.setattr("balancers.policies.least_response_time._FEW", 0)  # or none is built
    balancer = LeastResponseTime(["a", "b"], clock=ManualClock(), rng=Random(1))
    for name in "ab":
        balancer.pick(exclude={"a", "b"} - {name}).done(latency=1.0)
    held = [balancer.pick() for _ in range(2)]
    assert {lease.endpoint.id for lease in held} == {"a", "b"}

    class Late(RankBoard[Any]):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            for lease in held:  # after it was read
                lease.done(latency=0.1 if lease.endpoint.id == "a" else 0.2)

    monkeypatch.setattr("balancers.policies.least_response_time.RankBoard", Late)
    balancer.update(["b", "a", "c"])
    balancer._board._check()
    assert balancer.snapshot().endpoints[0].latency is not None


def test_leases_of_an_endpoint_that_left_and_returned() -> None:
    """Leases that were open when their endpoint went out count when it is back, until they end.

    Who stayed in keeps its place, on the same board; who is back has joined anew.
    """
    clock = ManualClock(50.0)
    registry = HealthRegistry(clock=clock)
    balancer = LeastResponseTime(list("abcd"), health=registry, rng=Random(1))
    for name in "abcd":
        balancer.pick(exclude=set("abcd") - {name}).done(latency=1.0)
    cells, board = balancer._ledger.cells, balancer._board
    stayed = board.places[cells["b"]]
    held = [balancer.pick() for _ in range(16)]
    others = [lease for lease in held if lease.endpoint.id != "a"]
    mine = [lease for lease in held if lease.endpoint.id == "a"]
    assert len(mine) == 4
    registry.set_admin("a", Admin.DRAINING)
    with mine.pop():
        pass
    clock.advance(7.0)
    registry.set_admin("a", Admin.ENABLED)
    assert balancer._board is board
    assert board.places[cells["b"]] is stayed
    assert board.places[cells["a"]].joined == 57.0 / 10.0
    for lease in mine:
        assert len(board.places[cells["a"]].open) > 0
        with lease:
            clock.advance(0.5)
        board._check()
        scores = {name: balancer._score(cell, 1.0) or 0.0 for name, cell in cells.items()}
        chosen = balancer.explain().chosen
        assert chosen is not None
        assert scores[chosen.id] == pytest.approx(min(scores.values()))
    for lease in others:
        lease.done()


def test_what_a_departure_leaves_behind_is_swept_out() -> None:
    """A board that most have left holds few entries of theirs."""
    names = [str(i) for i in range(500)]
    known = {name: FadingEwma() for name in names}
    for estimate in known.values():
        estimate.observe(1.0, 0.0)
    board = RankBoard(
        dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.0), lambda item: ((), known[item])
    )
    board.change(compare(board.places, {"7": 1.0}), 0.0, lambda item: ((), known[item]))
    board._check()


def test_a_clock_that_goes_back() -> None:
    """A lease that ends before it began took no time; nothing raises and nothing leaks."""
    for policy in (PeakEwma, LeastResponseTime):
        times = [100.0]
        balancer: Any = policy(["a", "b"], clock=lambda times=times: times[0], rng=Random(1))
        for end in (50.0, 40.0, 60.0, 80.0, 99.0):
            times[0] = 100.0
            with balancer.pick():
                times[0] = end
        views = balancer.snapshot().endpoints
        assert [view.in_flight for view in views] == [0, 0]
        assert all(view.latency is None or 0.0 <= view.latency < 1.0 for view in views)


@pytest.mark.parametrize("policy", [PeakEwma, LeastResponseTime])
def test_a_subclass_hears_of_every_answer(policy: type[Any]) -> None:
    """Where ``_learn_at`` is extended, no lease writes out the base's own."""
    heard: list[str] = []

    class Learner(policy):  # type: ignore[misc]
        def _learn_at(self, now: float, cell: Any, *rest: Any) -> None:
            super()._learn_at(now, cell, *rest)
            heard.append(cell.endpoint.id)

    balancer = Learner(["a", "b"], clock=ManualClock(), rng=Random(1))
    picked = []
    for _ in range(20):
        with balancer.pick() as lease:
            picked.append(lease.endpoint.id)
    assert heard == picked
