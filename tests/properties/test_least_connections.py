"""Least connections: the exact least, fair ties, newcomers that are not flooded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from random import Random
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancers import Endpoint, LeastConnections, NoEligibleEndpointError, Pick
from balancers.structures.joiners import Joiners
from balancers.testing import ManualClock, RecordingObserver
from balancers.testing.binomial import binomial_range

NAMES = "abcdef"
names = st.sampled_from(NAMES)
weights = st.sampled_from([1.0, 1.0, 2.0, 0.1, 0.3, 7.0, 1e-9, 1e9])


class Machine(RuleBasedStateMachine):
    """Leases in a list are the model; who is picked is checked against all the others."""

    def __init__(self) -> None:
        super().__init__()
        self.balancer: LeastConnections | None = None
        self.open: list[tuple[Pick, float]] = []
        self.all: list[Pick] = []

    @precondition(lambda self: self.balancer is None)
    @rule(members=st.dictionaries(names, weights, min_size=1), watched=st.booleans())
    def begin(self, members: dict[str, float], watched: bool) -> None:
        self.members = members
        self.balancer = LeastConnections(
            endpoints(members),
            rng=Random(1),
            clock=ManualClock(),
            observer=RecordingObserver() if watched else None,
        )

    @precondition(lambda self: self.balancer is not None)
    @rule(
        times=st.integers(1, 6),
        cost=st.sampled_from([1.0, 1.0, 1.0, 0.25, 3.0]),
        exclude=st.sets(names, max_size=2),
    )
    def pick(self, times: int, cost: float, exclude: set[str]) -> None:
        assert self.balancer is not None
        for _ in range(times):
            able = {n: w for n, w in self.members.items() if n not in exclude}
            if not able:
                with pytest.raises(NoEligibleEndpointError):
                    self.balancer.pick(exclude=exclude)
                return
            foretold = self.balancer.explain(exclude=exclude).chosen
            lease = self.balancer.pick(exclude=exclude, cost=cost)
            name = lease.endpoint.id
            if cost == 1.0:
                assert foretold is lease.endpoint
            loads = {n: self.load(n) for n in able}
            if all(load.denominator == 1 for load in loads.values()) and cost == 1.0:
                exact = {n: (loads[n] + 1) / Fraction(w) for n, w in able.items()}
                assert exact[name] == min(exact.values())
            rounded = {n: float(loads[n] + Fraction(cost)) / w for n, w in able.items()}
            assert rounded[name] <= min(rounded.values()) * (1 + 1e-12)
            self.open.append((lease, cost))
            self.all.append(lease)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), times=st.integers(1, 6))
    def done(self, data: st.DataObject, times: int) -> None:
        for _ in range(min(times, len(self.open))):
            lease, _ = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            assert lease.done()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def responded(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.open) - 1))
        lease, _ = self.open[place]
        lease.responded()
        self.open[place] = lease, 0.0

    @precondition(lambda self: self.balancer is not None)
    @rule(data=st.data())
    def reweigh(self, data: st.DataObject) -> None:
        assert self.balancer is not None
        self.members = {n: data.draw(weights) for n in self.members}
        self.balancer.update(endpoints(self.members))

    @precondition(lambda self: len(getattr(self, "members", ())) > 1)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        assert self.balancer is not None
        gone = data.draw(st.sampled_from(sorted(self.members)))
        del self.members[gone]
        self.balancer.update(endpoints(self.members))
        # A lease of the past touches nobody, should the id come back.
        self.open = [(lease, cost) for lease, cost in self.open if lease.endpoint.id != gone]

    @precondition(lambda self: self.balancer is not None and not self.open)
    @rule(name=names, weight=weights)
    def join_an_idle_fleet(self, name: str, weight: float) -> None:
        assert self.balancer is not None
        self.members[name] = weight
        self.balancer.update(endpoints(self.members))

    def load(self, name: str) -> Fraction:
        return sum(
            (Fraction(cost) for lease, cost in self.open if lease.endpoint.id == name), Fraction(0)
        )

    @invariant()
    def agrees(self) -> None:
        if self.balancer is not None:
            self.balancer._refile()
            self.balancer._heap._check()
            self.balancer._joiners._check()
            for view in self.balancer.snapshot().endpoints:
                assert view.load == float(self.load(view.endpoint.id))

    def teardown(self) -> None:
        for lease in self.all:
            lease.done()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


def endpoints(members: dict[str, float]) -> list[Endpoint]:
    return [Endpoint(name, weight=weight) for name, weight in members.items()]


def settle(leases: Iterable[Pick]) -> None:
    for lease in leases:
        lease.done()


@given(st.integers(1, 9), st.integers(0, 60))
def test_equal_weights_stay_level(n: int, picks: int) -> None:
    """With equal weights and no departures no two counts ever differ by more than 1."""
    balancer = LeastConnections([str(i) for i in range(n)], rng=Random(picks))
    leases = []
    for _ in range(picks):
        leases.append(balancer.pick())
        counts = [view.in_flight for view in balancer.snapshot().endpoints]
        assert max(counts) - min(counts) <= 1
    settle(leases)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_ties_from_a_frozen_state(weight: float) -> None:
    """From one state, reached in one way, each tied endpoint is as likely as any, at 1e-9."""
    members = [Endpoint(name, weight=weight) for name in NAMES]
    counts: Counter[str] = Counter()
    for seed in range(2000):
        balancer = LeastConnections(members, rng=Random(seed))
        # Settled in one and the same order, so that a queue would tell of it.
        leases = {n: balancer.pick(exclude=set(NAMES) - {n}) for n in "fedcba"}
        for name in "cab":
            leases[name].done()
        last = balancer.pick()
        counts[last.endpoint.id] += 1
        settle([last, *leases.values()])
    low, high = binomial_range(2000, Fraction(1, 3))
    assert set(counts) == set("abc")
    assert all(low <= count <= high for count in counts.values())


def test_ties_over_serial_cycles() -> None:
    """Over 6,000 cycles of pick and settle each of six idle endpoints gets its share, at 1e-9."""
    balancer = LeastConnections(NAMES.replace("", " ").split(), rng=Random(7))
    counts: Counter[str] = Counter()
    for _ in range(6000):
        with balancer.pick() as lease:
            counts[lease.endpoint.id] += 1
    low, high = binomial_range(6000, Fraction(1, 6))
    assert all(low <= counts[name] <= high for name in NAMES)


def test_a_newcomer_is_not_flooded() -> None:
    """It gets at most twice its share and 9 picks more until it is level, then its share."""
    before = [f"e{i}" for i in range(20)]
    balancer = LeastConnections(before, rng=Random(8))
    leases = [balancer.pick() for _ in range(400)]
    balancer.update([*before, "new"])
    got = 0
    for picks in range(1, 1500):
        leases.append(balancer.pick())
        got += leases[-1].endpoint.id == "new"
        assert got <= 2 / 21 * picks + 9
    counts = [view.in_flight for view in balancer.snapshot().endpoints]
    assert max(counts) - min(counts) <= 1
    assert len(balancer._joiners) == 0
    settle(leases)


def test_a_newcomer_alone_takes_everything() -> None:
    """If ``exclude`` leaves nobody but newcomers over their share, they are picked all the same."""
    balancer = LeastConnections(["a", "b", "c"], rng=Random(9))
    leases = [balancer.pick() for _ in range(90)]
    balancer.update(["a", "b", "c", "new", "newer"])
    for _ in range(60):
        leases.append(balancer.pick(exclude=["a", "b", "c"]))
        assert leases[-1].endpoint.id.startswith("new")
    assert balancer.explain(exclude=["a", "b", "c", "new"]).chosen == Endpoint("newer")
    settle(leases)


def test_a_newcomer_in_an_idle_fleet_is_like_the_rest() -> None:
    """Where nobody holds requests a newcomer is level at once."""
    balancer = LeastConnections(["a"], rng=Random(10))
    balancer.update(["a", "b"])
    leases = [balancer.pick() for _ in range(40)]
    assert [view.in_flight for view in balancer.snapshot().endpoints] == [20, 20]
    settle(leases)


@given(st.lists(st.tuples(names, st.booleans()), max_size=60), st.integers(1, 4))
def test_joiners_keep_the_cap(steps: list[tuple[str, bool]], fresh: int) -> None:
    """Whoever is not passed over has had at most κ·p·t + burst picks before this one."""
    joiners: Joiners[str] = Joiners(2.0, 3.0)
    joined = dict.fromkeys(NAMES[:fresh], 1.0)
    joiners.change(joined, (), 6.0)
    counts: Counter[str] = Counter()
    for t, (name, anybody) in enumerate(steps):
        was_new = name in joiners
        if name in joiners.passed_over:
            continue
        if was_new:
            assert counts[name] <= 2 / 6 * t + 3 + 1e-9
        counts[name] += 1
        joiners.chosen(name, anybody)
        joiners.back()
        joiners._check()
        if anybody and not was_new:
            assert len(joiners) == len(joiners.passed_over)
    joiners.change({}, joined, 6.0)
    assert len(joiners) == 0


def test_threads_conserve_and_stay_level() -> None:
    """Eight threads picking at once leave counts within 1 of each other, and 0 at the end."""
    balancer = LeastConnections([str(i) for i in range(5)])
    leases: list[Pick] = []

    def work() -> None:
        for _ in range(300):
            with balancer.pick():
                pass
        leases.extend(balancer.pick() for _ in range(50))

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    extra = [balancer.pick() for _ in range(100)]
    counts = [view.in_flight for view in balancer.snapshot().endpoints]
    assert sum(counts) == 500
    assert max(counts) - min(counts) <= 1
    settle([*leases, *extra])
    assert sum(view.in_flight for view in balancer.snapshot().endpoints) == 0
