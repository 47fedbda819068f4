"""Checks of leases: whom a settlement touches, and what is settled without one."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any, Unpack

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.protocol import Balancer, Outcome
from balancers.testing.doubles import ManualClock, RecordingObserver
from balancers.testing.subject import (
    Factory,
    Subject,
    Traits,
    heard,
    in_flight,
    pick_id,
    quiet,
    self_check,
    view_of,
)

__all__ = [
    "check_abandonment",
    "check_identity",
    "check_late_settlement",
    "check_outcomes",
]


def _lease_on(subject: Subject, balancer: Balancer, name: str, cost: float = 1.0) -> Pick:
    """Lease the endpoint of that id, by excluding all others."""
    others = {endpoint.id for endpoint in balancer.endpoints} - {name}
    return balancer.pick(subject.key(0), exclude=others, cost=cost)


def _respond_and_settle(pick: Pick) -> None:
    pick.responded()
    pick.done()


def check_late_settlement(factory: Factory, **traits: Unpack[Traits]) -> None:
    """A lease on an endpoint that has left settles once and touches nobody.

    Also when the id has come back meanwhile, and however the lease ends.
    """
    subject = Subject(factory, traits)
    endings: tuple[tuple[str, Callable[[Pick], object]], ...] = (
        ("done()", lambda pick: pick.done(Outcome.FAILURE, latency=5.0)),
        ("responded() and done()", _respond_and_settle),
        ("a with block", lambda pick: pick.__exit__(None, None, None)),
    )
    for what, end in endings:
        for back in (False, True):
            balancer = subject.build(subject.members("abc"))
            lease = _lease_on(subject, balancer, "a", cost=3.0)
            kept = _lease_on(subject, balancer, "b", cost=2.0)
            balancer.update(subject.members("bc"))
            fresh = None
            if back:
                balancer.update(subject.members("abc"))
                found = view_of(balancer.snapshot(), "a")
                clean = (found.in_flight, found.load, found.picks) == (0, 0.0, 0)
                subject.require(clean, f"'a' left, came back and did not start afresh: {found}")
                fresh = _lease_on(subject, balancer, "a")
            before = balancer.snapshot().endpoints
            end(lease)
            subject.require(
                balancer.snapshot().endpoints == before,
                f"late settlement by {what} changed {before} to {balancer.snapshot().endpoints}",
            )
            subject.require(not lease.done(), f"a late lease was settled twice, first by {what}")
            kept.done()
            if fresh is not None:
                subject.require(fresh.done(), "a fresh lease was settled by an old one's end")
            counts = in_flight(balancer)
            subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")
            self_check(balancer)


def check_identity(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Load follows the id through reorders, reweights and neighbours coming and going."""
    subject = Subject(factory, traits)
    balancer = subject.build(subject.members("abcd"))
    leases = [_lease_on(subject, balancer, name, cost=2.0) for name in "abbccc"]
    weight = subject.weights[-1]
    for ids in ("dcba", "cb", "bcxy", "yxcb"):
        members = [Endpoint(name, weight=weight, metadata={"ids": ids}) for name in ids]
        balancer.update(members)
        subject.require(balancer.endpoints == tuple(members), f"after update({ids}): members")
        found = balancer.snapshot()
        for name, expected in (("b", 2), ("c", 3)):
            view = view_of(found, name)
            subject.require(
                (view.in_flight, view.load, view.picks) == (expected, 2.0 * expected, expected),
                f"after update({ids}): {name!r} should have {expected} leases of cost 2: {view}",
            )
            subject.require(
                view.endpoint.metadata.get("ids") == ids, f"snapshot shows an old {name!r}"
            )
    for lease in leases:
        lease.done()
    counts = in_flight(balancer)
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")


