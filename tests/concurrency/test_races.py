"""Races, each run many times with threads that change places every few microseconds."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import partial

import pytest

from balancers import Endpoint, Observer, Outcome, RoundRobin
from balancers.core import Policy
from balancers.health.registry import HealthRegistry
from balancers.policies import registered
from balancers.testing import RecordingObserver
from balancers.testing.threads import switching

KEYS = {"IPHash": "10.0.0.1"}
OPTIONS = {"Maglev": {"table_size": 251}}
ROUNDS = 400


def together(*calls: Callable[[], object]) -> list[object]:
    """Run the calls at once, one a thread, and return what they returned."""
    start = threading.Barrier(len(calls))
    answers: list[object] = [None] * len(calls)
    errors: list[BaseException] = []

    def run(place: int) -> None:
        try:
            start.wait()
            answers[place] = calls[place]()
        except BaseException as error:  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return answers


@pytest.fixture(autouse=True)
def restless():
    """Threads change places every microsecond."""
    with switching(1e-6):
        yield


@pytest.mark.parametrize("observed", [False, True])
def test_one_of_many_settles(observed):
    """Of four ``done`` and blocks at once exactly one settles, and is told once."""
    for _ in range(ROUNDS):
        observer = RecordingObserver() if observed else None
        balancer = RoundRobin(["a"], observer=observer)
        pick = balancer.pick(cost=2.0)
        answers = together(pick.done, pick.done, pick.done, lambda p=pick: p.done(Outcome.FAILURE))
        assert answers.count(True) == 1
        view = balancer.snapshot().endpoints[0]
        assert (view.in_flight, view.load) == (0, 0.0)
        if observer:
            assert len(observer.outcomes) == 1
        balancer._ledger._check()


@pytest.mark.parametrize("cost", [1.0, 2.0])
def test_responded_against_done(cost):
    """``responded`` and ``done`` at once, twice each, leave neither a cost nor a lease behind."""
    for _ in range(ROUNDS):
        balancer = RoundRobin(["a"])
        pick, other = balancer.pick(cost=cost), balancer.pick()
        together(pick.responded, pick.done, pick.responded, other.responded)
        view = balancer.snapshot().endpoints[0]
        assert (view.in_flight, view.load) == (1, 0.0)
        balancer._ledger._check()
        other.done()
        assert not balancer._ledger.cells["a"].costs


def test_first_costs_at_once():
    """The first leases of odd cost, opened and settled by four threads, leave no cost behind."""
    for _ in range(ROUNDS):
        balancer = RoundRobin(["a"])

        def cycle(balancer=balancer):
            for _ in range(3):
                balancer.pick(cost=2.0).done()

        together(cycle, cycle, cycle, cycle)
        balancer._ledger._check()
        assert not balancer._ledger.cells["a"].costs


def test_dropped_leases_are_drained_once():
    """Leases dropped by many and drained by many are settled once each."""
    for _ in range(ROUNDS // 4):
        observer = RecordingObserver()
        balancer = RoundRobin(["a"], observer=observer)

        def drop(balancer=balancer):
            for _ in range(5):
                balancer.pick()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            together(drop, drop, balancer.snapshot, balancer.snapshot)
            balancer.pick()
            balancer.snapshot()
        assert len(observer.outcomes) == len(observer.picks) == 11


def test_a_pick_sees_one_membership():
    """A pick sees the old membership or the new one: a mixture is never picked from."""
    odd = [Endpoint(f"e{i}", weight=1 + i % 2, zone="odd") for i in range(1, 40, 2)]
    even = [Endpoint(f"e{i}", weight=1 + i % 2, zone="even") for i in range(0, 40, 2)]

    class Whole(Policy):
        def _build(self, view):
            return view.endpoints

        def _choose(self, view, key, exclude, cost, rng):
            assert view.state is view.endpoints
            assert len({endpoint.zone for endpoint in view.endpoints}) == 1
            assert [cell.endpoint.id for cell in view.cells] == [e.id for e in view.endpoints]
            return rng.choice(view.cells)

    balancer = Whole(odd)

    def picks():
        for _ in range(2_000):
            with balancer.pick() as pick:
                assert pick.endpoint.zone in ("odd", "even")

    def updates():
        for i in range(300):
            balancer.update(odd if i % 2 else even)
            zones = {view.endpoint.zone for view in balancer.snapshot().endpoints}
            assert len(zones) == 1

    together(picks, picks, updates)


def test_updates_at_once():
    """Of updates at once one comes last, whole; their deltas add up to what happened."""
    for _ in range(ROUNDS // 4):
        observer = RecordingObserver()
        balancer = RoundRobin(["a"], observer=observer)
        sets = [["a", "b"], ["b", "c"], ["c", "d", "e"], []]
        together(*(partial(balancer.update, ids) for ids in sets))
        final = {endpoint.id for endpoint in balancer.endpoints}
        assert sorted(final) in [sorted(ids) for ids in sets]
        present = {"a": 1}
        for delta in observer.deltas:
            for name in delta.added:
                present[name] = present.get(name, 0) + 1
            for name in delta.removed:
                present[name] = present.get(name, 0) - 1
        assert {name for name, count in present.items() if count} == final
        assert set(present.values()) <= {0, 1}


def test_unsubscribing_while_called():
    """Callbacks come and go while updates call them; nobody is lost or called twice an update."""
    balancer = RoundRobin(["a"])
    calls: list[int] = []
    balancer.changed(lambda: calls.append(1))

    def churn():
        for _ in range(200):
            balancer.changed(lambda: None)()

    def updates():
        for i in range(100):
            balancer.update([f"e{i}"])

    together(churn, churn, updates)
    assert len(calls) == 100
    assert len(balancer._listeners) == 1


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
def test_nothing_waits_for_control(policy):
    """``pick``, ``done``, ``explain`` and ``snapshot`` go on while the control lock is taken."""
    balancer = policy(["a", "b"])
    key = KEYS.get(policy.__name__, "key")
    held = balancer.pick(key)

    def use():
        with balancer.pick(key):
            pass
        balancer.pick().done() if not policy.keyed else None
        balancer.pick(key, exclude=["a"], cost=2.0).done()
        balancer.explain(key)
        held.done()
        return balancer.snapshot()

    with balancer._control:
        (seen,) = together(use)
    assert all(view.in_flight == 0 for view in seen.endpoints)


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
def test_closing_in_the_middle_of_picks(policy):
    """``close`` while threads pick and settle: no lease lacks what its end asks for."""
    key = KEYS.get(policy.__name__, "key") if policy.keyed else None
    for _ in range(ROUNDS // 8):
        options = OPTIONS.get(policy.__name__, {})
        balancer = policy(["a", "b", "c"], health=HealthRegistry(), **options)

        def cycles(balancer=balancer):
            for turn in range(20):
                with balancer.pick(key) as pick:
                    if turn % 3 == 0:
                        pick.responded()
                balancer.pick(key, exclude=["a"]).done(Outcome.FAILURE)

        together(cycles, cycles, balancer.close)
        assert not any(view.in_flight for view in balancer.snapshot().endpoints)
        balancer.pick(key).done()


def test_calls_from_inside_a_build():
    """What a finalizer or signal handler does in the middle of an update must not lock up.

    The build of a view and its publication stand for the middle: the control lock is held.
    """

    class Interrupted(Policy):
        ready = False

        def _use(self):
            if self.ready:
                seen = [found.endpoint.id for found in self.snapshot().endpoints]
                assert seen == [endpoint.id for endpoint in self.endpoints]
                with self.pick():
                    self.explain()

        def _build(self, view):
            self._use()

        def _publish(self, view):
            self._use()
            super()._publish(view)
            self._use()

        def _choose(self, view, key, exclude, cost, rng):
            return rng.choice(view.cells)

    balancer = Interrupted(["a", "b"])
    balancer.ready = True
    together(lambda: balancer.update(["b", "c"]), lambda: balancer.update(["d", "a"]))
    assert not any(view.in_flight for view in balancer.snapshot().endpoints)


def test_no_callback_under_a_lock():
    """Observers and callbacks find the control lock free, from whatever thread they look."""
    found: list[bool] = []

    def look(*_):
        free = balancer._control.acquire(blocking=False)
        if free:
            balancer._control.release()
        found.append(free)

    class Looking(Observer):
        on_pick = on_settle = on_update = look

    balancer = RoundRobin(["a"], observer=Looking())
    balancer.changed(look)
    with balancer.pick():
        pass
    balancer.update(["b"])
    balancer.pick()
    with pytest.warns(ResourceWarning):
        balancer.update(["c"])
    assert len(found) == 8
    assert all(found)
