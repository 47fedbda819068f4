"""How many points a ring needs: the exact law of its shares.

The share of a member with v of the N random points on a circle follows Beta(v, N - v), and

    P(share > x) = P(at most v - 1 of N - 1 uniform points fall below x)

is a binomial tail, so the chance that anybody owns more than ``max_imbalance`` times its due is
bounded by a sum of n such tails, exact but for the union bound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import exp, inf, isfinite, lgamma, log, log1p

from balancers.errors import InvalidEndpointError
from balancers.structures.ring_points import MAX_POINTS

__all__ = ["FAILURE", "imbalance", "overload_chance", "vnodes_for", "vnodes_for_weights"]

FAILURE = 1e-6
"""The chance, over the seeds, that a ring sized here is not as even as it was asked to be."""


def imbalance(shares: Mapping[str, float], weights: Mapping[str, float]) -> tuple[str, float]:
    """Return the member whose share is the largest multiple of its due, and that multiple.

    Args:
        shares: id -> fraction of the key space, 0..1.
        weights: id -> weight ≥ 0; the due of a member is its part of their sum.

    Returns:
        The id (the first of equals) and the multiple, ≥ 1 but for rounding; ("", 1.0) if no
        weight is positive.

    Runtime complexity: O(n).
    """
    total = sum(weights.values())
    due = {id_: weight / total for id_, weight in weights.items() if weight}
    ratios = {id_: shares[id_] / part if part else inf for id_, part in due.items()}
    worst = max(ratios, key=ratios.__getitem__, default="")
    return worst, ratios.get(worst, 1.0)


def overload_chance(points: Iterable[tuple[int, float]], max_imbalance: float) -> float:
    """Bound the chance that any member owns more than ``max_imbalance`` times its due.

    Args:
        points: For each member its points, ≥ 1, and its due, the fraction 0..1 of the keys it
            should own.
        max_imbalance: The multiple, > 0.

    Returns:
        The sum of the members' exact chances, which may pass 1.

    Runtime complexity: O(n), and a tail for each distinct pair.
    """
    groups = Counter(points)
    total = sum(count * members for (count, _), members in groups.items())
    return sum(
        members * _share_above(count, total, max_imbalance * due)
        for (count, due), members in groups.items()
    )


def _share_above(count: int, total: int, x: float) -> float:
    """Return P(Beta(count, total - count) > x), to about nine digits."""
    if x >= 1:
        return 0.0
    trials = total - 1
    k = count - 1
    if k >= trials * x:
        return 1.0  # at or above its mean: no bound worth having
    # The largest term is the last one; the terms fall off geometrically below it.
    term = exp(
        lgamma(trials + 1)
        - lgamma(k + 1)
        - lgamma(trials - k + 1)
        + k * log(x)
        + (trials - k) * log1p(-x)
    )
    chance = 0.0
    while term > chance * 1e-12:
        chance += term
        if not k:
            break
        term *= k * (1 - x) / ((trials - k + 1) * x)
        k -= 1
    return chance


def vnodes_for(n: int, max_imbalance: float, failure: float = FAILURE) -> int:
    """Return the points each of ``n`` equal members needs for a ring that is even enough.

    Args:
        n: Members, ≥ 1.
        max_imbalance: The most a member's share may be, as a multiple of 1/n; finite, > 1.
        failure: The chance that some share is larger all the same, 0 < failure < 1.

    Returns:
        The least such number, ≥ 1. Examples: (100, 1.25) -> 577, (1000, 1.25) -> 667,
        (1000, 1.1) -> 3825.

    Raises:
        ValueError: For an argument out of range.
        InvalidEndpointError: If it would take more than 2²⁴ points.

    Runtime complexity: O(log v) tails.
    """
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    return vnodes_for_weights([1.0] * n, max_imbalance, failure)


def vnodes_for_weights(
    weights: Iterable[float], max_imbalance: float, failure: float = FAILURE
) -> int:
    """Return the points a unit of weight needs for a ring that is even enough.

    A member's share scatters by 1/√(its points), so the lightest member decides.

    Args:
        weights: The weights, each finite and > 0.
        max_imbalance: The most a member's share may be, as a multiple of its due; > 1.
        failure: See :func:`vnodes_for`.

    Raises:
        ValueError: For an argument out of range.
        InvalidEndpointError: If it would take more than 2²⁴ points.

    Runtime complexity: O(n log v), and O(log v) tails for each distinct weight.
    """
    if not (isfinite(max_imbalance) and max_imbalance > 1):
        raise ValueError(f"max_imbalance must be finite and > 1, got {max_imbalance!r}")
    if not 0 < failure < 1:
        raise ValueError(f"failure must be between 0 and 1, got {failure!r}")
    groups = Counter(weights)
    total = sum(weight * members for weight, members in groups.items())
    if not groups or not min(groups) > 0 or not isfinite(total):
        raise ValueError("weights must be finite and > 0, and at least one is needed")

    def enough(vnodes: int) -> bool:
        counts = {weight: round(vnodes * weight) for weight in groups}
        laid = Counter({(counts[weight], weight / total): m for weight, m in groups.items()})
        return overload_chance(laid.elements(), max_imbalance) <= failure

    low = max(1, -int(-1 // min(groups)))  # the least number that gives everybody a point
    high = low
    while not enough(high):
        if high * total > MAX_POINTS:
            raise InvalidEndpointError(
                f"a ring within {max_imbalance} of even for {sum(groups.values())} members "
                f"would take more than {MAX_POINTS} points"
            )
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low
