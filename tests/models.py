"""Slow, obvious models shared by tests, and what each policy is held to."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from ipaddress import ip_address
from typing import NamedTuple

from balancers import Delta, Endpoint
from balancers.policies import registered
from balancers.testing import Factory, Traits

__all__ = ["Held", "delta_of", "held"]


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

OTHERWISE: dict[str, tuple[dict[str, object], Traits]] = {
    # Options for a quick build, and what a policy does otherwise by design.
    "IPHash": ({}, {"keys": ADDRESSES}),
    "JumpHash": ({}, {"weights": (1.0,), "orderless": False, "minimal": False}),
    "Maglev": ({"table_size": 1009}, {"minimal": False}),
}
"""By class name; a policy that is not named is held to everything as it is."""

MORE: list[Held] = []
"""Further configurations and compositions to hold; append yours."""


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
