"""``ThreadProber`` and ``AsyncProber`` at work: bounds, timeouts, ends, and a live fleet."""

import asyncio
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest
from live_fleet import (
    PATIENCE,
    QUICK,
    Watch,
    asyncly,
    loop,
    open_files,
    states,
    threads,
    tracking,
    turmoil,
)
from probe_servers import HttpServer

from balancers.adapters.probe import Answer, AsyncProber, HttpCheck, TcpCheck, ThreadProber
from balancers.health import HealthRegistry, HealthState
from balancers.testing import ManualClock

both = pytest.mark.parametrize("prober", [threads, loop])


@both
@pytest.mark.parametrize("check", [TcpCheck(), HttpCheck("/healthz")])
def test_killed_is_found_and_restarted_is_found(prober: Any, check: Any) -> None:
    """A server that stops is UNHEALTHY, and HEALTHY again, by way of grace, when it is back."""
    with ExitStack() as stack:
        one, two = (stack.enter_context(HttpServer.running()) for _ in range(2))
        registry, watch = tracking(one.id, two.id)
        stack.enter_context(prober(registry, check))
        watch.until(lambda: set(states(registry).values()) == {"healthy"})
        one.kill()
        watch.until(lambda: states(registry)[one.id] == "unhealthy")
        assert states(registry)[two.id] == "healthy"
        one.start()
        watch.until(lambda: states(registry)[one.id] == "healthy")
        way = [event.new for event in registry.events(one.id)]

        assert way[:5] == [
            HealthState.HEALTHY,
            HealthState.UNHEALTHY,
            HealthState.GRACE,
            HealthState.RAMPING,
            HealthState.HEALTHY,
        ]


@both
def test_concurrency_is_never_exceeded(prober: Any) -> None:
    """Counted in the check itself: never more than three at a time, and three are reached."""
    lock = threading.Lock()
    now = [0]
    most = [0]

    def ask(name: str) -> bool:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.001)
        with lock:
            now[0] -= 1
        return True

    async def ask_async(name: str) -> bool:
        now[0] += 1
        most[0] = max(most[0], now[0])
        await asyncio.sleep(0.001)
        now[0] -= 1
        return True

    names = [f"e{i}" for i in range(60)]
    registry, watch = tracking(*names)
    with prober(registry, ask if prober is threads else ask_async, concurrency=3):
        watch.until(lambda: set(states(registry).values()) == {"healthy"})

    assert most[0] == 3


@both
def test_callables(prober: Any) -> None:
    """A bool or an ``Answer`` is taken as it is; an exception or anything else is a failure."""

    def ask(name: str) -> Any:
        match name:
            case "degraded":
                return Answer(ok=True, degraded=True)
            case "raises":
                raise RuntimeError("no")
            case "odd":
                return "yes"
        return name == "good"

    registry, watch = tracking("good", "bad", "degraded", "raises", "odd")
    with prober(registry, ask):
        expected = {
            "good": "healthy",
            "bad": "unhealthy",
            "degraded": "degraded",
            "raises": "unhealthy",
            "odd": "unhealthy",
        }
        watch.until(lambda: states(registry) == expected)


@both
def test_check_that_hangs_times_out(prober: Any) -> None:
    """A hanging check costs its endpoint the verdict, and the others nothing."""
    release = threading.Event()

    def hang(name: str) -> bool:
        if name == "stuck":
            release.wait(PATIENCE)
        return True

    async def hang_async(name: str) -> bool:
        if name == "stuck":
            await asyncio.Event().wait()
        return True

    registry, watch = tracking("stuck", "fine", policy=QUICK.but(fall=1))
    try:
        with prober(registry, hang if prober is threads else hang_async, concurrency=4):
            watch.until(lambda: states(registry) == {"stuck": "unhealthy", "fine": "healthy"})
            release.set()
    finally:
        release.set()


