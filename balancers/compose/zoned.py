"""``Zoned``: the base of composites whose groups are the zones of the endpoints."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from fractions import Fraction
from operator import attrgetter
from typing import Any

from balancers.compose.composite import Branch, Composite, Group
from balancers.core.ledger import Cell
from balancers.core.numbers import exact_total
from balancers.core.view import View
from balancers.endpoint import Endpoint

__all__ = ["Zone", "Zoned", "checked_shares"]

Zone = str | None


class Zoned(Composite):
    """A balancer of the zones of its endpoints; those without a zone are one more."""

    salt = 0x7A6F_6E65

    @abstractmethod
    def _share(
        self, view: View, members: Mapping[Zone, Fraction], eligible: Mapping[Zone, Fraction]
    ) -> Any:
        """Return the plan, from the weight of each zone's members and of the eligible ones."""

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        parts = self._parts(view.roster, _zone)
        return {zone: Group(members) for zone, members in parts.items()}

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Any:
        zones = self._parts(view.roster, _zone)
        able = self._capacity_of(view)
        return self._share(view, _weights(zones, view.roster), _weights(zones, able))

    def _group_of(self, plan: Any, endpoint: Endpoint) -> Hashable:
        return endpoint.zone


def checked_shares(name: str, shares: Mapping[str, float]) -> dict[Zone, Fraction]:
    """Return place → number ≥ 0, exactly, with a sum > 0.

    Raises:
        TypeError: If it is no mapping of texts to numbers.
        ValueError: If a number is negative, NaN or infinite, or none is positive.
    """
    if not isinstance(shares, Mapping):
        raise TypeError(f"{name} is a mapping of place to number, not {shares!r}")
    exact: dict[Zone, Fraction] = {}
    for zone, share in shares.items():
        if not isinstance(zone, str):
            raise TypeError(f"{name}: a place is named by a str, not {zone!r}")
        if isinstance(share, bool) or not isinstance(share, int | float):
            raise TypeError(f"{name} of {zone!r} is a number, not {share!r}")
        if not 0.0 <= share < math.inf:
            raise ValueError(f"{name} of {zone!r} must be finite and ≥ 0, not {share!r}")
        exact[zone] = Fraction(share)
    if not any(exact.values()):
        raise ValueError(f"{name} must name a place with a positive number, not {shares!r}")
    return exact


def _weights(zones: Iterable[Zone], endpoints: Iterable[Endpoint]) -> dict[Zone, Fraction]:
    found: dict[Zone, list[float]] = {zone: [] for zone in zones}
    for endpoint in endpoints:
        found[endpoint.zone].append(endpoint.weight)
    return {zone: exact_total(weights) for zone, weights in found.items()}


_zone = attrgetter("zone")
