"""Probers: they ask the registry which probes are due, do them, and report what came of it.

``ThreadProber`` works with threads, ``AsyncProber`` as a task of an event loop; the checks are
the same::

    from balancers.adapters.probe import HttpCheck, ThreadProber

    with ThreadProber(registry, HttpCheck("/healthz")):
        serve()

Guarantees:
    At most ``concurrency`` probes run at a time; what does not fit stays due, and the registry
    does not make up for what came too late, so a pause of the machine is followed by no storm.
    A probe that raises or outlasts the policy's ``probe_timeout`` has failed. When the ``with``
    block ends no probe is reported any more; a thread that hangs in a callable of yours is
    left behind, as a daemon.

Use when:
    Endpoints can be asked how they are. Probes see an outage before any request does.

Avoid when:
    Somebody else already watches: tell the registry by ``record_probe`` or ``set_admin``.

Cost:
    One connection a probe, none kept open.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

from balancers.adapters.probe_checks import Check, HttpCheck, TcpCheck, split_address
from balancers.adapters.probe_io import Answer
from balancers.health import HealthRegistry, ProbeResult

__all__ = [
    "Answer",
    "AsyncProber",
    "Check",
    "HttpCheck",
    "TcpCheck",
    "ThreadProber",
    "split_address",
]

log: logging.Logger = logging.getLogger("balancers")

Verdict: TypeAlias = bool | Answer
Asked: TypeAlias = Check | Callable[[str], Verdict] | Callable[[str], Awaitable[Verdict]]


TIMED_OUT = Answer(ok=False, detail="timed out")


class _Core:
    """What both runners have in common; does no I/O."""

    def __init__(self, registry: HealthRegistry, check: Asked, concurrency: int) -> None:
        if not isinstance(registry, HealthRegistry):
            raise TypeError(f"registry is a HealthRegistry, not {registry!r}")
        if not (callable(check) or hasattr(check, "run")):
            raise TypeError(f"check is a Check or callable, not {check!r}")
        if isinstance(concurrency, bool) or not isinstance(concurrency, int):
            raise TypeError(f"concurrency is a whole number, not {concurrency!r}")
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
        self.registry = registry
        self.check = check
        self.concurrency = concurrency
        self.timeout = registry.policy.probe_timeout
        self._known: set[type[Exception]] = set()

    def pause(self) -> float:
        """Seconds until it is worth asking again, at most half the fast interval.

        At most, because ids that join meanwhile are due within that interval.
        """
        left = self.registry.next_deadline() - self.registry.clock()
        return min(max(0.0, left), self.registry.policy.probe_fast_interval / 2.0)

    def result(self, name: str, verdict: object, started: float) -> ProbeResult:
        """Make of a check's verdict what the registry takes."""
        latency = max(0.0, self.registry.clock() - started)
        if isinstance(verdict, bool):
            verdict = Answer(verdict)
        if not isinstance(verdict, Answer):
            log.error("the check of %r returned %r, not a bool or an Answer", name, verdict)
            verdict = Answer(ok=False)
        if verdict.detail:
            log.debug("probe of %r: %s", name, verdict.detail)
        return ProbeResult(name, verdict.ok, verdict.ok and verdict.degraded, latency)

    def overdue(self, started: float) -> bool:
        """Whether a probe that ends now took too long, whatever it says."""
        return self.registry.clock() - started > self.timeout

    def failed(self, name: str, error: Exception) -> Answer:
        """Make an answer of an exception; one that may be a bug is logged the first time."""
        kind = type(error)
        if isinstance(error, OSError) or kind in self._known:
            log.debug("probe of %r: %s: %s", name, kind.__name__, error)
        else:
            self._known.add(kind)
            log.warning("probe of %r raised, which is a failure", name, exc_info=error)
        return Answer(ok=False)


