"""Waterfall: callers in many places fill the regions, each its nearest ones first.

Every caller has an order of regions. In the first round each asks its first region for all of its
demand, in the second the next one for what it did not get, and so on. A region grants what it has
left, to all who ask in one round in proportion to what they ask; so its own callers come before
those who are sent on by others. Callers without an order share what is left in the end.

Source: Google Cloud, "waterfall by region": the nearest region first, the rest to the next
nearest. That one round is done for all callers before the next is the rule of this library.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

__all__ = ["waterfall"]

Caller = TypeVar("Caller", bound=Hashable)
Region = TypeVar("Region", bound=Hashable)


def waterfall(
    orders: Mapping[Caller, Sequence[Region]],
    demand: Mapping[Caller, Fraction],
    capacities: Mapping[Region, Fraction],
    allowed: Mapping[Caller, Sequence[Region]] | None = None,
) -> dict[Caller, dict[Region, Fraction]]:
    """Return the share of each caller's demand that goes to each region.

    Args:
        orders: Caller → its regions, the nearest first; empty where none is nearer than others.
        demand: Caller → its part of the demand ≥ 0, of any sum > 0.
        capacities: Region → capacity ≥ 0, in parts of the whole demand. Where they sum to less
            than 1 they are scaled up to it.
        allowed: Caller → the regions it may go to, for callers without an order or where all of
            their order is full; by default their order, or all regions if that is empty.

    Returns:
        Caller → region → share > 0. A caller's shares sum to exactly 1, or to 0 where no region
        it may go to has capacity. No region gets more than its capacity, except from callers who
        may go nowhere else.

    Runtime complexity: O(callers · regions), exact.
    """
    whole = sum(demand.values(), Fraction(0))
    total = sum(capacities.values(), Fraction(0))
    scale = max(Fraction(1), 1 / total) if total else Fraction(0)
    room = {region: capacity * scale for region, capacity in capacities.items()}
    left = dict.fromkeys(orders, Fraction(1))
    shares: dict[Caller, dict[Region, Fraction]] = {caller: {} for caller in orders}
    for turn in range(max(map(len, orders.values()), default=0)):
        asked: dict[Region, list[Caller]] = {}
        for caller, order in orders.items():
            if turn < len(order) and left[caller] and room.get(order[turn]):
                asked.setdefault(order[turn], []).append(caller)
        for region, callers in asked.items():
            wanted = sum((demand[c] * left[c] / whole for c in callers), Fraction(0))
            part = min(Fraction(1), room[region] / wanted) if wanted else Fraction(1)
            for caller in callers:
                shares[caller][region] = left[caller] * part
                left[caller] *= 1 - part
            room[region] -= wanted * part
    for caller, rest in left.items():
        if rest:
            may = (allowed or {}).get(caller, orders[caller] or list(capacities))
            source = room if any(room.get(region) for region in may) else capacities
            parts = {region: source[region] for region in may if source.get(region)}
            for region, size in parts.items():
                more = rest * size / sum(parts.values())
                shares[caller][region] = shares[caller].get(region, Fraction(0)) + more
    return shares
