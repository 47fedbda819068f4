"""``ThreadProber`` and ``AsyncProber`` at work: bounds, timeouts, ends, and a live fleet."""

import asyncio
import gc
import inspect
import os
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any

import pytest
from probe_servers import HttpServer

from balancers import Outcome
from balancers.adapters.probe import Answer, AsyncProber, HttpCheck, TcpCheck, ThreadProber
from balancers.health import HealthPolicy, HealthRegistry, HealthState
from balancers.policies import RoundRobin

QUICK = HealthPolicy(
    probe_interval=0.1,
    probe_fast_interval=0.02,
    probe_timeout=0.1,
    fall=2,
    minimum_healthy_time=0.1,
    slow_start=0.1,
    ejection_time=0.2,
)
PATIENCE = 30.0
"""Seconds after which a test gives up waiting; none waits for time to pass."""


def asyncly(check: Callable[[str], Any]) -> Callable[[str], Awaitable[Any]]:
    """Make a coroutine function of a function."""

    async def ask(name: str) -> Any:
        return check(name)

    return ask


@contextmanager
def threads(registry: HealthRegistry, check: Any, concurrency: int = 16) -> Iterator[None]:
    """Probe with threads."""
    with ThreadProber(registry, check, concurrency=concurrency):
        yield


@contextmanager
def loop(registry: HealthRegistry, check: Any, concurrency: int = 16) -> Iterator[None]:
    """Probe on an event loop of a thread's own."""
    if not hasattr(check, "run_async") and not inspect.iscoroutinefunction(check):
        check = asyncly(check)
    stop = asyncio.Event()
    ready = threading.Event()
    kept: list[asyncio.AbstractEventLoop] = []
    left: list[asyncio.Task[Any]] = []

    async def main() -> None:
        kept.append(asyncio.get_running_loop())
        async with AsyncProber(registry, check, concurrency=concurrency):
            ready.set()
            await stop.wait()
        left.extend(asyncio.all_tasks() - {asyncio.current_task()})

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(PATIENCE)
    try:
        yield
    finally:
        kept[0].call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert left == []


both = pytest.mark.parametrize("prober", [threads, loop])


class Watch:
    """Lets a test wait until the registry says something."""

    def __init__(self, registry: HealthRegistry) -> None:
        self._registry = registry
        self._changed = threading.Condition()
        registry.subscribe(self._wake)

    def _wake(self, event: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not holds():
            left = end - time.monotonic()
            assert left > 0.0, self._registry.snapshot()
            with self._changed:
                self._changed.wait(min(0.02, left))


def tracking(*names: str, policy: HealthPolicy = QUICK) -> tuple[HealthRegistry, Watch]:
    """Return a registry that tracks the names, and a way to wait for it."""
    registry = HealthRegistry(policy)
    registry.track(names)
    return registry, Watch(registry)


def states(registry: HealthRegistry) -> dict[str, str]:
    """State by id."""
    return {name: seen["state"] for name, seen in registry.snapshot()["endpoints"].items()}


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


BACK = ("probation", "ramping", "healthy")
"""States in which an endpoint gets traffic again."""


def open_files() -> int:
    """Files and sockets this process has open, 0 where nobody can tell."""
    gc.collect()
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.is_dir() else 0


def request(balancer: RoundRobin) -> str:
    """Send one real request where the balancer says; return where that was."""
    pick = balancer.pick()
    host, _, port = pick.endpoint.id.rpartition(":")
    line = HTTPConnection(host, int(port), timeout=5.0)
    try:
        line.request("GET", "/", headers={"Connection": "close"})
        line.getresponse().read()
    except (OSError, HTTPException):
        pick.done(Outcome.FAILURE)
    else:
        pick.done()
    finally:
        line.close()
    return pick.endpoint.id


@both
def test_live_fleet(prober: Any) -> None:
    """Servers killed and restarted at random, probed and used: once found, dead ones get no pick.

    By default 12 servers and 6 incidents; BALANCERS_LIVE=50 is fifty servers and 60 incidents,
    about a minute.
    """
    size = int(os.environ.get("BALANCERS_LIVE", "12"))
    incidents = 6 if size == 12 else 60
    open_before = open_files()
    rng = Random(4)
    # A timeout no healthy server misses, however busy the machine; ejections that outlast the
    # time probes take to agree with them.
    policy = QUICK.but(
        probe_timeout=1.0,
        probe_interval=1.0,
        ejection_time=2.5,
        ejection_time_max=2.5,
        max_ejected=0.9,
    )
    with ExitStack() as stack:
        servers = {s.id: s for s in
                   (stack.enter_context(HttpServer.running()) for _ in range(size))}  # fmt: skip
        registry = HealthRegistry(policy)
        watch = Watch(registry)
        balancer = RoundRobin(list(servers), health=registry)
        stack.enter_context(prober(registry, HttpCheck("/healthz")))
        watch.until(lambda: set(states(registry).values()) == {"healthy"})
        dead: set[str] = set()
        to_dead = 0
        found = Counter[str]()
        for _ in range(incidents):
            if len(dead) < size // 3 and (not dead or rng.random() < 0.6):
                name = rng.choice(sorted(set(servers) - dead))
                servers[name].kill()
                dead.add(name)
                while (state := states(registry)[name]) not in ("unhealthy", "ejected"):
                    request(balancer)
                found[state] += 1
            else:
                name = rng.choice(sorted(dead))
                watch.until(lambda name=name: states(registry)[name] == "unhealthy")
                servers[name].start()
                dead.remove(name)
                watch.until(lambda name=name: states(registry)[name] in BACK)
            to_dead += sum(request(balancer) in dead for _ in range(2 * size))
        for name in dead:
            watch.until(lambda name=name: states(registry)[name] == "unhealthy")
            servers[name].start()

        def whole() -> bool:
            request(balancer)
            return set(states(registry).values()) == {"healthy"}

        watch.until(whole)
        picks = Counter(request(balancer) for _ in range(3 * size))

        assert to_dead == 0
        assert set(picks.values()) == {3}
        assert picks.keys() == servers.keys()
        assert all(seen.in_flight == 0 for seen in balancer.snapshot().endpoints)
        registry._check()
    assert open_files() <= open_before + 2
