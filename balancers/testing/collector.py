"""A check of what the garbage collector may do in the middle of a call."""

from __future__ import annotations

import gc
import os
import warnings
from typing import Unpack

from balancers.core.lease import Pick
from balancers.protocol import Balancer
from balancers.testing.forks import in_child
from balancers.testing.subject import Factory, Subject, Traits, in_flight, self_check

__all__ = ["check_finalizers"]

DELAYS = 40
"""The collector runs after 1, 2, … up to this many allocations, so that it meets every line."""


class _Response:
    """What an HTTP client hands out: it settles its lease when it is collected."""

    def __init__(self, pick: Pick) -> None:
        self.pick = pick
        self.itself = self  # a cycle: only the collector finds it

    def __del__(self) -> None:
        self.pick.done()


def check_finalizers(factory: Factory, **traits: Unpack[Traits]) -> None:
    """A finalizer may settle a lease wherever the collector happens to run.

    The collector runs in whatever thread allocates, also inside a lock of the balancer: a
    settlement that takes such a lock would wait for its own thread. Runs in a forked child, as
    a collector that is stuck once is stuck for good; where there is no ``os.fork``, right here.
    """
    subject = Subject(factory, traits)
    if hasattr(os, "fork"):
        stuck = "done() in a finalizer waits for a lock of its own thread"
        counts = in_child(subject, lambda: _collect(subject), stuck)
    else:
        counts = _collect(subject)
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")


def _collect(subject: Subject) -> dict[str, int]:
    balancer = subject.build(subject.members("abcde", subject.weights[0]))
    before = gc.get_threshold()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            for delay in range(1, DELAYS + 1):
                gc.set_threshold(delay, 2, 2)
                _use(subject, balancer, delay)
        finally:
            gc.set_threshold(*before)
        gc.collect()
        counts = in_flight(balancer)
    self_check(balancer)
    return counts


def _use(subject: Subject, balancer: Balancer, delay: int) -> None:
    for step in range(6):
        key = subject.key(step + delay)
        _Response(balancer.pick(key))
        with balancer.pick(key):
            pass
        _Response(balancer.pick(key, cost=2.0))
        balancer.pick(key, exclude=["a"]).done()
        _Response(balancer.pick())
        balancer.explain(key)
    _Response(balancer.pick(subject.key(delay)))
    balancer.update(subject.members("abcdef"[: 4 + delay % 3], subject.weights[0]))
    _Response(balancer.pick(subject.key(delay)))
    balancer.snapshot()