def test_answer_that_comes_too_late_is_a_failure() -> None:
    """A check that holds its thread beyond the timeout fails, whatever it says then."""
    clock = ManualClock()
    registry = HealthRegistry(QUICK.but(fall=1), clock=clock)
    registry.track(["slow"])
    watch = Watch(registry)

    def late(name: str) -> bool:
        clock.advance(1.0)
        return True

    with ThreadProber(registry, late):
        watch.until(lambda: clock.advance(0.01) > 0.0 and bool(registry.events()))

    assert registry.events()[0].new is HealthState.UNHEALTHY


def test_closed_prober_reports_nothing_more() -> None:
    """After ``close`` no thread of it runs, and nothing is reported."""
    before = set(threading.enumerate())
    with HttpServer.running() as server:
        registry, watch = tracking(server.id)
        prober = ThreadProber(registry, HttpCheck())
        prober.start()
        watch.until(lambda: states(registry) == {server.id: "healthy"})
        prober.close()
        prober.close()
        hits = server.hits
        seen = registry.snapshot()["endpoints"][server.id]["active"]["probed_at"]

        assert not [t for t in set(threading.enumerate()) - before if "probe" in t.name]
        with pytest.raises(RuntimeError, match="once"):
            prober.start()
        assert server.hits == hits
        assert registry.snapshot()["endpoints"][server.id]["active"]["probed_at"] == seen


def test_close_does_not_wait_for_a_hanging_callable() -> None:
    """A thread stuck in somebody's callable is left behind, its answer not reported."""
    release = threading.Event()
    entered = threading.Event()

    def hang(name: str) -> bool:
        entered.set()
        release.wait(PATIENCE)
        return True

    registry, _ = tracking("a", policy=QUICK.but(probe_timeout=0.05, fall=9))
    prober = ThreadProber(registry, hang)
    prober.start()
    assert entered.wait(PATIENCE)
    prober.close(timeout=0.01)
    stuck = [t for t in threading.enumerate() if t.name == "balancers-probe"]
    release.set()
    for thread in stuck:
        thread.join(PATIENCE)

    assert states(registry) == {"a": "unknown"}


def test_new_ids_are_probed_soon() -> None:
    """An id that joins a sleeping prober is probed within the fast interval or so."""
    registry = HealthRegistry(QUICK.but(probe_interval=60.0, probe_fast_interval=0.05))
    watch = Watch(registry)
    with ThreadProber(registry, lambda name: True):
        registry.track(["late"])
        watch.until(lambda: states(registry) == {"late": "healthy"})


@pytest.mark.parametrize(
    ("check", "concurrency"),
    [(None, 1), (1, 1), (TcpCheck(), 0), (TcpCheck(), True), (TcpCheck(), 1.0)],
)
def test_bad_arguments(check: Any, concurrency: Any) -> None:
    """What is no check, registry or count is refused at once."""
    registry = HealthRegistry()
    for make in (ThreadProber, AsyncProber):
        with pytest.raises((TypeError, ValueError)):
            make(registry, check, concurrency=concurrency)
        with pytest.raises(TypeError, match="HealthRegistry"):
            make(None, TcpCheck())
    with pytest.raises(TypeError, match="AsyncProber"):
        ThreadProber(registry, asyncly(lambda name: True))


@both
def test_live_fleet(prober: Any) -> None:
    """Servers killed and restarted, probed and used: once found, dead ones get no pick.

    ``nox -s live`` does it with fifty servers for a minute.
    """
    open_before = open_files()
    # Ejections outlast the time probes take to agree with them.
    policy = QUICK.but(
        probe_timeout=0.25,
        probe_interval=0.25,
        probe_unhealthy_interval=0.05,
        ejection_time=1.0,
        ejection_time_max=1.0,
        max_ejected=0.9,
    )
    incidents = iter(range(2))
    live = turmoil(
        prober, size=5, policy=policy, goes_on=lambda live: next(incidents, None) is not None
    )

    assert live.kills >= 1
    assert live.to_dead == 0
    assert live.early == []
    assert len(live.last) == 5
    assert set(live.last.values()) == {3}
    assert open_files() <= open_before + 2
