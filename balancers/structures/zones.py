"""How zones share the load: callers stay at home as far as home can take them.

Zone z has capacity c_z, and the callers in it bring demand d_z; both are parts of the whole. A
caller stays in its own zone with probability min(1, c_z / d_z). Where it cannot stay it goes to
the zones whose capacity exceeds their own demand, in proportion to the excess. Added up over
all callers each zone then gets no more than its capacity, if all capacity together is enough.

Source: Envoy, "zone aware routing", without its whole percentages and its minimum cluster size.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import TypeVar

__all__ = ["locality_shares", "zone_shares"]

Zone = TypeVar("Zone", bound=Hashable)


def zone_shares(
    local: Zone, capacities: Mapping[Zone, Fraction], callers: Mapping[Zone, Fraction]
) -> dict[Zone, Fraction]:
    """Return the share of the local callers' requests that goes to each zone.

    Args:
        local: The callers' own zone, with or without capacity.
        capacities: Zone → capacity ≥ 0, in parts of the whole demand. Where they sum to less
            than 1 they are scaled up to it.
        callers: Zone → its part of the demand ≥ 0, of any sum > 0; 0 for a zone left out.

    Returns:
        Zone → share; they sum to exactly 1, or to 0 where there is no capacity at all.

    Runtime complexity: O(zones), exact.
    """
    total = sum(capacities.values(), Fraction(0))
    if not total:
        return dict.fromkeys(capacities, Fraction(0))
    scale = max(Fraction(1), 1 / total)
    demand = sum(callers.values(), Fraction(0))
    need = {zone: share / demand for zone, share in callers.items()}
    have = {zone: capacity * scale for zone, capacity in capacities.items()}
    home, wanted = have.get(local, Fraction(0)), need.get(local, Fraction(0))
    kept = Fraction(1) if home and home >= wanted else (home / wanted if home else Fraction(0))
    spare = {
        zone: max(Fraction(0), capacity - need.get(zone, Fraction(0)))
        for zone, capacity in have.items()
        if zone != local
    }
    if kept < 1 and not any(spare.values()):
        # Only where nobody is known to call from here: share like everybody else.
        spare = {zone: capacity for zone, capacity in have.items() if zone != local}
    room = sum(spare.values(), Fraction(0))
    shares = {
        zone: (1 - kept) * part / room if room else Fraction(0) for zone, part in spare.items()
    }
    if local in have:
        shares[local] = kept
    return {zone: shares[zone] for zone in capacities}


def locality_shares(
    weights: Mapping[Zone, Fraction],
    available: Mapping[Zone, Fraction],
    overprovisioning: Fraction,
) -> dict[Zone, Fraction]:
    """Return each zone's part of the load by weights given from outside.

    A zone's weight counts in full while ``overprovisioning`` times its available fraction is at
    least 1, and in proportion below that.

    Args:
        weights: Zone → weight ≥ 0; a zone left out has none.
        available: Zone → the fraction 0..1 of it that may be picked.
        overprovisioning: > 0.

    Returns:
        Zone → share, for the zones of ``available``; they sum to exactly 1, or to 0 where no
        weighted zone is available.

    Runtime complexity: O(zones), exact.
    """
    parts = {
        zone: weights.get(zone, Fraction(0)) * min(Fraction(1), overprovisioning * fraction)
        for zone, fraction in available.items()
    }
    total = sum(parts.values(), Fraction(0))
    return {zone: part / total if total else Fraction(0) for zone, part in parts.items()}
