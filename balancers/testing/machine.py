"""The accounting machine: any interleaving of calls, against the slow ledger.

The one module of the kit that needs Hypothesis; ``balancers.testing`` imports it on demand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.errors import NoEligibleEndpointError, NoEndpointError
from balancers.protocol import Balancer, Delta, Outcome, Reason
from balancers.testing.doubles import Event, ManualClock, RecordingObserver
from balancers.testing.model import Lease, SlowLedger
from balancers.testing.subject import Subject, heard, self_check

__all__ = ["machine_of"]

IDS = "abcdef"
COSTS = (1.0, 1.0, 0.1, 2.5, 3, 1e-9, 1e15)
ERRORS: tuple[tuple[type[BaseException] | None, Outcome], ...] = (
    (None, Outcome.SUCCESS),
    (ValueError, Outcome.FAILURE),
    (TimeoutError, Outcome.FAILURE),
    (KeyboardInterrupt, Outcome.CANCELLED),
    (GeneratorExit, Outcome.CANCELLED),
)

Answer = TypeVar("Answer")


def machine_of(subject: Subject) -> type[RuleBasedStateMachine]:
    """Return the machine class for one subject."""
    places = st.integers(0, 99)
    keys = st.none() | st.sampled_from(subject.keys)
    excludes = st.sets(st.sampled_from([*IDS, "gone"]), max_size=4)
    weights = st.sampled_from([0.0, *subject.weights, *subject.weights])
    memberships = st.lists(
        st.builds(
            lambda name, weight, build: Endpoint(name, weight=weight, metadata={"build": build}),
            st.sampled_from(IDS),
            weights,
            st.integers(0, 1),
        ),
        max_size=len(IDS),
        unique_by=lambda endpoint: endpoint.id,
    )
    outcomes = st.sampled_from(Outcome)
    latencies = st.none() | st.sampled_from((0.0, 0.25, 3))
    seconds = st.sampled_from((0.0, 0.001, 1.0, 3600.0))

    class AccountingMachine(RuleBasedStateMachine):
        balancer: Balancer

        @initialize(members=memberships, observed=st.booleans(), seed=st.integers(0, 2**32 - 1))
        def begin(self, members: list[Endpoint], observed: bool, seed: int) -> None:
            self.clock = ManualClock(1_000.0)
            self.ledger = SlowLedger()
            self.observer = RecordingObserver() if observed else None
            self.balancer = subject.build(
                members, rng=Random(seed), clock=self.clock, observer=self.observer
            )
            self.ledger.update(members)

        # -- leases ------------------------------------------------------------------------

        @rule(key=keys, exclude=excludes, cost=st.sampled_from(COSTS), foretold=st.booleans())
        def pick(self, key: Any, exclude: set[str], cost: float, foretold: bool) -> None:
            self._pick(key, exclude, cost, foretold)

        @rule(key=keys)
        def plain_pick(self, key: Any) -> None:
            self._pick(key, (), 1.0, False)

        @rule(place=places, outcome=outcomes, latency=latencies)
        def settle(self, place: int, outcome: Outcome, latency: float | None) -> None:
            lease = self._one_of(self.ledger.held, place)
            if lease is not None:
                self._settle(lease, outcome, latency)

        @rule(place=places, outcome=outcomes)
        def settle_again(self, place: int, outcome: Outcome) -> None:
            lease = self._one_of(self.ledger.settled, place)
            if lease is not None:
                assert lease.pick is not None
                lease.pick.responded()
                self._settle(lease, outcome, None)

        @rule(place=places)
        def respond(self, place: int) -> None:
            lease = self._one_of(self.ledger.held, place)
            if lease is not None:
                assert lease.pick is not None
                lease.pick.responded()
                self.ledger.respond(lease, self.clock.now)

        @rule(place=places, ending=st.sampled_from(ERRORS))
        def block(self, place: int, ending: tuple[type[BaseException] | None, Outcome]) -> None:
            """A block ends one of the leases, open or settled."""
            held = [lease for lease in self.ledger.leases if lease.pick is not None]
            lease = self._one_of(held, place)
            if lease is None:
                return
            assert lease.pick is not None
            error, outcome = ending
            if error is None:
                with lease.pick as entered:
                    subject.require(entered is lease.pick, "`with pick as x` gave x another object")
            else:
                with subject.raises([error], f"a block that raises {error.__name__}"), lease.pick:
                    raise error
            self.ledger.settle(lease, outcome, None, self.clock.now)

        @rule(place=places, count=st.integers(1, 3))
        def abandon(self, place: int, count: int) -> None:
            for _ in range(count):
                lease = self._one_of(self.ledger.held, place)
                if lease is not None:
                    lease.pick = None

        @precondition(lambda self: self.ledger.dropped or self.ledger.held)
        @rule(place=places, call=st.sampled_from(("pick", "update", "snapshot")))
        def drain_where_warnings_are_errors(self, place: int, call: str) -> None:
            if not self.ledger.dropped:
                self.abandon(place, 1)
            calls: dict[str, Callable[[], object]] = {
                "pick": self.balancer.pick,
                "update": lambda: self.balancer.update(["z"]),
                "snapshot": self.balancer.snapshot,
            }
            with warnings.catch_warnings(), subject.raises([ResourceWarning], f"{call}()"):
                warnings.simplefilter("error")
                calls[call]()
            self.ledger.drain(self.clock.now)

        # -- membership and time -----------------------------------------------------------

        @rule(members=memberships)
        def update(self, members: list[Endpoint]) -> None:
            self._update(members)

        @rule(members=st.permutations(IDS), picked=st.lists(weights, min_size=6, max_size=6))
        def reweight(self, members: list[str], picked: list[float]) -> None:
            chosen = dict(zip(members, picked, strict=True))
            self._update([Endpoint(n, weight=w) for n, w in chosen.items() if n in self.members])

        @rule(bad=st.sampled_from((["a", "a"], ["a", 7], [""], "ab", [None], 5)))
        def failing_update(self, bad: Any) -> None:
            if not self.ledger.dropped:
                with subject.raises([TypeError, ValueError], f"update({bad!r})"):
                    self.balancer.update(bad)

        @rule(elapsed=seconds)
        def advance(self, elapsed: float) -> None:
            self.clock.advance(elapsed)

        # -- what must hold ----------------------------------------------------------------

        @rule()
        def look(self) -> None:
            """A snapshot is the slow ledger's; where leases were dropped, it drains them."""
            views = self._watched(self.balancer.snapshot).endpoints
            ids = [view.endpoint.id for view in views]
            subject.require(
                ids == list(self.members), f"snapshot shows {ids}, members are {[*self.members]}"
            )
            for view in views:
                name = view.endpoint.id
                for what, found, expected in (
                    ("endpoint", view.endpoint, self.members[name].endpoint),
                    ("in_flight", view.in_flight, self.ledger.in_flight(name)),
                    ("load", view.load, self.ledger.load(name)),
                    ("picks", view.picks, self.ledger.picks(name)),
                ):
                    subject.require(
                        found == expected, f"{what} of {name!r} is {found}, not {expected}"
                    )

        @invariant()
        def agrees(self) -> None:
            if not self.ledger.dropped:
                self.look()
            members = [member.endpoint for member in self.members.values()]
            subject.require(list(self.balancer.endpoints) == members, "endpoints are not the last")
            self_check(self.balancer)
            self._heard_all()

        def teardown(self) -> None:
            """Settled or dropped, everything must come back to zero."""
            if not hasattr(self, "balancer"):
                return
            for lease in self.ledger.held:
                self._settle(lease, Outcome.SUCCESS, None)
            self.look()
            for view in self.balancer.snapshot().endpoints:
                idle = view.in_flight == 0 and view.load == 0.0
                subject.require(idle, f"{view.endpoint.id!r} is not idle after the last settlement")

        # -- helpers -----------------------------------------------------------------------

        @property
        def members(self) -> dict[str, Any]:
            return self.ledger.members

        def _one_of(self, leases: list[Lease], place: int) -> Lease | None:
            return leases[place % len(leases)] if leases else None

        def _pick(self, key: Any, exclude: Collection[str], cost: float, foretold: bool) -> None:
            able = self.ledger.eligible(exclude)
            told = self.balancer.explain(key, exclude=exclude).chosen if foretold else None
            if not able:
                error = NoEligibleEndpointError if self.members else NoEndpointError
                subject.require(told is None, f"explain chose {told} where nobody may be picked")
                with subject.raises([error], f"pick(exclude={sorted(exclude)})"):
                    self._watched(lambda: self.balancer.pick(key, exclude=exclude, cost=cost))
                return
            dropped = bool(self.ledger.dropped)
            pick = self._watched(lambda: self.balancer.pick(key, exclude=exclude, cost=cost))
            name = pick.endpoint.id
            subject.require(name in able, f"picked {name!r}, eligible are {sorted(able)}")
            subject.require(pick.endpoint == able[name], f"the lease has an old {name!r}")
            subject.require(isinstance(pick.reason, Reason), f"reason is {pick.reason!r}")
            # A drain in between, or an explained cost of 1, may rightly change the choice.
            if foretold and subject.foretells and not dropped and cost == 1.0:
                subject.require(told is not None, "explain chose nobody, pick somebody")
                subject.require(told == pick.endpoint, f"explain chose {told}, pick {name!r}")
            self.ledger.grant(pick, cost, self.clock.now)

        def _settle(self, lease: Lease, outcome: Outcome, latency: float | None) -> None:
            pick: Pick | None = lease.pick
            assert pick is not None
            found = pick.done(outcome, latency=latency)
            expected = self.ledger.settle(lease, outcome, latency, self.clock.now)
            subject.require(found is expected, f"done() returned {found}, not {expected}")

        def _update(self, members: list[Endpoint]) -> None:
            before = {name: member.endpoint for name, member in self.members.items()}
            delta = self._watched(lambda: self.balancer.update(iter(members)))
            self.ledger.update(members)
            after = {endpoint.id: endpoint for endpoint in members}
            expected = Delta(
                tuple(name for name in after if name not in before),
                tuple(name for name in before if name not in after),
                tuple(n for n, e in after.items() if n in before and before[n] != e),
            )
            subject.require(delta == expected, f"update returned {delta}, not {expected}")
            if expected:
                self.ledger.events.append(Event("update", delta=expected))

        def _watched(self, call: Callable[[], Answer]) -> Answer:
            """Call what must drain: one ResourceWarning if leases were dropped, else none."""
            dropped = len(self.ledger.dropped)
            self.ledger.drain(self.clock.now)
            with heard() as caught:
                try:
                    answer = call()
                finally:
                    found = sum(issubclass(w.category, ResourceWarning) for w in caught)
                    expected = 1 if dropped else 0
                    subject.require(
                        found == expected,
                        f"{found} ResourceWarning(s) where {dropped} lease(s) were dropped",
                    )
            return answer

        def _heard_all(self) -> None:
            """The observer heard of everything once; drained leases in any order."""
            if self.observer is not None and not self.ledger.dropped:
                found, expected = self.observer.events, self.ledger.events
                subject.require(
                    sorted(map(repr, found)) == sorted(map(repr, expected)),
                    f"the observer heard {found}, not {expected}",
                )
                found.clear()
            if not self.ledger.dropped:
                self.ledger.events.clear()

    AccountingMachine.__name__ = f"Accounting[{subject.name}]"
    AccountingMachine.__qualname__ = AccountingMachine.__name__
    return AccountingMachine
