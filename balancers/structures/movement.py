"""What a change of members does to the keys: how many move, from whom to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import fsum, inf

__all__ = ["Movement", "rendezvous_flows"]


@dataclass(frozen=True, slots=True)
class Movement:
    """The part of the key space whose owner differs between two structures.

    Attributes:
        fraction: The part that moves, 0..1.
        table: (from id, to id) -> part of the whole key space, each > 0, sorted by the pair.
        error: Bound on the error of each figure. 0.0 where the figures are exact but for the
            rounding of the floats themselves; > 0 where keys were sampled, and then the bound
            holds with the confidence that the method stating it names.
    """

    fraction: float
    table: Mapping[tuple[str, str], float]
    error: float = 0.0

    @classmethod
    def of(cls, flows: Mapping[tuple[str, str], float], *, error: float = 0.0) -> Movement:
        """Build from flows that are fractions of the key space already.

        Args:
            flows: (from, to) -> part, 0..1; zero flows and flows to oneself are left out.
            error: See the attribute.

        Runtime complexity: O(flows log flows).
        """
        kept = {pair: flows[pair] for pair in sorted(flows) if pair[0] != pair[1] and flows[pair]}
        return cls(fsum(kept.values()), kept, error)

    @classmethod
    def of_counts(cls, flows: Mapping[tuple[str, str], int], total: int) -> Movement:
        """Build from integer counts out of ``total``; every figure is then correctly rounded.

        Args:
            flows: (from, to) -> units of the key space, ≥ 0.
            total: Units in the whole key space, > 0.

        Runtime complexity: O(flows log flows).
        """
        kept = {pair: flows[pair] for pair in sorted(flows) if pair[0] != pair[1] and flows[pair]}
        return cls(
            float(Fraction(sum(kept.values()), total)),
            {pair: float(Fraction(units, total)) for pair, units in kept.items()},
        )

    def lost(self) -> dict[str, float]:
        """Return id -> part of the key space it gives away."""
        return self._sums(0)

    def gained(self) -> dict[str, float]:
        """Return id -> part of the key space it takes over."""
        return self._sums(1)

    def _sums(self, side: int) -> dict[str, float]:
        parts: dict[str, list[float]] = {}
        for pair, part in self.table.items():
            parts.setdefault(pair[side], []).append(part)
        return {id_: fsum(values) for id_, values in sorted(parts.items())}


def rendezvous_flows(
    before: Mapping[str, float], after: Mapping[str, float]
) -> dict[tuple[str, str], float]:
    """Return the exact law of (owner before, owner after) for weighted rendezvous hashing.

    Let every member k have an exponential draw E_k of rate 1 and the owner be the smallest
    E_k / w_k before and E_k / w'_k after. With x = E_i and r = E_j / E_i, "i before, j after"
    asks w_j / w_i ≤ r ≤ w'_j / w'_i, and of every other k that E_k ≥ x·max(w_k / w_i, r·w'_k /
    w'_j). Integrating x out and writing r = ρ·w'_j / w_i leaves

        P(i → j) = w_i · w'_j · ∫ S(ρ)⁻² dρ from w_j / w'_j to w_i / w'_i,
        S(ρ) = Σ_k max(w_k, ρ·w'_k),

    and S is piecewise linear with breakpoints at the ratios w_k / w'_k, so the integral is a sum
    of terms (b - a) / (S(a)·S(b)). Keys go only from a larger ratio to a smaller one.

    Args:
        before: id -> weight ≥ 0; an absent id has weight 0. At least one is positive.
        after: The same, after the change.

    Returns:
        (from, to) -> part of the key space, for the pairs that exchange keys.

    Runtime complexity: O(n log n) and O(1) a pair.
    """
    ratios: dict[str, float] = {}
    for id_ in {**before, **after}:
        w, v = before.get(id_, 0.0), after.get(id_, 0.0)
        if w or v:
            ratios[id_] = w / v if v else inf
    # F(ρ) = ∫ S⁻² from 0 to ρ, at each breakpoint, in one sweep from 0: S starts as Σ w and its
    # slope gains w'_k beyond the ratio of k.
    integral: dict[float, float] = {}
    parts: list[float] = []
    ordered = sorted(ratios, key=ratios.__getitem__)
    at, level, slope = 0.0, fsum(before.values()), 0.0
    for id_ in ordered:
        ratio = ratios[id_]
        if ratio > at:
            following = level + slope * (ratio - at) if ratio < inf else inf
            if following < inf:
                parts.append((ratio - at) / (level * following))
            elif slope:
                parts.append(1 / (slope * level))
            at, level = ratio, following
        if ratio not in integral:
            integral[ratio] = fsum(parts)
        slope += after.get(id_, 0.0)
    flows = {}
    for i in ordered:
        w = before.get(i, 0.0)
        if not w:
            continue
        for j in ordered:
            if ratios[j] >= ratios[i]:
                break
            if v := after.get(j, 0.0):
                flows[i, j] = w * v * (integral[ratios[i]] - integral[ratios[j]])
    return flows
