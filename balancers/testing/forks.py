"""What a forked child must find: its own chance, and locks that can be taken."""

from __future__ import annotations

import gc
import json
import os
import signal
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Unpack

from balancers.protocol import Balancer
from balancers.testing.doubles import ManualClock
from balancers.testing.subject import Factory, Subject, Traits, in_flight, pick_id

__all__ = ["check_fork", "in_child"]

STUCK = "a forked child is stuck, on a lock most likely"
CHILDREN = 6
PICKS = 12
PATIENCE = 60
"""Seconds after which a child is taken to be stuck."""
YIELD = 0.2
"""Seconds the locks of a balancer are held over a fork."""


def check_fork(factory: Factory, **traits: Unpack[Traits]) -> None:
    """After ``os.fork`` locks are fresh, the library's own draws too; injected ones are left.

    False alarm: with 64 equal endpoints, six children that really draw make the same twelve
    picks with a chance below 64⁻⁵, about 1e-9. Does nothing where there is no ``os.fork``.
    """
    subject = Subject(factory, traits)
    if not hasattr(os, "fork"):
        return
    names = [f"host-{i}" for i in range(64)]

    def look(balancer: Balancer) -> Callable[[], list[str]]:
        return lambda: [pick_id(balancer) for _ in range(PICKS)]

    own = factory(names)
    seen = [tuple(in_child(subject, look(own))) for _ in range(CHILDREN)]
    subject.require(len(set(seen)) > 1, f"{CHILDREN} forked children all picked {seen[0]}")

    # A clock that stands: what a policy learns of latency must not differ by the machine.
    injected = factory(names, rng=Random(subject.seed), clock=ManualClock())
    seen = [tuple(in_child(subject, look(injected))) for _ in range(CHILDREN)]
    subject.require(len(set(seen)) == 1, "children drew again from an rng that was injected")
    here = tuple(look(injected)())
    subject.require(here == seen[0], "an injected rng goes on differently in a child")

    balancer = factory(names)
    lease = balancer.pick(subject.key(0))
    with _held_elsewhere(_locks_of(balancer)):
        told = in_child(subject, lambda: _use_all(subject, balancer))
    subject.require(told == [0], f"a child that used everything ends with {told} in flight")
    subject.require(lease.done(), "a lease was settled in a child, and in the parent with it")


def _use_all(subject: Subject, balancer: Balancer) -> list[int]:
    with balancer.pick(subject.key(0)):
        pass
    balancer.pick(subject.key(0), exclude=["host-0"], cost=2.0).done()
    balancer.explain(subject.key(1))
    balancer.update(["new", *balancer.endpoints[:3]])
    balancer.snapshot()
    balancer.update(["new"])
    with balancer.pick(subject.key(0)):
        pass
    balancer.close()
    return list(in_flight(balancer).values())


def in_child(subject: Subject, work: Callable[[], Any], stuck: str = STUCK) -> Any:
    """Return what ``work()`` returns in a forked child, as JSON carries it.

    Raises:
        AssertionError: If the child raises, or does not end: then it says ``stuck``.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads: that is the point here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            os.close(reading)
            os.write(writing, json.dumps(work()).encode())
            code = 0
        except BaseException as error:  # nothing may leave the child
            os.write(writing, json.dumps(repr(error)).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    subject.require(status != -signal.SIGALRM, stuck)
    subject.require(status == 0, f"a forked child raised {told.decode()} (status {status})")
    return json.loads(told)


@contextmanager
def _held_elsewhere(locks: list[Any]) -> Iterator[None]:
    """Have another thread hold the locks during the block, but no longer than ``YIELD``.

    A balancer may prefer to wait before the fork for its locks to be free.
    """
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        taken.set()
        done.wait(YIELD)
        for lock in locks:
            lock.release()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    taken.wait()
    try:
        yield
    finally:
        done.set()
        holder.join()


def _locks_of(balancer: Balancer) -> list[Any]:
    """Return every plain lock reachable from the balancer, without entering modules or code."""
    plain = type(threading.Lock())
    closed = (types.ModuleType, types.FunctionType, types.FrameType, type)
    found: dict[int, Any] = {}
    seen: set[int] = set()
    stack: list[Any] = [balancer]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, closed):
            continue
        seen.add(id(item))
        if isinstance(item, plain):
            found[id(item)] = item
        stack.extend(gc.get_referents(item))
    return [lock for lock in found.values() if not lock.locked()]
