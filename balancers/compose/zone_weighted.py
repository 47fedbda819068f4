"""Zones by weights given from outside, less what each has lost.

Guarantees:
    A zone's part is its weight · min(1, overprovisioning · eligible weight / member weight),
    over the sum of all of them. A zone without a weight gets nothing.

Use when:
    Something that sees the whole fleet sets each zone's part.

Avoid when:
    Nobody does: ``ZoneAware`` works the parts out.

Cost:
    O(log zones) a pick, beside the inner policy; O(n) an update or a health change.

Source:
    Envoy, "locality weighted load balancing"; zones are drawn by chance, not in turn.
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
from balancers.structures.zones import locality_shares

__all__ = ["ZoneWeighted"]


class ZoneWeighted(Zoned):
    """Zones of endpoints, in proportion to given weights.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a zone.
        weights: Zone → weight ≥ 0, of any sum > 0.
        overprovisioning: > 0; with 1.4 a zone counts in full while 5/7 of it are eligible.
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
        weights: Mapping[str, float],
        overprovisioning: float = 1.4,
        **options: Unpack[Options],
    ) -> None:
        self._weights = checked_shares("weights", weights)
        self._overprovisioning = checked_factor("overprovisioning", overprovisioning)
        super().__init__(endpoints, policy=policy, **options)

    def _share(
        self, view: View, members: Mapping[Zone, Fraction], eligible: Mapping[Zone, Fraction]
    ) -> Spread:
        available = {z: eligible[z] / m if m else Fraction(0) for z, m in members.items()}
        shares = locality_shares(self._weights, available, self._overprovisioning)
        weighted: list[Zone] = [zone for zone in shares if self._weights.get(zone)]
        weighted.sort(key=lambda zone: -shares[zone])
        return Spread(shares, weighted)
