"""A fleet of real servers that is probed, used, killed and restarted; what tests of it share."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from random import Random
from typing import Any

from probe_servers import HttpServer

from balancers import HealthRegistry, Outcome, Reason
from balancers.adapters.probe import AsyncProber, HttpCheck, ThreadProber
from balancers.health import HealthEvent, HealthPolicy, HealthState
from balancers.policies import RoundRobin

__all__ = [
    "PATIENCE",
    "QUICK",
    "Live",
    "Watch",
    "asyncly",
    "loop",
    "open_files",
    "states",
    "threads",
    "tracking",
    "turmoil",
]

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


BACK = ("probation", "ramping", "healthy")
"""States in which an endpoint gets traffic again."""


def open_files() -> int:
    """Files and sockets this process has open, 0 where nobody can tell."""
    gc.collect()
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.is_dir() else 0


def request(balancer: RoundRobin) -> tuple[str, Reason]:
    """Send one real request where the balancer says; return where that was, and why."""
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
    return pick.endpoint.id, pick.reason


OUT = (HealthState.UNHEALTHY, HealthState.EJECTED)


@dataclass
class Live:
    """What became of a fleet under turmoil.

    Attributes:
        kills: Servers killed.
        found: By whom the death was found first: "unhealthy" (probes), "ejected" (traffic).
        requests: Requests sent.
        to_dead: Picks of a server known to be dead.
        last: Picks of each server in the last three rounds, everybody being well again.
        early: Servers back sooner after their restart than the minimum healthy time.
    """

    kills: int = 0
    found: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    to_dead: int = 0
    last: Counter[str] = field(default_factory=Counter)
    early: list[str] = field(default_factory=list)


class _Known:
    """Servers known to be dead: found so, and not restarted since."""

    def __init__(self, registry: HealthRegistry) -> None:
        self.dead: set[str] = set()
        self.names: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        registry.subscribe(self._learn)

    def _learn(self, event: HealthEvent) -> None:
        # Told after every balancer shows the change: from here on nobody may pick it.
        with self._lock:
            if event.new in OUT and event.id in self.dead:
                self.names |= {event.id}

    def kill(self, name: str) -> None:
        self.dead.add(name)

    def revive(self, name: str) -> None:
        with self._lock:
            self.dead.discard(name)
            self.names -= {name}


def turmoil(
    prober: Any,
    *,
    size: int,
    policy: HealthPolicy,
    goes_on: Callable[[Live], bool],
    clients: int = 0,
    seed: int = 4,
) -> Live:
    """Kill and restart servers at random, one after the other, a third of them at most dead.

    Args:
        prober: ``threads`` or ``loop``.
        size: Servers.
        policy: Of the registry. An ejection must outlast the time in which probes find a death,
            or its probation sends a request to a dead server.
        goes_on: Asked before each incident.
        clients: Threads that send requests all the time, beside this one.
        seed: Of who is killed when.
    """
    rng = Random(seed)
    live = Live()
    stop = threading.Event()
    lock = threading.Lock()
    restarts: list[tuple[float, str]] = []
    with ExitStack() as stack:
        running = (stack.enter_context(HttpServer.running()) for _ in range(size))
        servers = {server.id: server for server in running}
        registry = HealthRegistry(policy.but(event_log=100_000))
        watch = Watch(registry)
        known = _Known(registry)
        balancer = RoundRobin(list(servers), health=registry)
        stack.enter_context(prober(registry, HttpCheck("/healthz")))
        watch.until(lambda: set(states(registry).values()) == {"healthy"})

        def send() -> str:
            before = known.names
            name, reason = request(balancer)
            with lock:
                live.requests += 1
                # Known before the pick, and not restarted since.
                live.to_dead += reason is not Reason.PANIC and name in before & known.names
            return name

        def revive(name: str) -> None:
            known.revive(name)
            restarts.append((time.monotonic(), name))
            servers[name].start()

        def client() -> None:
            while not stop.is_set():
                send()

        workers = [threading.Thread(target=client) for _ in range(clients)]
        for worker in workers:
            worker.start()
        try:
            while goes_on(live):
                dead = known.dead
                if len(dead) < max(1, size // 3) and (not dead or rng.random() < 0.55):
                    name = rng.choice(sorted(set(servers) - dead))
                    known.kill(name)
                    servers[name].kill()
                    live.kills += 1
                    while registry.state(name) not in OUT:
                        send()
                    live.found[registry.state(name).value] += 1
                else:
                    name = rng.choice(sorted(dead))
                    watch.until(lambda name=name: registry.state(name) is HealthState.UNHEALTHY)
                    revive(name)
                    watch.until(lambda name=name: states(registry)[name] in BACK)
                for _ in range(2 * size):
                    send()
            for name in sorted(known.dead):
                watch.until(lambda name=name: registry.state(name) is HealthState.UNHEALTHY)
                revive(name)

            def whole() -> bool:
                send()
                return set(states(registry).values()) == {"healthy"}

            watch.until(whole)
        finally:
            stop.set()
            for worker in workers:
                worker.join(PATIENCE)
        live.last = Counter(request(balancer)[0] for _ in range(3 * size))
        for at, name in restarts:
            back = (e.at for e in registry.events(name) if e.at >= at and e.new.value in BACK)
            if next(back) < at + policy.minimum_healthy_time:
                live.early.append(name)
        assert all(seen.in_flight == 0 for seen in balancer.snapshot().endpoints)
        registry._check()
    return live