def check_abandonment(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Dropped leases are CANCELLED at the next pick, update or snapshot, with one warning.

    Where warnings are errors, the call raises before it does anything, and works the next time.
    """
    subject = Subject(factory, traits)
    calls: tuple[tuple[str, Callable[[Balancer], object]], ...] = (
        ("pick", lambda balancer: balancer.pick(subject.key(0)).done()),
        ("update", lambda balancer: balancer.update(subject.members("bcd"))),
        ("snapshot", lambda balancer: balancer.snapshot()),
    )
    for name, call in calls:
        for cost in (1.0, 2.0):
            for strict in (False, True):
                _abandon(subject, name, call, cost, strict=strict)


def _abandon(
    subject: Subject, name: str, call: Callable[[Balancer], Any], cost: float, *, strict: bool
) -> None:
    observer = RecordingObserver()
    balancer = subject.build(subject.members("abc"), observer=observer)
    leases = [balancer.pick(subject.key(i), cost=cost) for i in range(3)]
    del leases
    members = balancer.endpoints
    subject.require(not observer.outcomes, "a dropped lease was settled inside its finalizer")
    if strict:
        with warnings.catch_warnings(), subject.raises([ResourceWarning], f"{name}()"):
            warnings.simplefilter("error")
            call(balancer)
        subject.require(len(observer.picks) == 3, f"{name}() picked before it raised the warning")
        subject.require(balancer.endpoints is members, f"{name}() changed the members and raised")
    else:
        with heard() as caught:
            call(balancer)
        found = [w for w in caught if issubclass(w.category, ResourceWarning)]
        subject.require(
            len(found) == 1, f"{name}() gave {len(found)} ResourceWarnings for 3 leases"
        )
    ended = [outcome for _, outcome in observer.outcomes[:3]]
    subject.require(
        ended == [Outcome.CANCELLED] * 3, f"three dropped leases were settled as {ended}"
    )
    with heard() as caught:
        call(balancer)
        counts = in_flight(balancer)
    subject.require(not caught, f"a second {name}() warned of leases already settled")
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")
    self_check(balancer)


def check_outcomes(factory: Factory, **traits: Unpack[Traits]) -> None:
    """A block's end is classified, its exception goes on, and it settles once."""
    subject = Subject(factory, traits)
    observer = RecordingObserver()
    clock = ManualClock(50.0)
    balancer = subject.build(subject.members("abc"), observer=observer, clock=clock)

    def block(error: BaseException | None) -> None:
        pick = balancer.pick(subject.key(0))
        if error is None:
            with pick:
                clock.advance(0.5)
            subject.require(not pick.done(), "done() after a block settled a second time")
        else:
            _raise_in(subject, pick, clock, error)

    for error, outcome in (
        (None, Outcome.SUCCESS),
        (ValueError(), Outcome.FAILURE),
        (ConnectionResetError(), Outcome.FAILURE),
        (KeyboardInterrupt(), Outcome.CANCELLED),
        (SystemExit(), Outcome.CANCELLED),
        (GeneratorExit(), Outcome.CANCELLED),
        (asyncio.CancelledError(), Outcome.CANCELLED),
    ):
        block(error)
        last = observer.events[-1]
        subject.require(last.outcome is outcome, f"{error!r} settled as {last.outcome}")
        subject.require(last.latency == 0.5, f"latency is {last.latency}, the clock says 0.5")

    with balancer.pick(subject.key(0)) as pick:
        pick.done(Outcome.FAILURE, latency=0.0)
    settled = [event for event in observer.events if event.kind == "settle"]
    subject.require(len(settled) == 8, f"8 leases were settled {len(settled)} times")
    last = settled[-1]
    subject.require(
        (last.outcome, last.latency) == (Outcome.FAILURE, 0.0), "done() in a block did not count"
    )
    pick = balancer.pick(subject.key(0))
    clock.advance(0.25)
    pick.responded()
    clock.advance(4.0)
    pick.responded()
    pick.done()
    latency = observer.events[-1].latency
    subject.require(latency == 0.25, f"latency to the first byte is {latency}, not 0.25")
    _check_classify(subject)


def _raise_in(subject: Subject, pick: Pick, clock: ManualClock, error: BaseException) -> None:
    with subject.raises([type(error)], f"a block that raises {error!r}"), pick:
        clock.advance(0.5)
        raise error


def _check_classify(subject: Subject) -> None:
    def classify(error: BaseException) -> Any:
        if isinstance(error, LookupError):
            return Outcome.CANCELLED
        if isinstance(error, ArithmeticError):
            raise KeyError("classify fails")
        return "not an outcome"

    clock = ManualClock()
    observer = RecordingObserver()
    members = subject.members("abc")
    balancer = subject.build(members, observer=observer, clock=clock, classify=classify)
    for error, outcome in (
        (KeyError(), Outcome.CANCELLED),
        (ZeroDivisionError(), Outcome.FAILURE),
        (ValueError(), Outcome.FAILURE),
        (KeyboardInterrupt(), Outcome.CANCELLED),
    ):
        pick = balancer.pick(subject.key(0))
        with quiet():
            _raise_in(subject, pick, clock, error)
        found = observer.events[-1].outcome
        subject.require(found is outcome, f"with classify=, {error!r} settled as {found}")
    counts = in_flight(balancer)
    subject.require(not any(counts.values()), f"in-flight ends at {counts}, not at 0")
    pick_id(balancer, key=subject.key(0))
