"""The registry under threads: nobody waits who must not, nothing is lost, order is kept."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from health_models import CALM, FakeBalancer, registry_at

from balancers import Outcome
from balancers.health import Admin, HealthEvent, HealthRegistry, HealthState
from balancers.policies import LeastConnections
from balancers.testing import ManualClock


@pytest.fixture(autouse=True)
def switch_often() -> Iterator[None]:
    """Let threads interrupt each other as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*works: Callable[[], None]) -> None:
    """Run each in a thread of its own; the first exception is raised here."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            start.wait()
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)

    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    if failed:
        raise failed[0]


def test_settlement_and_pick_do_not_wait_for_the_lock() -> None:
    """While somebody holds the registry's lock, ``settle`` and ``advance`` return at once.

    The outcome is not lost: the next call finds it, dated when it happened.
    """
    registry, clock = registry_at(CALM.but(consecutive_failures=1))
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    with registry._lock:
        clock.advance(1.0)
        balancer.entries["a"].settle(Outcome.FAILURE)
        clock.advance(1.0)
        registry.advance(clock.now)  # a second attempt would wait for ever
        balancer.entries["b"].take_probation_pick()
        assert registry.retry_after(["a"], clock.now) == 0.0
        assert balancer.view["a"].admitted
    assert registry.deadline < clock.now
    registry.advance(clock.now)

    assert not balancer.view["a"].admitted
    assert [(e.id, e.at) for e in registry.events()] == [("a", 1.0)]


def test_every_failure_is_counted_whoever_settles() -> None:
    """Outcomes settled by many threads at once all reach the machine."""
    registry, _ = registry_at(
        CALM.but(consecutive_failures=None, failure_ratio=1.0, failure_ratio_requests=10**9)
    )
    balancer = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    per_thread = 2000

    def work() -> None:
        for i in range(per_thread):
            balancer.entries["a"].settle(Outcome.FAILURE if i % 2 else Outcome.SUCCESS)

    together(*[work] * 4, lambda: [registry.tick() for _ in range(2000)] and None)
    registry.tick()
    passive = registry.snapshot()["endpoints"]["a"]["passive"]

    assert passive["window_failures"] == 4 * per_thread // 2
    assert passive["window_successes"] == 4 * per_thread // 2
    registry._check()


def test_change_is_shown_before_the_caller_goes_on() -> None:
    """``set_admin`` returns after every balancer shows it, whatever else goes on."""
    registry, clock = registry_at()
    names = [f"e{i}" for i in range(20)]
    balancers = [LeastConnections(names, health=registry) for _ in range(2)]
    done = threading.Event()

    def operate(name: str) -> Callable[[], None]:
        def work() -> None:
            try:
                for _ in range(60):
                    registry.set_admin(name, Admin.DISABLED)
                    assert all(b.explain().skipped[name] == "disabled" for b in balancers)
                    registry.set_admin(name, Admin.ENABLED)
                    assert all(b.explain().skipped.get(name) != "disabled" for b in balancers)
            finally:
                done.set()

        return work

    def update() -> None:
        rng = Random(3)
        while not done.is_set():
            rng.choice(balancers).update(["e0", "e1", *rng.sample(names[2:], 9)])

    def traffic() -> None:
        while not done.is_set():
            with balancers[0].pick() as pick:
                assert pick.endpoint.id in names
            balancers[1].pick().done(Outcome.FAILURE)
            clock.advance(0.01)

    together(operate("e0"), operate("e1"), update, traffic)
    registry._check()
    assert all(s.in_flight == 0 for b in balancers for s in b.snapshot().endpoints)


def test_events_are_told_in_order_one_at_a_time() -> None:
    """Subscribers see the log's order, never two calls at once, and every event."""
    registry, clock = registry_at(CALM.but(event_log=10**6, consecutive_failures=1))
    balancer = FakeBalancer(registry, {f"e{i}": 1.0 for i in range(8)})
    seen: list[HealthEvent] = []
    inside = threading.Lock()

    def callback(event: HealthEvent) -> None:
        assert inside.acquire(blocking=False)
        seen.append(event)
        inside.release()

    registry.subscribe(callback)

    def work(name: str) -> Callable[[], None]:
        def run() -> None:
            for i in range(150):
                registry.record_probe(name, ok=i % 5 > 1)
                balancer.entries[name].settle(Outcome.FAILURE)
                registry.set_admin(name, Admin.DRAINING if i % 2 else Admin.ENABLED)
                clock.advance(0.1)

        return run

    together(*[work(f"e{i}") for i in range(4)])
    registry.tick()

    assert tuple(seen) == registry.events()
    assert len(seen) > 400
    registry._check()


