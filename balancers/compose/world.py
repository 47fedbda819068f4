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
        drained: As given.
        capacities: The part of a client's load each region can take, 0..1; 0 if down.
    """

    __slots__ = (
        "_atlas",
        "_eligible",
        "_open",
        "_overprovisioning",
        "_parts",
        "_sprays",
        "_spreads",
        "_up",
        "capacities",
        "drained",
    )

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
        self.drained: Collection[str] = drained
        self._overprovisioning = overprovisioning
        self._open = [region for region in members if region not in drained]
        parts = {r: Fraction(eligible[r]) / Fraction(members[r]) for r in self._open if members[r]}
        self._parts = {region: part for region, part in parts.items() if part}
        self._eligible = {region: Fraction(eligible[region]) for region in self._parts}
        self._up = frozenset(r for r, part in self._parts.items() if part >= up_threshold)
        up = self._up or self._parts.keys()
        self.capacities: dict[Region, Fraction] = {
            region: self._capacity(region) if region in up else Fraction(0) for region in members
        }
        self._spreads: dict[Place, Spread] = {}

    def is_up(self, region: Hashable) -> bool:
        """Whether a region has as much eligible as it must."""
        return region in self._up

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
        sprays = self._sprays or order is None
        if order is None:
            order = [region for region in self._open if self._atlas.permits(place, region)]
        # Half-dead is better than nothing, where the place may go nowhere else.
        up = self._up.intersection(order) or self._parts.keys() & order
        order.sort(key=lambda region: region not in up)
        able = [region for region in order if region in up]
        if sprays:
            return Spread(
                {region: self._eligible[region] for region in sorted(able, key=str)}, order
            )
        loads, _ = tier_shares([self._capacity(region) for region in able])
        return Spread(dict(zip(able, loads, strict=True)), order)

    def _capacity(self, region: Region) -> Fraction:
        return min(Fraction(1), self._overprovisioning * self._parts[region])
