"""A policy of one's own, a foreign balancer and a function over any of them, type-checked."""

from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import assert_type

from balancers import (
    Balancer,
    Delta,
    Endpoint,
    Explanation,
    Key,
    Pick,
    RoundRobin,
    Snapshot,
)
from balancers.core import Cell, Policy, View
from balancers.policies import policy_named, register, registered


@register
class First(Policy):
    """The first candidate, always."""

    aliases = ("first",)

    def _build(self, view: View) -> tuple[Cell, ...]:
        return view.cells

    def _choose(
        self, view: View, key: Key | None, exclude: Collection[str], cost: float, rng: Random
    ) -> Cell | None:
        return next((cell for cell in view.cells if cell.endpoint.id not in exclude), None)


assert_type(First(["a"]).pick(), Pick)
assert_type(registered()["First"](["a"], rng=Random(1)).endpoints, tuple[Endpoint, ...])
policy: type[Policy] = policy_named("first")


class Foreign:
    """A balancer that shares no code with the library is one all the same, by structure."""

    def __init__(self) -> None:
        self._inner = RoundRobin(["a"])

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self._inner.endpoints

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        return self._inner.pick(key, exclude=exclude, cost=cost)

    def update(self, endpoints: Iterable[Endpoint | str]) -> Delta:
        return self._inner.update(endpoints)

    def snapshot(self) -> Snapshot:
        return self._inner.snapshot()

    def explain(self, key: Key | None = None, *, exclude: Collection[str] = ()) -> Explanation:
        return self._inner.explain(key, exclude=exclude)

    def changed(self, callback: Callable[[], object]) -> Callable[[], None]:
        return self._inner.changed(callback)

    def close(self) -> None:
        self._inner.close()


balancers: list[Balancer] = [First(["a"]), Foreign()]


def busiest(balancer: Balancer) -> str:
    """Return the id of the endpoint with the most open leases of any balancer."""
    views = balancer.snapshot().endpoints
    return max(views, key=lambda view: view.in_flight).endpoint.id


assert_type([busiest(each) for each in balancers], list[str])
