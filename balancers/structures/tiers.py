"""How tiers share the load: the first takes what it can, the next takes what is left.

Each tier has a capacity: the part of the whole load that its healthy members could take, and
another that its degraded members could. Healthy capacity of every tier is used before any
degraded one. Where all capacity together is short of the load it is scaled up to it.

Source: Envoy, "priority levels" and "degraded endpoints"; ``tier_percentages`` gives its
integers, ``tier_shares`` the real numbers they approximate.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

__all__ = ["tier_percentages", "tier_shares"]


def tier_shares(
    healthy: Sequence[Fraction], degraded: Sequence[Fraction] = ()
) -> tuple[list[Fraction], list[Fraction]]:
    """Return the exact share of each tier's healthy, and of its degraded, members.

    Args:
        healthy: Capacity of the healthy members of each tier ≥ 0, 1 being the whole load;
            more than 1 counts as 1. First tier first.
        degraded: The same of the degraded members; none if empty.

    Returns:
        Shares for the healthy and for the degraded members; they sum to exactly 1, or to 0
        where there is no capacity at all. A tier gets no more than its capacity, unless all
        capacity together is short of 1: then each gets its proportional part.

    Raises:
        ValueError: If a capacity is negative.

    Runtime complexity: O(tiers).
    """
    parts = [_capped(capacity) for capacity in (*healthy, *degraded)]
    total = min(Fraction(1), sum(parts, Fraction(0)))
    left = Fraction(1)
    shares = []
    for part in parts:
        share = min(left, part / total) if total else Fraction(0)
        left -= share
        shares.append(share)
    count = len(healthy)
    return shares[:count], shares[count:] or [Fraction(0)] * count


def tier_percentages(
    healthy: Sequence[int], degraded: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """Return Envoy's whole percentages for whole percentages of capacity.

    Every division rounds down; what that leaves goes to the first tier with healthy capacity,
    else to the first with degraded capacity.

    Args:
        healthy: Percent of the load that the healthy members of each tier can take, 0..100.
        degraded: The same of the degraded members; none if empty.

    Returns:
        Percentages that sum to 100, or to 0 where there is no capacity at all.

    Raises:
        ValueError: If a capacity is out of range.

    Runtime complexity: O(tiers).
    """
    parts = [*healthy, *degraded]
    for part in parts:
        if not 0 <= part <= 100:
            raise ValueError(f"a capacity is a percentage within 0..100, not {part!r}")
    total = min(100, sum(parts))
    left = 100 if total else 0
    loads = []
    for part in parts:
        load = min(left, part * 100 // total) if total else 0
        left -= load
        loads.append(load)
    if left:
        first = next(index for index, part in enumerate(parts) if part)
        loads[first] += left
    count = len(healthy)
    return loads[:count], loads[count:] or [0] * count


def _capped(capacity: Fraction) -> Fraction:
    if capacity < 0:
        raise ValueError(f"a capacity must be ≥ 0, not {capacity!r}")
    return min(Fraction(1), capacity)
