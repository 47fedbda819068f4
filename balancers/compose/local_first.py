"""Local unless overloaded: the caller's own zone until its own requests fill it.

Guarantees:
    A pick stays in ``local_zone`` while the leases this balancer has open there, with one more,
    are at most ``overload`` for each unit of eligible weight. Then it goes to the other zones
    that are below the mark, in proportion to their eligible weight; if none is, it stays.
    The mark is where picks turn away, not a limit: picks made at one moment may pass it.

Use when:
    Home is nearly always enough, and crossing zones is only for emergencies.

Avoid when:
    Capacity must not be passed: that is ``Limit``. Load on home that comes from other callers
    matters: this balancer sees its own leases alone.

Cost:
    O(zones) a pick, beside the inner policy; every lease is tracked. O(n) an update.

Source:
    What users ask for under "zone aware": envoyproxy/envoy#6333, kubernetes/enhancements#2434.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any, Unpack

from balancers.compose.composite import PolicyFactory, Taker
from balancers.compose.spread import Spread
from balancers.compose.zoned import Zone, Zoned
from balancers.core.checks import LARGEST
from balancers.core.lease import Pick, TrackedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_factor
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome, Reason

__all__ = ["LocalFirst"]

_MOST = Fraction(LARGEST)


class _Plan:
    """The spreads there may be, each made when it is first needed."""

    __slots__ = ("_made", "home", "rooms", "weights")

    def __init__(self, home: str, weights: Mapping[Zone, Fraction], overload: float) -> None:
        self.home = home
        self.weights = {zone: weight for zone, weight in weights.items() if weight}
        # How many leases each zone may have open; a sum of weights may be no float.
        self.rooms: dict[Zone, float] = {
            zone: overload * float(min(weight, _MOST)) for zone, weight in self.weights.items()
        }
        self._made: dict[frozenset[Zone], Spread] = {}

    def over(self, zones: frozenset[Zone]) -> Spread:
        """Return the spread over these zones; the others stand by, home first."""
        spread = self._made.get(zones)
        if spread is None:
            order = sorted(self.weights, key=lambda zone: (zone != self.home, -self.weights[zone]))
            shares = {zone: self.weights[zone] for zone in order if zone in zones}
            spread = self._made[zones] = Spread(shares, order)
        return spread


class LocalFirst(Zoned):
    """Zones of endpoints; the others only while the caller's own is overloaded.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a zone.
        local_zone: The zone the caller is in.
        overload: Open leases for each unit of eligible weight, finite and > 0, above which a
            zone counts as overloaded.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.

    Invariants:
        1. ``_zones`` names the zone of each lease granted here and not settled, by ``id`` of the
           lease, which lives at least as long; ``_open`` holds the same ids by zone.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        local_zone: str,
        overload: float,
        **options: Unpack[Options],
    ) -> None:
        if not isinstance(local_zone, str):
            raise TypeError(f"local_zone is a str, not {local_zone!r}")
        self._local = local_zone
        self._overload = float(checked_factor("overload", overload))
        self._zones: dict[int, Zone] = {}
        self._open: dict[Zone, set[int]] = {}
        super().__init__(endpoints, policy=policy, **options)

    def _share(
        self, view: View, members: Mapping[Zone, Fraction], eligible: Mapping[Zone, Fraction]
    ) -> _Plan:
        return _Plan(self._local, eligible, self._overload)

    def _spread(self, plan: _Plan, key: Key | None) -> Spread:
        home = self._local
        if home in plan.weights and self._has_room(plan, home):
            return plan.over(frozenset({home}))
        roomy = frozenset(z for z in plan.weights if z != home and self._has_room(plan, z))
        if roomy:
            return plan.over(roomy)
        return plan.over(frozenset({home} if home in plan.weights else plan.weights))

    def _has_room(self, plan: _Plan, zone: Zone) -> bool:
        return len(self._open.get(zone, ())) + 1 <= plan.rooms[zone]

    def _taker(self, view: View) -> Taker | None:
        return None

    def _descend(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        return self._counted(super()._descend(view, key, exclude, cost, reason, now))

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        pick = super()._lease_on(view, cell, key, cost, reason, now)
        return None if pick is None else self._counted(pick)

    def _counted(self, pick: Pick) -> Pick:
        zone = self._zones[id(pick)] = pick.endpoint.zone
        self._open.setdefault(zone, set()).add(id(pick))
        return pick

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        zone = self._zones.pop(id(pick), None)
        self._open.get(zone, set()).discard(id(pick))

    def _details(self) -> Mapping[str, float]:
        return {f"open in {zone}": float(len(ids)) for zone, ids in dict(self._open).items()}

    def _check(self) -> None:
        super()._check()
        together: dict[int, Any] = {i: zone for zone, ids in self._open.items() for i in ids}
        assert together == self._zones
