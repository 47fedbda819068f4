"""``Limit`` against a slow model: counts, refusals, and who is served next."""

from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from balancers import (
    Endpoint,
    Limit,
    NoEligibleEndpointError,
    NoEndpointError,
    Outcome,
    RoundRobin,
)

names = st.sampled_from("abcd")


class LimitMachine(RuleBasedStateMachine):
    """The model: lists of open leases and of waiting tickets, searched from the front."""

    PER = 2
    TOTAL = 5
    QUEUE = 3

    def __init__(self) -> None:
        super().__init__()
        self.members = {"a": 1.0, "b": 1.0, "c": 0.0}
        self.limit = Limit(
            self.endpoints(),
            policy=RoundRobin,
            per_endpoint=self.PER,
            total=self.TOTAL,
            queue=self.QUEUE,
            rng=Random(1),
        )
        self.held: list[Any] = []
        self.born: dict[int, int] = {}
        self.lives: dict[str, int] = dict.fromkeys(self.members, 0)
        self.queue: list[tuple[Any, frozenset[str]]] = []

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint(name, weight=weight) for name, weight in self.members.items()]

    def open_on(self, name: str) -> int:
        """Leases open on an endpoint in its present life."""
        life = self.lives.get(name)
        return sum(p.endpoint.id == name and self.born[id(p)] == life for p in self.held)

    def takers(self, exclude: frozenset[str]) -> set[str]:
        """Who could take a request now."""
        if len(self.held) >= self.TOTAL:
            return set()
        return {
            name
            for name, weight in self.members.items()
            if weight and name not in exclude and self.open_on(name) < self.PER
        }

    def hold(self, pick: Any, exclude: frozenset[str]) -> None:
        assert pick.endpoint.id in self.takers(exclude)
        self.held.append(pick)
        self.born[id(pick)] = self.lives[pick.endpoint.id]

    def serve(self) -> None:
        """Whoever waits and can be served, has been: first come first."""
        progress = True
        while progress:
            progress = False
            for ticket, exclude in self.queue:
                if self.takers(exclude):
                    assert ticket.pick is not None
                    self.hold(ticket.pick, exclude)
                    self.queue.remove((ticket, exclude))
                    progress = True
                    break
        assert all(ticket.pick is None for ticket, _ in self.queue)

    @rule(exclude=st.frozensets(names, max_size=2))
    def pick(self, exclude: frozenset[str]) -> None:
        takers = self.takers(exclude)
        try:
            pick = self.limit.pick(exclude=exclude)
        except NoEndpointError:
            assert not self.members
        except NoEligibleEndpointError:
            assert self.members
            assert not takers
        else:
            self.hold(pick, exclude)

    @rule(exclude=st.frozensets(names, max_size=2))
    def enqueue(self, exclude: frozenset[str]) -> None:
        takers = self.takers(exclude)
        try:
            ticket = self.limit.enqueue(exclude=exclude)
        except NoEndpointError:
            assert not self.members
        except NoEligibleEndpointError:
            assert not takers
            assert len(self.queue) == self.QUEUE
        else:
            if takers:
                self.hold(ticket.pick, exclude)
            else:
                assert ticket.pick is None
                self.queue.append((ticket, exclude))

    @precondition(lambda self: self.held)
    @rule(at=st.integers(0, 10), outcome=st.sampled_from(list(Outcome)))
    def settle(self, at: int, outcome: Outcome) -> None:
        pick = self.held.pop(at % len(self.held))
        assert pick.done(outcome)
        self.serve()

    @precondition(lambda self: self.queue)
    @rule(at=st.integers(0, 10))
    def give_up(self, at: int) -> None:
        ticket, _ = self.queue.pop(at % len(self.queue))
        assert ticket.cancel()
        assert not ticket.cancel()

    @rule(members=st.dictionaries(names, st.sampled_from((0.0, 1.0, 2.0))))
    def update(self, members: dict[str, float]) -> None:
        for name in members.keys() - self.members.keys():
            self.lives[name] = self.lives.get(name, 0) + 1
        self.members = members
        self.limit.update(self.endpoints())
        self.serve()

    @invariant()
    def agrees(self) -> None:
        self.limit._check()
        details = self.limit.snapshot().details
        assert details["open"] == len(self.held)
        assert details["waiting"] == len(self.queue)
        assert len(self.held) <= self.TOTAL
        for view in self.limit.snapshot().endpoints:
            assert view.in_flight == self.open_on(view.endpoint.id) <= self.PER

    def teardown(self) -> None:
        for ticket, _ in self.queue:
            ticket.cancel()
        for pick in self.held:
            pick.done()
        assert self.limit.snapshot().details["open"] == 0.0


TestLimit = LimitMachine.TestCase
TestLimit.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
