"""Checks of what must be refused, and of what is contained."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Unpack

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.errors import InvalidEndpointError, NoEligibleEndpointError, NoEndpointError
from balancers.protocol import Balancer, Delta, Outcome
from balancers.testing.subject import (
    BAD_COSTS,
    Factory,
    Subject,
    Traits,
    in_flight,
    pick_id,
    quiet,
    self_check,
)

__all__ = ["check_errors", "check_observers", "check_shape"]

BAD_AMOUNTS: tuple[Any, ...] = (-1, -0.001, math.nan, math.inf, 10**400, True, "1")
PATIENCE = 20.0
"""Seconds after which a call is taken to be stuck."""
WRONG = (TypeError, ValueError)


def check_shape(factory: Factory, **traits: Unpack[Traits]) -> None:
    """It has the calls of a ``Balancer``, takes plain ids, and shows itself as JSON."""
    subject = Subject(factory, traits)
    balancer = subject.build(name for name in "abc")
    subject.require(isinstance(balancer, Balancer), "it lacks a method of the Balancer protocol")
    expected = tuple(Endpoint(name) for name in "abc")
    subject.require(balancer.endpoints == expected, f"endpoints are {balancer.endpoints}")
    lease = balancer.pick(subject.key(0), cost=2.0)
    told = json.loads(balancer.snapshot().to_json())
    counts = {entry["id"]: entry["in_flight"] for entry in told["endpoints"]}
    subject.require(counts == in_flight(balancer), f"to_json() shows {counts}")
    lease.done()
    subject.require(repr(balancer), "repr() is empty")
    balancer.close()
    balancer.close()
    pick_id(balancer, key=subject.key(0))


def check_errors(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Bad input raises at once and changes nothing: no cursor, no count, no member."""
    subject = Subject(factory, traits)
    mistaken: Any
    for mistaken in (["a", "a"], ["a", 7], [""], "ab", [None], 5):
        with subject.raises(WRONG, f"endpoints {mistaken!r}"):
            subject.build(mistaken)
    with subject.raises([InvalidEndpointError], "a duplicate id"):
        subject.build(["a", "a"])

    empty = subject.build([])
    with subject.raises([NoEndpointError], "pick() of an empty membership"):
        empty.pick(subject.key(0))
    with subject.raises([NoEndpointError], "pick(exclude=...) of an empty membership"):
        empty.pick(subject.key(0), exclude=["a"], cost=2.0)
    drained = subject.build([Endpoint("a", weight=0.0)])
    with subject.raises([NoEligibleEndpointError], "pick() of a drained set"):
        drained.pick(subject.key(0))

    balancer = subject.build(subject.members("abcde"))
    twin = subject.build(subject.members("abcde"))
    lease = balancer.pick(subject.key(0))
    same = twin.pick(subject.key(0))
    for doing, kinds, call in _mistakes(subject, balancer, lease):
        before = balancer.snapshot(), balancer.endpoints
        with subject.raises(kinds, doing):
            call()
        subject.require(
            (balancer.snapshot(), balancer.endpoints) == before, f"{doing} raised, and changed it"
        )
    for i in range(20):
        found, expected = (pick_id(b, key=subject.key(i)) for b in (balancer, twin))
        subject.require(
            found == expected,
            f"after refused calls pick {i} is {found!r}, without them {expected!r}",
        )
    subject.require(lease.done(), "a lease was settled by a refused done()")
    same.done()
    self_check(balancer)


def _mistakes(
    subject: Subject, balancer: Any, lease: Any
) -> Iterator[tuple[str, tuple[type[Exception], ...], Callable[[], object]]]:
    """What was done wrong, what it must raise, and the call."""
    key = subject.key(0)
    for bad in BAD_COSTS:
        yield f"cost={bad!r:.60}", WRONG, partial(balancer.pick, key, cost=bad)
    for bad in subject.bad_keys:
        yield f"key={bad!r}", (TypeError,), partial(balancer.pick, bad)
        yield f"explain({bad!r})", (TypeError,), partial(balancer.explain, bad)
    for bad in ("abc", "a", b"a", 5):
        yield f"exclude={bad!r}", (TypeError,), partial(balancer.pick, key, exclude=bad)
        told = f"explain(exclude={bad!r})"
        yield told, (TypeError,), partial(balancer.explain, key, exclude=bad)
    for bad in ("success", None, True, 0):
        yield f"done({bad!r})", (TypeError,), partial(lease.done, bad)
    for name in ("latency", "load", "retry_after"):
        for bad in BAD_AMOUNTS:
            yield f"done({name}={bad!r:.60})", WRONG, partial(lease.done, **{name: bad})
    for bad in (["a", "b", "a"], ["x", 7], ["x", ""], "ab", 5, None):
        yield f"update({bad!r})", WRONG, partial(balancer.update, bad)
    failing = partial(balancer.update, _failing())
    yield "update() from a failing iterator", (ZeroDivisionError,), failing
    yield "changed(7)", (TypeError,), partial(balancer.changed, 7)


