"""Lags across a change of weights or members: whose debt is whose afterwards.

The lag of an id is what its weight entitles it to so far minus what it got; lags sum to 0. They
are held as integers over one unit, so a schedule never rounds while its weights stand. A change of
weights brings a new unit, and the common multiple of all units so far would grow for ever under
churn: lags are carried exactly while it stays within ``EXACT_BITS``, and beyond that rounded down
to a grid of at most 2**-``GRID_BITS``. Rounding down never makes an id look more entitled than it
is, so a lower bound on lags that a rule keeps for the rounded ones holds for the true ones too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd, lcm

__all__ = ["carry_lags", "pour"]

EXACT_BITS = 192
GRID_BITS = 128


def carry_lags(
    lags: Mapping[str, int], unit: int, members: Sequence[str], base: int
) -> tuple[list[int], int]:
    """Return the lags of ``members`` after a change, and the unit they are counted in.

    The sum of the leavers' lags is poured over the survivors (see :func:`pour`); with no survivor
    it is dropped. A joiner starts at 0.

    Args:
        lags: Id -> lag in ``1/unit``, for everybody who was scheduled until now.
        unit: > 0.
        members: Ids scheduled from now on, in order.
        base: > 0; the new unit is a multiple of it.

    Runtime complexity: O(n log n).
    """
    survivors = [id_ for id_ in members if id_ in lags]
    kept = set(survivors)
    freed = sum(lag for id_, lag in lags.items() if id_ not in kept)
    levels, parts = pour([lags[id_] for id_ in survivors], freed)
    unit *= parts
    shared = gcd(unit, *levels)
    unit //= shared
    target = lcm(unit, base)
    if target.bit_length() > EXACT_BITS:
        target = base << max(0, GRID_BITS + 1 - base.bit_length())
    carried = {
        id_: level // shared * target // unit for id_, level in zip(survivors, levels, strict=True)
    }
    return [carried.get(id_, 0) for id_ in members], target


def pour(levels: Sequence[int], amount: int) -> tuple[list[int], int]:
    """Spread ``amount`` over ``levels`` as water finds its level.

    A positive amount raises the lowest to one common level, a negative one lowers the highest.
    Among lags that sum to ``-amount`` this never lifts one above 0 that was not, nor sinks one
    below 0 that was not, so no bound that holds before is broken by it.

    Returns:
        ``(numerators, parts)``: the new levels are exactly ``numerators[i] / parts``.

    Runtime complexity: O(n log n).
    """
    if not amount or not levels:
        return list(levels), 1
    sign = 1 if amount > 0 else -1
    heights = [sign * level for level in levels]
    order = sorted(range(len(heights)), key=heights.__getitem__)
    water = sign * amount
    parts = 0
    for rank, index in enumerate(order):
        # ``water`` is now the sum of the amount and the heights of everybody in the pool.
        if rank and heights[index] * rank >= water:
            break
        water += heights[index]
        parts = rank + 1
    result = [level * parts for level in levels]
    for index in order[:parts]:
        result[index] = sign * water
    return result, parts
