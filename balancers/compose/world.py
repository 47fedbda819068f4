"""``World``: the regions of one view, and the spread of any place's requests over them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from fractions import Fraction
from typing import Any

from balancers.compose.atlas import Atlas
from balancers.compose.geo import Place
from balancers.compose.spread import Spread
from balancers.structures.tiers import tier_shares
from balancers.structures.waterfall import waterfall

__all__ = ["Region", "World"]

Region = str | None

_SHUT: Any = object()
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
        callers: Place → its part of all requests, so that what one region cannot take is sent
            where it does not displace others; None: each place is spread as if it were alone.

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
        "_regions",
        "_rows",
        "_sprays",
        "_spreads",
        "_up",
        "capacities",
        "drained",
    )

    def __init__(
        self,
        atlas: Atlas,
        members: Mapping[Region, Fraction],
        eligible: Mapping[Region, Fraction],
        drained: Collection[str],
        up_threshold: Fraction,
        overprovisioning: Fraction,
        sprays: bool,
        callers: Mapping[str | None, Fraction] | None = None,
    ) -> None:
        self._atlas = atlas
        self._sprays = sprays
        self.drained: Collection[str] = drained
        self._overprovisioning = overprovisioning
        self._open = [region for region in members if region not in drained]
        parts = {r: eligible[r] / members[r] for r in self._open if members[r]}
        self._parts = {region: part for region, part in parts.items() if part}
        self._eligible = {region: eligible[region] for region in self._parts}
        self._up = frozenset(r for r, part in self._parts.items() if part >= up_threshold)
        up = self._up or self._parts.keys()
        self.capacities: dict[Region, Fraction] = {
            region: self._capacity(region) if region in up else Fraction(0) for region in members
        }
        self._spreads: dict[Place, Spread] = {}
        self._regions = tuple(members)
        self._rows: Mapping[str | None, Mapping[Region, Fraction]] = {}
        if callers is not None:
            whole = sum(members.values(), Fraction(0))
            self._rows = self._waterfall(callers, whole, up) if whole else {}

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
        order, able, sprays = self._candidates(place)
        row = self._row(place)
        if row is not None:
            return Spread({region: row[region] for region in order if region in row}, order)
        if sprays or self._sprays:
            return Spread(
                {region: self._eligible[region] for region in sorted(able, key=str)}, order
            )
        loads, _ = tier_shares([self._capacity(region) for region in able])
        return Spread(dict(zip(able, loads, strict=True)), order)

    def _candidates(self, place: Place) -> tuple[list[Region], list[Region], bool]:
        """Return the regions to try, those of them that are up, and whether none is nearer."""
        order = self._atlas.order(place, self._open)
        unknown = order is None
        if order is None:
            order = [region for region in self._open if self._atlas.permits(place, region)]
        # Half-dead is better than nothing, where the place may go nowhere else.
        up = self._up.intersection(order) or self._parts.keys() & order
        order.sort(key=lambda region: region not in up)
        return order, [region for region in order if region in up], unknown

    def _waterfall(
        self, callers: Mapping[str | None, Fraction], whole: Fraction, up: Collection[Region]
    ) -> dict[str | None, dict[Region, Fraction]]:
        """Return the share of each region in the requests of each place that is counted."""
        scale = self._overprovisioning / whole
        allowed = {place: self._candidates(place)[1] for place in callers}
        # A region that is down has its round all the same: its callers ask the next one after
        # those who live there.
        orders = {
            place: [r if r in allowed[place] else _SHUT for r in order]
            for place in callers
            if (order := self._atlas.order(place, self._regions)) is not None
        }
        orders |= {place: [] for place in callers if place not in orders}
        able = {*up, *(region for regions in allowed.values() for region in regions)}
        capacities = {r: scale * self._eligible[r] for r in self._parts if r in able}
        return waterfall(orders, callers, capacities, allowed)

    def _row(self, place: Place) -> Mapping[Region, Fraction] | None:
        """Return the shares of the place, or of the region it is nearest to, if counted."""
        rows = self._rows
        if not rows:
            return None
        if isinstance(place, str | None) and place in rows:
            return rows[place]
        order = self._atlas.order(place, self._regions)
        row = rows.get(order[0]) if order else None
        if row is None or not all(self._atlas.permits(place, region) for region in row):
            return None
        return row

    def _capacity(self, region: Region) -> Fraction:
        return min(Fraction(1), self._overprovisioning * self._parts[region])