def _failing() -> Iterator[str]:
    yield "x"
    raise ZeroDivisionError


class _OwnFaultError(Exception):
    """What observers and callbacks of this module raise."""


class _Faulty:
    """An observer that fails at every call."""

    def __init__(self) -> None:
        self.calls = 0

    def _fail(self, *_: object) -> None:
        self.calls += 1
        raise _OwnFaultError

    on_pick = on_settle = on_update = _fail


class _Reentrant:
    """An observer that calls back, a bounded number of times."""

    def __init__(self) -> None:
        self.balancer: Balancer | None = None
        self.settled: list[bool] = []
        self.failed: list[Exception] = []
        self.left = 0

    def on_pick(self, pick: Pick) -> None:
        def call(balancer: Balancer) -> None:
            with balancer.pick():
                balancer.snapshot()
            if self.left % 3 == 0:
                pick.done()

        self._attempt(call)

    def on_settle(self, pick: Pick, outcome: Outcome, latency: float | None) -> None:
        self.settled.append(pick.done())

    def on_update(self, delta: Delta) -> None:
        def call(balancer: Balancer) -> None:
            balancer.update([*balancer.endpoints[1:], f"new-{self.left}"])
            balancer.explain()

        self._attempt(call)

    def _attempt(self, call: Callable[[Balancer], object]) -> None:
        if self.balancer is not None and self.left > 0:
            self.left -= 1
            try:
                call(self.balancer)
            except Exception as error:
                self.failed.append(error)


def check_observers(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Observers and callbacks may fail, call back, and unsubscribe, without harm."""
    subject = Subject(factory, traits)
    try:
        with quiet():
            _check_faulty(subject)
    except _OwnFaultError as error:
        raise subject.fail("an observer's or a callback's exception was not contained") from error
    # In a thread, so that a call under a lock is a failure and not a silence.
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _check_reentrant(subject)
        except BaseException as error:  # told to the caller
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    subject.require(not thread.is_alive(), "an observer that calls back is stuck on a lock")
    if errors:
        raise errors[0]


def _check_faulty(subject: Subject) -> None:
    faulty = _Faulty()
    balancer = subject.build(subject.members("abc"), observer=faulty)
    calls: list[str] = []

    def once() -> None:
        calls.append("once")
        stop()

    def failing() -> None:
        calls.append("failing")
        raise _OwnFaultError

    def picking() -> None:
        calls.append("picking")
        pick_id(balancer, key=subject.key(0))

    stop = balancer.changed(once)
    stops = [balancer.changed(callback) for callback in (failing, picking)]
    with balancer.pick(subject.key(0)):
        pass
    balancer.update(subject.members("abcd"))
    first = sorted(calls)
    balancer.update(subject.members("abc"))
    second = sorted(calls)
    for unsubscribe in (*stops, *stops, stop):
        unsubscribe()
    balancer.update(subject.members("ab"))
    counts = in_flight(balancer)
    subject.require(first == ["failing", "once", "picking"], f"update() called back {first}")
    expected = sorted(["failing", "once", "picking", "failing", "picking"])
    subject.require(second == expected, f"after one unsubscribed, update() called {second}")
    subject.require(len(calls) == len(second), "a callback was called after it unsubscribed")
    # Picked and settled once here and in two callbacks; three updates.
    subject.require(faulty.calls == 9, f"an observer was called {faulty.calls} times, not 9")
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")


def _check_reentrant(subject: Subject) -> None:
    reentrant = _Reentrant()
    balancer = subject.build(subject.members("abc"), observer=reentrant)
    reentrant.balancer = balancer
    for i in range(6):
        reentrant.left = 10
        with balancer.pick(subject.key(i)):
            pass
        reentrant.left = 10
        balancer.update(subject.members("abcd"[: 2 + i % 3]))
    if reentrant.failed:
        raise subject.fail(f"a call inside an observer failed: {reentrant.failed[0]!r}")
    subject.require(
        not any(reentrant.settled), "done() inside on_settle settled the lease a second time"
    )
    counts = in_flight(balancer)
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")
    self_check(balancer)
