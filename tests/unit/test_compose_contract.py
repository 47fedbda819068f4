"""Every composite, alone and nested, is a balancer: held to the suite that policies are held to."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest

from balancers import (
    Endpoint,
    Limit,
    Priority,
    Regions,
    RingHash,
    RoundRobin,
    Sticky,
    Subset,
    WeightedRoundRobin,
    ZoneAware,
)
from balancers.compose import LocalFirst
from balancers.testing import contract


class Stranger:
    """A balancer that is none of ours: the protocol, and a round robin behind it."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._inner = RoundRobin(endpoints, phase=0)
        self.keyed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    endpoints = property(lambda self: self._inner.endpoints)

    def pick(self, key=None, *, exclude=(), cost=1.0):
        return self._inner.pick(key, exclude=exclude, cost=cost)

    def update(self, endpoints):
        return self._inner.update(endpoints)

    def snapshot(self):
        return self._inner.snapshot()

    def explain(self, key=None, *, exclude=()):
        return self._inner.explain(key, exclude=exclude)

    def changed(self, callback):
        return self._inner.changed(callback)

    def close(self):
        self._inner.close()


def _nowhere(key: Any) -> None:
    return None


def _three(endpoints: Iterable[Endpoint], *, inner: Callable[..., Any], **options: Any) -> Regions:
    return Regions(
        endpoints,
        policy=lambda e: Priority(
            e, policy=lambda e: ZoneAware(e, policy=inner, local_zone="a", callers={"a": 1})
        ),
        locate=_nowhere,
        **options,
    )


def _limited(endpoints: Iterable[Endpoint], **options: Any) -> Limit:
    return Limit(
        endpoints,
        policy=lambda e: Sticky(e, policy=RoundRobin, mode="table"),
        per_endpoint=1_000_000,
        total=10_000_000,
        **options,
    )


SMALL = {"examples": 8, "steps": 20, "threads": 3, "cycles": 150, "updates": 8}
OTHERWISE = {
    ("Sticky, table", "zero_weight"),  # sessions stay with an endpoint of weight 0
    ("a limit over sessions", "zero_weight"),
    ("Priority over a stranger", "fork"),  # it draws nothing, so redraws nothing
}
"""What a composite does otherwise by design; its own tests say how."""

MAKERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Priority": (partial(Priority, policy=RoundRobin), {}),
    "Priority over WeightedRoundRobin": (
        partial(Priority, policy=WeightedRoundRobin, rounding="envoy"),
        {},
    ),
    "Priority over RingHash": (partial(Priority, policy=RingHash), {"keyed": True}),
    "ZoneAware": (partial(ZoneAware, policy=RoundRobin, local_zone="a"), {}),
    "LocalFirst": (
        partial(LocalFirst, policy=RoundRobin, local_zone="a", overload=10.0),
        {},
    ),
    "Limit": (partial(Limit, policy=RoundRobin, per_endpoint=10**6, total=10**7), {}),
    "Sticky, cookie": (partial(Sticky, policy=RoundRobin, mode="cookie", secret="s" * 32), {}),
    "Sticky, opaque": (partial(Sticky, policy=RoundRobin, mode="opaque", secret="s" * 32), {}),
    "Sticky, header": (partial(Sticky, policy=RoundRobin, mode="header"), {}),
    "Sticky, table": (partial(Sticky, policy=RoundRobin, mode="table"), {}),
    "Subset": (partial(Subset, policy=RoundRobin, seed="client", size=100), {}),
    "Regions": (partial(Regions, policy=RoundRobin, locate=_nowhere), {}),
    "three levels": (partial(_three, inner=RoundRobin), {}),
    "three levels over RingHash": (partial(_three, inner=RingHash), {"keyed": True}),
    "a limit over sessions": (_limited, {}),
    "Priority over a stranger": (partial(Priority, policy=Stranger), {"fair": False}),
}
CASES = [
    pytest.param(check, id=f"{name}: {which}")
    for name, (factory, traits) in MAKERS.items()
    for which, check in contract(factory, **{**SMALL, **traits}).items()
    if (name, which) not in OTHERWISE
]


@pytest.mark.parametrize("check", CASES)
def test_contract(check: Callable[[], Any]):
    """The composite keeps the contract."""
    check()
