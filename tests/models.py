"""Slow, obvious models shared by tests, and what each policy is held to."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from ipaddress import ip_address
from typing import Any, NamedTuple

from balancers import Delta, Endpoint, Limit, Priority, Regions, Sticky, Subset, ZoneAware
from balancers.core import Policy
from balancers.health.policy import HealthPolicy
from balancers.health.registry import HealthRegistry
from balancers.policies import PrefixAffinity, Rendezvous, RingHash, RoundRobin, registered
from balancers.protocol import Clock
from balancers.testing import Factory, Traits

__all__ = ["KNOWN", "Held", "delta_of", "healthy", "held"]


class Held(NamedTuple):
    """A balancer that the contract suite is run over."""

    name: str
    factory: Factory
    traits: Traits


ADDRESSES = (
    *(f"10.1.{i}.{i * 7 % 256}" for i in range(30)),
    *(f"2001:db8:{i:x}::1" for i in range(20)),
    *(ip_address(f"172.16.0.{i}") for i in range(20)),
)

PROMPTS: tuple[object, ...] = (
    *((1, 2, i // 4, i) for i in range(40)),
    *(tuple(range(i, 3 * i)) for i in range(1, 20)),
    *(f"user-{i} says " + "hello " * (i * 40) for i in range(20)),
    *(b"\x00blob-%d" % i for i in range(10)),
    *(i * i - 50 for i in range(10)),
    *("", (), "\ud800", -(1 << 70), (99, -(1 << 70), b"id"), range(3, 90)),
)

OTHERWISE: dict[str, tuple[dict[str, object], Traits]] = {
    # Options for a quick build, and what a policy does otherwise by design.
    "IPHash": ({}, {"keys": ADDRESSES}),
    "JumpHash": ({}, {"weights": (1.0,), "orderless": False, "minimal": False}),
    "Maglev": ({"table_size": 1009}, {"minimal": False}),
    # What was sent where is remembered, so prompts do not go back to an endpoint that returns,
    # and of two that have a prompt the heavier one is the better.
    "PrefixAffinity": ({}, {"keys": PROMPTS, "minimal": False, "weights": (1.0,)}),
}
"""By class name; a policy that is not named is held to everything as it is."""


def healthy(policy: type[Policy], **options: Any) -> Factory:
    """Return a factory that attaches a registry of its own, whose detectors are all off."""
    rules = HealthPolicy(consecutive_failures=None, sequential=False, retry_after_max=0.0)

    def make(endpoints: Any, *, clock: Clock | None = None, **others: Any) -> Policy:
        registry = HealthRegistry(rules, clock=clock or time.monotonic)
        return policy(endpoints, health=registry, **options, **others)

    return make


def _zones(endpoints: Any) -> ZoneAware:
    return ZoneAware(endpoints, policy=RoundRobin, local_zone="a")


MORE: list[Held] = [
    Held("RoundRobin+health", healthy(RoundRobin), {}),
    Held("Rendezvous+health", healthy(Rendezvous), {"keyed": True}),
    Held(
        "PrefixAffinity bounded",
        partial(PrefixAffinity, load_factor=1.25),
        {"keys": PROMPTS, "fair": False, "examples": 20, "cycles": 1_000},
    ),
    Held("RingHash bounded", partial(RingHash, load_factor=1.25), {"keyed": True}),
    Held("Priority(ZoneAware)", partial(Priority, policy=_zones), {}),
    Held("Priority(Rendezvous)", partial(Priority, policy=Rendezvous), {"keyed": True}),
    Held("Limit", partial(Limit, policy=RoundRobin, per_endpoint=10**6), {}),
    Held("Regions", partial(Regions, policy=RoundRobin, locate=lambda key: None), {}),
    Held("Subset", partial(Subset, policy=RoundRobin, size=100, seed="me"), {}),
    # A key is a session there, which may stay at weight 0.
    Held("Sticky", partial(Sticky, policy=RoundRobin, mode="table"), {"keys": (None,)}),
]
"""Further configurations and compositions to hold; append yours."""


KNOWN: dict[tuple[str, str], str] = {}
"""Promises known to be broken, by policy and check, and why; take an entry out with its cause."""


def held() -> list[Held]:
    """Return every registered policy, and ``MORE``."""
    found = []
    for name, policy in registered().items():
        options, traits = OTHERWISE.get(name, ({}, {}))
        factory: Factory = partial(policy, **options) if options else policy
        found.append(Held(name, factory, {"keyed": policy.keyed, **traits}))
    return [*found, *MORE]


def delta_of(before: Iterable[Endpoint], after: Iterable[Endpoint]) -> Delta:
    """Return what turns one membership into the other, by looking each id up in lists."""
    old, new = list(before), list(after)
    return Delta(
        added=tuple(e.id for e in new if all(e.id != o.id for o in old)),
        removed=tuple(o.id for o in old if all(e.id != o.id for e in new)),
        changed=tuple(e.id for e in new if any(e.id == o.id and e != o for o in old)),
    )
