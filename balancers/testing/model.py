"""The slow, obvious ledger that the accounting machine compares a balancer with.

It keeps every lease ever granted and counts again for every question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.protocol import Outcome, Reason
from balancers.testing.doubles import Event

__all__ = ["Lease", "Member", "SlowLedger"]


@dataclass(eq=False)
class Member:
    """One stay of one id: leaving and coming back makes another."""

    endpoint: Endpoint


@dataclass(eq=False)
class Lease:
    """One pick; ``pick`` is None once its holder has dropped it."""

    member: Member
    endpoint: Endpoint
    reason: Reason
    cost: float
    started: float
    pick: Pick | None
    ended: float | None = None  # the first byte
    open: bool = True

    @property
    def load(self) -> Fraction:
        """What it adds to the load."""
        return Fraction(self.cost) if self.open and self.ended is None else Fraction(0)


@dataclass
class SlowLedger:
    """Members in order, all leases, and what an observer must have heard."""

    members: dict[str, Member] = field(default_factory=dict)
    leases: list[Lease] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Survivors stay the same member."""
        new: dict[str, Member] = {}
        for endpoint in endpoints:
            member = self.members.get(endpoint.id) or Member(endpoint)
            member.endpoint = endpoint
            new[endpoint.id] = member
        self.members = new

    def grant(self, pick: Pick, cost: float, now: float) -> Lease:
        """Record a pick."""
        member = self.members[pick.endpoint.id]
        lease = Lease(member, pick.endpoint, pick.reason, cost, now, pick)
        self.leases.append(lease)
        self.events.append(Event("pick", pick.endpoint.id, pick.reason))
        return lease

    def respond(self, lease: Lease, now: float) -> None:
        """Record the first byte, once."""
        if lease.open and lease.ended is None:
            lease.ended = now

    def settle(self, lease: Lease, outcome: Outcome, latency: float | None, now: float) -> bool:
        """Record a settlement; True the first time."""
        if not lease.open:
            return False
        lease.open = False
        if latency is None:
            latency = (now if lease.ended is None else lease.ended) - lease.started
        event = Event("settle", lease.endpoint.id, lease.reason, outcome, latency)
        self.events.append(event)
        return True

    @property
    def held(self) -> list[Lease]:
        """Open leases that somebody still holds."""
        return [lease for lease in self.leases if lease.open and lease.pick is not None]

    @property
    def settled(self) -> list[Lease]:
        """Settled leases that somebody still holds."""
        return [lease for lease in self.leases if not lease.open and lease.pick is not None]

    @property
    def dropped(self) -> list[Lease]:
        """Open leases that nobody holds."""
        return [lease for lease in self.leases if lease.open and lease.pick is None]

    def drain(self, now: float) -> None:
        """Settle what was dropped."""
        for lease in self.dropped:
            self.settle(lease, Outcome.CANCELLED, None, now)

    def eligible(self, exclude: Iterable[str] = ()) -> dict[str, Endpoint]:
        """Members a pick may get, where no health is kept."""
        return {
            name: member.endpoint
            for name, member in self.members.items()
            if member.endpoint.weight > 0.0 and name not in set(exclude)
        }

    def in_flight(self, name: str) -> int:
        """Open leases of a member."""
        return sum(lease.open for lease in self.leases if lease.member is self.members[name])

    def load(self, name: str) -> float:
        """Sum of their costs, rounded once."""
        member = self.members[name]
        return float(sum(lease.load for lease in self.leases if lease.member is member))

    def picks(self, name: str) -> int:
        """Leases granted in this stay."""
        return sum(lease.member is self.members[name] for lease in self.leases)
