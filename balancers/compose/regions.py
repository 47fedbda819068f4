"""Regions: the global tier. Each client's nearest region, and the next one for what it lacks.

Guarantees:
    Regions are the endpoints of equal ``Endpoint.region``. A region's capacity is
    overprovisioning · eligible weight / member weight, at most 1; below ``up_threshold`` of its
    weight it counts as down, so that a half-dead region is left before it is empty, unless
    all are. By ``"waterfall"`` a client's requests go to its nearest region up to that region's
    capacity, the rest to the next nearest, and so on; by ``"spray"`` to all regions by eligible
    weight. Shares sum to exactly 1. A pick whose region has nobody left goes to the next.
    Without ``callers`` each place is spread as if it were alone. With them a region serves its
    own callers first and takes of the others what it has room for: no region gets more than its
    capacity, overprovisioning · eligible weight / weight of all members, while one that may be
    used has room.
    A place with a residency set is never served outside it, not in panic, nor for ``exclude``,
    nor for a session that came from elsewhere. A drained region takes no new picks.

Use when:
    Endpoints stand in several parts of the world and so do clients.

Avoid when:
    All endpoints are within milliseconds of each other: that is ``ZoneAware``.

Cost:
    ``locate`` and a look-up a pick, beside the inner policy; for a place given by coordinates
    O(r log r) more. O(n) an update or a health change.

Source:
    gdnsd geoip, metafo and weighted (up_thresh); Google Cloud "waterfall by region" and "spray
    to region", automatic capacity draining.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from operator import attrgetter
from typing import Any, Literal, Unpack

from balancers.compose.atlas import Atlas
from balancers.compose.composite import (
    Branch,
    Composite,
    Group,
    PolicyFactory,
    State,
    Taker,
    taker_of,
)
from balancers.compose.geo import Coordinates, GeoAnswer, Place, Residency
from balancers.compose.spread import Spread
from balancers.compose.world import Region, World
from balancers.compose.zoned import checked_shares
from balancers.core.checks import checked_fraction
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_factor, checked_seconds, exact_total
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import Reason
from balancers.structures.split import position_of

__all__ = ["Regions"]

_PLACES = 4096  # short cuts kept; coordinates would make any number


class Regions(Composite):
    """Regions of endpoints, the client's nearest first.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a region.
        locate: From a key to the client's place: the name of a region or of another place,
            (latitude, longitude), or None if unknown. Must not block, nor call back.
        places: Place → its region, or its regions the nearest first; a country map, say.
        coordinates: Region → (latitude, longitude), for distances.
        spill: ``"waterfall"`` or ``"spray"``.
        callers: Place → its part of all requests ≥ 0, of any sum > 0, by the name ``locate``
            returns, or by region for all whose nearest it is; None: not known. For waterfalls.
        overprovisioning: By how much a whole region exceeds its clients' load, or with
            ``callers`` all regions that of all, > 0.
        up_threshold: The fraction of its weight, 0..1, that a region must have eligible.
        residency: Place → the regions it must never leave; under None for unnamed places.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.
    """

    salt = 0x7265_6769
    _locates = True

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        locate: Callable[[Any], Place],
        places: Mapping[str, str | Sequence[str]] | None = None,
        coordinates: Mapping[str, Coordinates] | None = None,
        spill: Literal["waterfall", "spray"] = "waterfall",
        callers: Mapping[str, float] | None = None,
        overprovisioning: float = 1.4,
        up_threshold: float = 0.5,
        residency: Residency | None = None,
        **options: Unpack[Options],
    ) -> None:
        if not callable(locate):
            raise TypeError(f"locate is callable, not {locate!r}")
        if spill not in ("waterfall", "spray"):
            raise ValueError(f'spill is "waterfall" or "spray", not {spill!r}')
        self._locate = locate
        self._atlas = Atlas(places, coordinates, residency)
        self._sprays = spill == "spray"
        if callers is not None and self._sprays:
            raise ValueError('spill "spray" has no use for callers')
        self._callers = None if callers is None else checked_shares("callers", callers)
        self._overprovisioning = checked_factor("overprovisioning", overprovisioning)
        self._up_threshold = checked_fraction("up_threshold", up_threshold)
        self._drained: frozenset[str] = frozenset()
        self._moved_at = -math.inf
        super().__init__(endpoints, policy=policy, **options)

    # -- the operator ----------------------------------------------------------------------

    @property
    def drained(self) -> frozenset[str]:
        """The regions that take no new picks."""
        return self._drained

    def drain(self, region: str) -> None:
        """Send no new picks to a region; sessions and open leases stay. O(n)."""
        self._set_drained(self._drained | {region})

    def restore(self, region: str) -> None:
        """Use a drained region again, as before. O(n)."""
        self._set_drained(self._drained - {region})

    def _set_drained(self, regions: frozenset[str]) -> None:
        if not all(isinstance(region, str) for region in regions):
            raise TypeError("a region is a str")
        self._drained = regions
        self._refresh()

    # -- the slow half ---------------------------------------------------------------------

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        parts = self._parts(view.roster, attrgetter("region"))
        view.state = {name: [endpoint.weight for endpoint in parts[name]] for name in parts}
        return {region: Group(members) for region, members in parts.items()}

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> World:
        eligible: dict[Region, list[float]] = {}
        for endpoint in self._capacity_of(view):
            eligible.setdefault(endpoint.region, []).append(endpoint.weight)
        members: dict[Region, list[float]] = view.state
        return World(
            self._atlas,
            {region: exact_total(weights) for region, weights in members.items()},
            {region: exact_total(eligible.get(region, ())) for region in members},
            self._drained,
            Fraction(self._up_threshold),
            self._overprovisioning,
            self._sprays,
            self._callers,
        )

    def _is_settled(self, view: View) -> bool:
        return view.state.plan.drained is self._drained and super()._is_settled(view)

    def _publish(self, view: View) -> None:
        before = self._view.state
        world: World = view.state.plan
        if before is not None and before.plan.capacities != world.capacities:
            self._moved_at = self._ledger.clock()
        super()._publish(view)

    def _group_of(self, plan: Any, endpoint: Endpoint) -> Hashable:
        return endpoint.region

    # -- the quick half --------------------------------------------------------------------

    def _spread(self, plan: World, key: Key | None) -> Spread:
        return plan.spread(None if key is None else self._locate(key))

    def _taker(self, view: View) -> Taker | None:
        state: State = view.state
        world: World = state.plan
        if any(taker_of(b.child, b.view) is None for b in state.branches.values()):
            return None
        locate = self._locate
        takers: dict[Place, Taker | None] = {}

        def take(key: Key | None) -> Pick:
            place = None if key is None else locate(key)
            try:
                taker = takers[place]
            except (KeyError, TypeError):
                taker = self._taker_by(state, world.spread(place))
                if len(takers) < _PLACES and (place is None or isinstance(place, str)):
                    takers[place] = taker
            if taker is None:
                raise NoEligibleEndpointError("no region has a share of this place")
            return taker(key)

        return take

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        place = None if key is None else self._locate(key)
        if not self._atlas.permits(place, cell.endpoint.region):
            return None
        return super()._lease_on(view, cell, key, cost, reason, now)

    # -- DNS -------------------------------------------------------------------------------

    def answer(
        self,
        key: Key,
        *,
        addresses: Mapping[str, str | Sequence[str]] | None = None,
        ttl: float = 60.0,
        moving_ttl: float = 5.0,
        settling: float = 60.0,
    ) -> GeoAnswer:
        """Return what a DNS tier answers a client, without a lease.

        The same client gets the same answer while capacities stay; over all clients of a place
        the first region is each one's by its share.

        Args:
            key: What ``locate`` understands: the client's address or subnet, say.
            addresses: Region → its address, or addresses; by default the ids of its eligible
                endpoints.
            ttl: Seconds the answer may be kept, ≥ 0.
            moving_ttl: The same while health is moving, ≥ 0.
            settling: Seconds after a region's capacity changed for which health is moving, ≥ 0.

        Raises:
            NoEligibleEndpointError: No region of the place may be answered.
            NoEndpointError: The membership is empty.

        Runtime complexity: O(r log r), and O(n) without ``addresses``.
        """
        ttl = checked_seconds("ttl", ttl)
        moving_ttl = checked_seconds("moving_ttl", moving_ttl)
        moving = self._ledger.clock() - self._moved_at < checked_seconds("settling", settling)
        view = self._view
        world: World = view.state.plan
        place = self._locate(key)
        spread = world.spread(place)
        if not view.roster:
            raise NoEndpointError("the membership is empty")
        if not spread.names:
            raise NoEligibleEndpointError(f"no region may be answered to {place!r}")
        at = position_of(self._as_key(key), self._seed)
        first = spread.names[bisect_right(spread.ends, at)]
        others = [r for r in spread.order if world.is_up(r) or r in spread.names]
        ordered = dict.fromkeys((first, *others))
        regions = [region for region in ordered if isinstance(region, str)]
        return GeoAnswer(
            place,
            tuple(regions),
            tuple(_addresses(view, regions, addresses)),
            min(ttl, moving_ttl) if moving else ttl,
        )

    def _details(self) -> Mapping[str, float]:
        world: World = self._view.state.plan
        return {f"capacity of {name}": float(part) for name, part in world.capacities.items()}


def _addresses(
    view: View, regions: Collection[str], given: Mapping[str, str | Sequence[str]] | None
) -> Iterable[str]:
    if given is None:
        able: dict[Region, list[str]] = {}
        for endpoint in view.endpoints:
            able.setdefault(endpoint.region, []).append(endpoint.id)
        return [name for region in regions for name in able.get(region, ())]
    found: list[str] = []
    for region in regions:
        known = given.get(region, ())
        found.extend([known] if isinstance(known, str) else known)
    return found
