"""The one contract every balancer keeps, and the values that cross it.

Three rules hold for every balancer:

1. ``pick`` returns a lease on one endpoint, and the lease is settled exactly once.
2. ``update`` takes the whole membership; what stays keeps its state, by id.
3. ``pick`` and ``done`` never wait for ``update``, health changes, ``snapshot`` or callbacks.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from balancers.endpoint import Endpoint, EndpointLike

if TYPE_CHECKING:  # names of higher floors, for the signatures alone
    from balancers.core.lease import Pick
    from balancers.hashing import Key
    from balancers.health.states import HealthState

__all__ = [
    "Balancer",
    "Candidate",
    "Clock",
    "Delta",
    "EndpointView",
    "Explanation",
    "Observer",
    "Outcome",
    "Reason",
    "Snapshot",
    "Unsubscribe",
]

Clock: TypeAlias = Callable[[], float]
"""Seconds, never going backwards: ``time.monotonic`` or a test's own."""

Unsubscribe: TypeAlias = Callable[[], None]


class Outcome(enum.Enum):
    """How the request of a lease ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    """The endpoint's fault."""
    CANCELLED = "cancelled"
    """Nobody's fault: says nothing about the endpoint."""


class Reason(enum.IntEnum):
    """Why this endpoint, the gravest cause alone; ``explain`` has the rest."""

    NORMAL = 0
    NO_KEY = 1
    """A keyed policy was given no key and drew one."""
    FALLBACK = 2
    """The first choice was not eligible, or excluded."""
    OVERFLOW = 3
    """A load bound was in the way everywhere: the least overfull one."""
    PANIC = 4
    """Too few eligible endpoints: health is ignored."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What an ``update`` changed: tuples of ids.

    Added and changed ids come in the new order, removed ids in the old one.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One endpoint as a snapshot saw it.

    Attributes:
        endpoint: The endpoint.
        in_flight: Leases open.
        load: Sum of their costs, without those that have responded.
        state: Health; ``UNKNOWN`` where no registry is attached.
        latency: The policy's estimate in seconds, or None.
        picks: Leases granted since it joined.
        details: Further numbers of the policy, by name.
    """

    endpoint: Endpoint
    in_flight: int
    load: float
    state: HealthState
    latency: float | None
    picks: int
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A balancer at one moment; frozen.

    Attributes:
        policy: Class name of the balancer.
        endpoints: A view of each endpoint, in membership order.
        details: Numbers of the whole balancer, by name.
    """

    policy: str
    endpoints: tuple[EndpointView, ...]
    details: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the snapshot as a JSON object, one entry an endpoint.

        Metadata is left out: it may hold anything.
        """
        return json.dumps(
            {
                "policy": self.policy,
                "details": dict(self.details),
                "endpoints": [
                    {
                        "id": view.endpoint.id,
                        "weight": view.endpoint.weight,
                        "region": view.endpoint.region,
                        "zone": view.endpoint.zone,
                        "priority": view.endpoint.priority,
                        "in_flight": view.in_flight,
                        "load": view.load,
                        "state": view.state.value,
                        "latency": view.latency,
                        "picks": view.picks,
                        "details": dict(view.details),
                    }
                    for view in self.endpoints
                ],
            }
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """One endpoint in an explanation.

    Attributes:
        endpoint: The endpoint.
        considered: Whether it could have been picked.
        why: One phrase: why it was skipped, or what spoke for it.
        score: What the policy compared, lower is better, or None.
    """

    endpoint: Endpoint
    considered: bool
    why: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What ``pick`` would do now.

    Attributes:
        chosen: The endpoint a pick would get, or None if it would raise.
        reason: The reason that pick would carry.
        candidates: Every endpoint, who was considered, who was skipped, and why.
        path: The levels of balancers gone through, outermost first.
    """

    chosen: Endpoint | None
    reason: Reason
    candidates: tuple[Candidate, ...]
    path: tuple[str, ...]

    @property
    def considered(self) -> tuple[Endpoint, ...]:
        """The endpoints that could have been picked."""
        return tuple(c.endpoint for c in self.candidates if c.considered)

    @property
    def skipped(self) -> dict[str, str]:
        """Why each of the others could not: id to phrase."""
        return {c.endpoint.id: c.why for c in self.candidates if not c.considered}


class Observer(Protocol):
    """Whoever wants to be told; subclass it and override what is wanted.

    Calls come from the thread that picked, settled or updated, outside every lock.
    An exception is logged and contained.
    """

    def on_pick(self, pick: Pick) -> None:
        """A lease was granted."""
        return

    def on_settle(self, pick: Pick, outcome: Outcome, latency: float | None) -> None:
        """A lease was settled; ``latency`` in seconds, None if unknown."""
        return

    def on_update(self, delta: Delta) -> None:
        """The membership changed."""
        return


@runtime_checkable
class Balancer(Protocol):
    """Chooses an endpoint and accounts for it."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The membership, in the order given."""
        ...

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease one endpoint.

        Args:
            key: What to place by; policies that place by nothing ignore it.
            exclude: Ids this call must not get; ids that have left are ignored.
            cost: Units of load the request adds, finite and > 0.

        Raises:
            NoEndpointError: The membership is empty.
            NoEligibleEndpointError: Nobody may be picked.
            TypeError: The key or ``exclude`` has a wrong type.
            ValueError: The cost is out of range.
        """
        ...

    def update(self, endpoints: Iterable[EndpointLike]) -> Delta:
        """Replace the membership, all of it, or raise and change nothing."""
        ...

    def snapshot(self) -> Snapshot:
        """Return load, health and latency of every endpoint at this moment."""
        ...

    def explain(self, key: Key | None = None, *, exclude: Collection[str] = ()) -> Explanation:
        """Say what ``pick`` would do, moving no cursor, rng or ledger."""
        ...

    def changed(self, callback: Callable[[], object]) -> Unsubscribe:
        """Call ``callback()`` after whatever may make a failed pick succeed."""
        ...

    def close(self) -> None:
        """Leave the registry; idempotent."""
        ...