class ThreadProber:
    """Probes with threads, started by ``start`` or a ``with`` block.

    Args:
        registry: Says what is due and is told what came of it.
        check: A ``Check``, or a function from an id to a bool or an ``Answer``. Such a function
            should keep a timeout of its own: a thread cannot be interrupted.
        concurrency: Probes at a time, each on a thread of its own.
    """

    def __init__(self, registry: HealthRegistry, check: Asked, *, concurrency: int = 16) -> None:
        self._core = _Core(registry, check, concurrency)
        if inspect.iscoroutinefunction(check):
            raise TypeError("a coroutine function needs an AsyncProber")
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._started = False
        self._todo: list[str] = []
        self._running: dict[object, tuple[str, float]] = {}  # by token: id, start
        self._done: list[ProbeResult] = []  # for the leader, who reports them together
        self._idle = 0
        self._workers: list[threading.Thread] = []
        self._leader = threading.Thread(target=self._lead, name="balancers-probes", daemon=True)

    def start(self) -> None:
        """Begin to probe.

        Raises:
            RuntimeError: If it has been started before.
        """
        if self._started:
            raise RuntimeError("a prober is started once")
        self._started = True
        self._leader.start()

    def close(self, timeout: float | None = None) -> None:
        """Stop, and wait for the probes under way; idempotent.

        Args:
            timeout: Seconds to wait; by default twice the policy's ``probe_timeout``.
        """
        with self._changed:
            self._closing.set()
            self._todo.clear()
            self._changed.notify_all()
        wait = 2.0 * self._core.timeout if timeout is None else timeout
        clock = self._core.registry.clock
        end = clock() + wait
        for thread in (self._leader, *self._workers):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.0, min(wait, end - clock())))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lead(self) -> None:
        core = self._core
        while True:
            with self._changed:
                if self._closing.is_set():
                    return
                free = core.concurrency - len(self._running) - len(self._todo)
                done, self._done = self._done + self._late(), []
            if done:
                core.registry.record_probes(done)
            due = core.registry.due_probes(limit=free) if free > 0 else []
            pause = core.pause() if free > len(due) else core.timeout
            with self._changed:
                if self._closing.is_set():
                    return
                self._todo += due
                while self._idle < len(self._todo) and len(self._workers) < core.concurrency:
                    self._idle += 1
                    worker = threading.Thread(
                        target=self._work, name="balancers-probe", daemon=True
                    )
                    self._workers.append(worker)
                    worker.start()
                if due:
                    self._changed.notify_all()
                elif pause > 0.0 and not self._done:
                    self._changed.wait(pause)

    def _late(self) -> list[ProbeResult]:
        """Give up on probes that outlast the timeout; their threads stay busy."""
        core = self._core
        now = core.registry.clock()
        found = []
        for token, (name, started) in self._running.items():
            if name and now - started > core.timeout:
                found.append(core.result(name, TIMED_OUT, started))
                self._running[token] = ("", started)  # a later answer counts for nothing
        return found

    def _work(self) -> None:
        core = self._core
        while True:
            with self._changed:
                while not self._todo:
                    if self._closing.is_set():
                        return
                    self._changed.wait()
                name = self._todo.pop(0)
                self._idle -= 1
                token = object()
                started = core.registry.clock()
                self._running[token] = (name, started)
            try:
                verdict: object = self._ask(name)
            except Exception as error:
                verdict = core.failed(name, error)
            if core.overdue(started):
                verdict = TIMED_OUT
            result = core.result(name, verdict, started)
            with self._changed:
                on_time = bool(self._running.pop(token)[0])
                self._idle += 1
                if self._closing.is_set():
                    return
                if on_time:
                    self._done.append(result)
                self._changed.notify_all()

    def _ask(self, name: str) -> object:
        check: Any = self._core.check
        return check.run(name, self._core.timeout) if hasattr(check, "run") else check(name)


class AsyncProber:
    """Probes on an event loop, as long as its ``async with`` block or ``run`` lasts.

    Args:
        registry: Says what is due and is told what came of it.
        check: A ``Check``, or a coroutine function from an id to a bool or an ``Answer``.
        concurrency: Probes at a time.
    """

    def __init__(self, registry: HealthRegistry, check: Asked, *, concurrency: int = 64) -> None:
        self._core = _Core(registry, check, concurrency)
        self._running: set[asyncio.Task[None]] = set()
        self._done: list[ProbeResult] = []
        self._main: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Probe until cancelled; no probe is left behind."""
        core = self._core
        try:
            while True:
                free = core.concurrency - len(self._running)
                due = core.registry.due_probes(limit=free) if free > 0 else []
                for name in due:
                    task = asyncio.create_task(self._probe(name))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
                if len(self._running) < core.concurrency:
                    # A probe that ends may make another one due sooner: look then, too.
                    pause = core.pause()
                    if self._running:
                        await asyncio.wait(
                            self._running, timeout=pause, return_when=asyncio.FIRST_COMPLETED
                        )
                    else:
                        await asyncio.sleep(pause)
                else:
                    await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in list(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            self._report()

    async def __aenter__(self) -> Self:
        if self._main is not None:
            raise RuntimeError("a prober is started once")
        self._main = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._main is not None
        self._main.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._main

    async def _probe(self, name: str) -> None:
        core = self._core
        started = core.registry.clock()
        try:
            async with asyncio.timeout(core.timeout):
                verdict: object = await self._ask(name)
        except Exception as error:
            verdict = core.failed(name, error)
        if not self._done:  # what else ends in this turn of the loop is reported with it
            asyncio.get_running_loop().call_soon(self._report)
        self._done.append(core.result(name, verdict, started))

    def _report(self) -> None:
        done, self._done = self._done, []
        if done:
            self._core.registry.record_probes(done)

    async def _ask(self, name: str) -> object:
        check: Any = self._core.check
        if hasattr(check, "run_async"):
            return await check.run_async(name)
        return await check(name)
