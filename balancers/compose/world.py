"""``World``: the regions of one view, and the spread of any place's requests over them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from fractions import Fraction

from balancers.compose.atlas import Atlas
from balancers.compose.geo import Place
from balancers.compose.spread import Spread
from balancers.structures.tiers import tier_shares

__all__ = ["Region", "World"]

Region = str | None

_KEPT = 4096  # spreads; places may be any number


class World:
    """What picks go by.

    Args:
        atlas: The order of regions as seen from a place.
        members: Weight of all members, by region.
        eligible: Weight of the eligible ones, by region.
        drained: Regions that take no new picks.
        up_threshold: Fraction of a region's weight below which it counts as down.
        overprovisioning: By how much a whole region exceeds the load.
        sprays: Whether all regions share, rather than the nearest first.

    Attributes:
        capacities: The part of a client's load each region can take, 0..1; 0 if down.
    """

    __slots__ = ("_atlas", "_eligible", "_open", "_sprays", "_spreads", "capacities")

    def __init__(
        self,
        atlas: Atlas,
        members: Mapping[Region, float],
        eligible: Mapping[Region, float],
        drained: Collection[str],
        up_threshold: Fraction,
        overprovisioning: Fraction,
        sprays: bool,
    ) -> None:
        self._atlas = atlas
        self._sprays = sprays
        self._open = [region for region in members if region not in drained]
        parts = {r: Fraction(eligible[r]) / Fraction(members[r]) for r in self._open if members[r]}
        up = {region for region, part in parts.items() if part and part >= up_threshold}
        if not up:  # half-dead is better than nothing
            up = {region for region, part in parts.items() if part}
        self._eligible = {r: Fraction(eligible[r]) for r in up}
        self.capacities: dict[Region, Fraction] = {
            region: min(Fraction(1), overprovisioning * parts[region])
            if region in up
            else Fraction(0)
            for region in members
        }
        self._spreads: dict[Place, Spread] = {}

    def is_up(self, region: Hashable) -> bool:
        """Whether a region takes any requests."""
        return region in self._eligible

    def spread(self, place: Place) -> Spread:
        """Return how the requests of a place are spread. O(1) for a place known by name."""
        named = place is None or isinstance(place, str)
        found = self._spreads.get(place) if named else None
        if found is None:
            found = self._spread(place)
            if named and len(self._spreads) < _KEPT:
                self._spreads[place] = found
        return found

    def _spread(self, place: Place) -> Spread:
        order = self._atlas.order(place, self._open)
        if order is None or self._sprays:
            allowed = [r for r in self._open if self._atlas.permits(place, r)]
            shares = {region: self._eligible.get(region, Fraction(0)) for region in allowed}
            return Spread(shares, self._up_first(order or allowed))
        order = self._up_first(order)
        loads, _ = tier_shares([self.capacities[region] for region in order])
        return Spread(dict(zip(order, loads, strict=True)), order)

    def _up_first(self, order: list[Region]) -> list[Region]:
        return sorted(order, key=lambda region: region not in self._eligible)
