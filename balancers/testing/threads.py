"""Conservation under threads: nothing lost, nothing settled twice, whatever the interleaving."""

from __future__ import annotations

import queue
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Unpack

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.protocol import Balancer, Delta, Outcome
from balancers.testing.subject import Factory, Subject, Traits, in_flight, self_check

__all__ = ["check_thread_conservation", "switching"]

STAYING = "abcd"
PASSING = "uvwxyz"
SWITCH_INTERVAL = 1e-5
PATIENCE = 120.0
"""Seconds without an end after which the threads are taken to be stuck."""


class _Stop(BaseException):
    """Raised in blocks: not an ``Exception``, so it cancels."""


@dataclass
class _Tally:
    """What one thread did."""

    picked: Counter[str] = field(default_factory=Counter)
    settled: int = 0
    dropped: int = 0


class _Counting:
    """An observer that counts; ``list.append`` is atomic on every build."""

    def __init__(self) -> None:
        self.granted: list[None] = []
        self.ended: list[Outcome] = []

    def on_pick(self, pick: Pick) -> None:
        self.granted.append(None)

    def on_settle(self, pick: Pick, outcome: Outcome, latency: float | None) -> None:
        self.ended.append(outcome)

    def on_update(self, delta: Delta) -> None:
        pass


@contextmanager
def switching(interval: float = SWITCH_INTERVAL) -> Iterator[None]:
    """Make threads take turns every ``interval`` seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def check_thread_conservation(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Threads pick and settle while another updates; every lease is settled exactly once.

    Each of ``threads`` threads makes ``cycles`` picks and ends them in turn by a block, by an
    exception, by ``done`` from two threads at once, by dropping them; another makes ``updates``
    changes of membership, weights and order meanwhile. In-flight ends at 0, ``done`` returned
    True once a lease, and those that stayed count as many picks as the threads made. Then the
    same at a quarter of the size with an observer, which hears of each end once.
    """
    subject = Subject(factory, traits)
    for observer in (None, _Counting()):
        balancer = subject.build(_members(subject, Random(0)), observer=observer)
        cycles = subject.cycles if observer is None else subject.cycles // 4
        tallies = _run(subject, balancer, cycles)
        _compare(subject, balancer, tallies, observer, subject.threads * cycles)


def _members(subject: Subject, chance: Random) -> list[Endpoint]:
    passing = [name for name in PASSING if chance.random() < 0.5]
    names = [*STAYING, *passing]
    chance.shuffle(names)
    return [Endpoint(name, weight=subject.weights[0]) for name in names]


def _run(subject: Subject, balancer: Balancer, cycles: int) -> list[_Tally]:
    tallies = [_Tally() for _ in range(subject.threads)]
    exchange: queue.SimpleQueue[Pick] = queue.SimpleQueue()
    errors: list[BaseException] = []
    start = threading.Barrier(subject.threads + 1)

    def work(number: int) -> None:
        try:
            start.wait()
            _cycle(subject, balancer, tallies[number], exchange, number, cycles)
        except BaseException as error:  # told to the main thread
            errors.append(error)

    def change() -> None:
        chance = Random(subject.seed)
        try:
            start.wait()
            for step in range(subject.updates):
                balancer.update(_members(subject, chance))
                if step % 8 == 0:
                    balancer.snapshot()
                    balancer.explain(subject.key(step))
        except BaseException as error:
            errors.append(error)

    crew = [
        threading.Thread(target=work, args=(number,), daemon=True)
        for number in range(subject.threads)
    ]
    crew.append(threading.Thread(target=change, daemon=True))
    with warnings.catch_warnings(), switching():
        warnings.simplefilter("ignore", ResourceWarning)
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join(PATIENCE)
        stuck = [thread.name for thread in crew if thread.is_alive()]
        subject.require(not stuck, f"threads are stuck: {stuck}")
        if errors:
            raise subject.fail(f"a thread raised {errors[0]!r}") from errors[0]
        while not exchange.empty():
            tallies[0].settled += exchange.get().done()
        balancer.snapshot()  # drains what was dropped last
    return tallies


def _cycle(
    subject: Subject,
    balancer: Balancer,
    tally: _Tally,
    exchange: queue.SimpleQueue[Pick],
    number: int,
    cycles: int,
) -> None:
    stop = _Stop()
    for i in range(cycles):
        turn = (i + number) % 8
        cost = 2.0 if turn == 5 else 1.0
        pick = balancer.pick(subject.key(i), cost=cost)
        tally.picked[pick.endpoint.id] += 1
        if turn < 3:  # the common case
            with pick:
                pass
            tally.settled += 1
            if pick.done():
                raise AssertionError("done() after a block settled a second time")
        elif turn == 3:
            try:
                with pick:
                    raise stop
            except _Stop:
                tally.settled += 1
        elif turn < 6:  # two threads settle at once
            exchange.put(pick)
            pick.responded()
            tally.settled += pick.done()
            try:
                other = exchange.get_nowait()
            except queue.Empty:
                continue
            tally.settled += other.done(Outcome.FAILURE)
            del other
        elif turn == 6:
            pick.responded()
            tally.settled += pick.done(Outcome.CANCELLED)
        else:
            tally.dropped += 1
        del pick


def _compare(
    subject: Subject,
    balancer: Balancer,
    tallies: list[_Tally],
    observer: _Counting | None,
    granted: int,
) -> None:
    picked: Counter[str] = sum((tally.picked for tally in tallies), Counter())
    settled = sum(tally.settled for tally in tallies)
    dropped = sum(tally.dropped for tally in tallies)
    subject.require(
        settled + dropped == granted,
        f"{granted} picks, {dropped} dropped, {settled} settled by their holders",
    )
    views = balancer.snapshot().endpoints
    for view in views:
        name = view.endpoint.id
        idle = view.in_flight == 0 and view.load == 0.0
        subject.require(idle, f"{name!r} ends with {view.in_flight} in flight, load {view.load}")
        if name in STAYING:
            subject.require(
                view.picks == picked[name],
                f"{name!r} counts {view.picks} picks; the threads made {picked[name]}",
            )
    counts = in_flight(balancer)
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")
    if observer is not None:
        subject.require(
            len(observer.granted) == len(observer.ended) == granted,
            f"{granted} picks; the observer heard of {len(observer.granted)} picks "
            f"and {len(observer.ended)} settlements",
        )
    self_check(balancer)
