"""Zone-aware: a caller's own zone first, and elsewhere exactly what it cannot take.

Guarantees:
    Zones are the endpoints of equal ``Endpoint.zone``. A zone's capacity is
    overprovisioning · eligible weight / weight of all members, scaled up where all zones
    together are short of the demand. A caller keeps min(1, capacity / demand) of its requests
    at home, demand being the part of all callers that live there; the rest goes to zones with
    capacity beyond their own callers' demand, in proportion to that excess. So, if every caller
    does likewise, no zone gets more than its capacity. Shares are continuous in every weight:
    there is no least cluster size below which the rule is off.

Use when:
    Crossing zones costs money or milliseconds.

Avoid when:
    Callers' shares are unknown and far from equal: pass ``callers``, or the busiest zone's
    endpoints get more than theirs. Where home should be left only when it is overloaded, use
    ``LocalFirst``; where somebody else sets each zone's part, ``ZoneWeighted``.

Cost:
    O(log zones) a pick, beside the inner policy; O(n) an update or a health change.

Source:
    Envoy, "zone aware routing", without its whole percentages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Unpack

from balancers.compose.composite import PolicyFactory
from balancers.compose.spread import Spread
from balancers.compose.zoned import Zone, Zoned, checked_shares
from balancers.core.membership import Options
from balancers.core.numbers import checked_factor
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.structures.zones import zone_shares

__all__ = ["ZoneAware"]


class ZoneAware(Zoned):
    """Zones of endpoints, the caller's own zone first.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a zone.
        local_zone: The zone the caller is in; it may have no endpoints.
        callers: Zone → its part of all callers ≥ 0, of any sum > 0; None: as many in each zone
            that has endpoints of positive weight, and in ``local_zone``.
        overprovisioning: By how much all endpoints together exceed the demand, > 0; above 1
            zones may lose some endpoints before anything is sent elsewhere.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        local_zone: str,
        callers: Mapping[str, float] | None = None,
        overprovisioning: float = 1.0,
        **options: Unpack[Options],
    ) -> None:
        if not isinstance(local_zone, str):
            raise TypeError(f"local_zone is a str, not {local_zone!r}")
        self._local = local_zone
        self._callers = None if callers is None else checked_shares("callers", callers)
        self._overprovisioning = checked_factor("overprovisioning", overprovisioning)
        super().__init__(endpoints, policy=policy, **options)

    def _share(
        self, view: View, members: Mapping[Zone, Fraction], eligible: Mapping[Zone, Fraction]
    ) -> Spread:
        whole = sum(members.values())
        scale = self._overprovisioning / whole if whole else Fraction(0)
        capacities = {zone: scale * weight for zone, weight in eligible.items()}
        shares = zone_shares(self._local, capacities, self._demand(members))
        # The next best zone is the one with most to spare.
        order = sorted(shares, key=lambda zone: (zone != self._local, -shares[zone]))
        return Spread(shares, order)

    def _demand(self, members: Mapping[Zone, Fraction]) -> dict[Zone, Fraction]:
        if self._callers is not None:
            return self._callers
        homes = {zone for zone, weight in members.items() if weight and zone is not None}
        return dict.fromkeys(homes | {self._local}, Fraction(1))