def test_picks_on_probation_are_bounded_across_threads() -> None:
    """However many threads ask, no more than ``probation_picks`` are out at a time."""
    registry, clock = registry_at(CALM.but(probation_picks=3, probation_successes=3))
    balancer = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    for _ in range(2):
        registry.record("a", Outcome.FAILURE)
    clock.advance(4.0)
    registry.tick()
    entry = balancer.entries["a"]
    out = [0]
    most = [0]
    count = threading.Lock()

    def work() -> None:
        for _ in range(500):
            if entry.take_probation_pick():
                with count:
                    out[0] += 1
                    most[0] = max(most[0], out[0])
                with count:
                    out[0] -= 1
                entry.settle(Outcome.CANCELLED, started=clock.now)

    together(*[work] * 4)

    assert most[0] <= 3
    assert len(entry.permits) == 3
    assert registry.state("a") is HealthState.PROBATION


def test_balancers_of_one_registry_do_not_deadlock() -> None:
    """Updates of two balancers, which hold the same ids, and refreshes of both cross freely."""
    registry, clock = registry_at(CALM.but(consecutive_failures=1))
    names = [f"e{i}" for i in range(10)]
    one = LeastConnections(names, health=registry)
    two = LeastConnections(names, health=registry)

    def update(balancer: LeastConnections, seed: int) -> Callable[[], None]:
        def run() -> None:
            rng = Random(seed)
            for _ in range(150):
                balancer.update(rng.sample(names, rng.randint(1, 10)))
                clock.advance(0.05)

        return run

    def fail(balancer: LeastConnections) -> Callable[[], None]:
        def run() -> None:
            for _ in range(300):
                balancer.pick().done(Outcome.FAILURE)

        return run

    together(update(one, 1), update(two, 2), fail(one), fail(two))
    registry._check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_has_a_registry_that_works() -> None:
    """A child forked while other threads use the registry is whole, and free to go on."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1))
    balancer = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            balancer.entries["a"].settle(Outcome.FAILURE)
            registry.record_probe("b", ok=True)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                try:
                    registry._check()
                    registry.record("b", Outcome.FAILURE)
                    os._exit(0 if registry.state("b") is HealthState.EJECTED else 1)
                except BaseException:
                    os._exit(2)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert code in (0, 1)  # 1: the caps spared b, a being out
    finally:
        stop.set()
        for thread in threads:
            thread.join(10.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_waits_for_the_change_another_thread_is_in() -> None:
    """Forked while a thread holds the lock half way through a change, the child has all of it."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1))
    inside, go_on = threading.Event(), threading.Event()
    forked: list[bool] = []

    class Late(FakeBalancer):
        """Does not come to show a change before the fork."""

        def _refresh(self) -> None:
            while not forked:
                time.sleep(0.001)
            super()._refresh()

    balancer = Late(registry, dict.fromkeys("abcd", 1.0))
    told: list[str] = []
    registry.subscribe(lambda event: told.append(event.id))
    enter = registry._machine._enter

    def slowly(*args: Any) -> None:
        inside.set()
        go_on.wait(30.0)
        enter(*args)

    registry._machine._enter = slowly  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: registry.record("a", Outcome.FAILURE))
    thread.start()
    assert inside.wait(30.0)
    threading.Timer(0.05, go_on.set).start()
    child = os.fork()
    forked.append(True)
    if child == 0:
        try:
            registry._machine._enter = enter  # type: ignore[method-assign]
            registry._check()
            assert registry.deadline == -math.inf
            registry.advance(0.0)  # what a pick does: the thread that should is not here
            assert not balancer.view["a"].admitted
            assert told == ["a"]
            registry.record("b", Outcome.FAILURE)
            os._exit(0 if told == ["a", "b"] else 1)
        except BaseException:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    thread.join(30.0)

    assert code == 0
    assert told == ["a"]
    assert not balancer.view["a"].admitted


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_two_threads_may_fork_at_once() -> None:
    """Each fork holds what it took, and gives back no more than that."""
    registry, _ = registry_at()
    registry.track(["a", "b"])
    codes: list[int] = []

    def fork() -> None:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                try:
                    registry.record_probe("a", ok=True)
                    os._exit(0)
                except BaseException:
                    os._exit(2)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    together(fork, fork, fork)
    assert codes == [0] * 15
    assert registry.record_probe("b", ok=True)
    assert not registry._lock.locked()


def test_own_rng_is_redrawn_in_a_child_and_a_given_one_is_not() -> None:
    """What the fork hook does, without a fork."""
    own = HealthRegistry(clock=ManualClock())
    given = HealthRegistry(clock=ManualClock(), rng=Random(1))
    for registry in (own, given):
        registry._rng.seed(1)
        registry._after_fork()

    assert given._rng.random() == Random(1).random()
    assert own._rng.random() != Random(1).random()
