"""Exact quantiles of the binomial law, for tests that state their rate of false alarm."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["FALSE_ALARM", "binomial_range"]

FALSE_ALARM = Fraction(1, 10**9)
"""Chance that a statistical check of this kit fails a correct policy."""


def binomial_range(
    trials: int, chance: Fraction, false_alarm: Fraction = FALSE_ALARM
) -> tuple[int, int]:
    """Return the counts that are no surprise.

    Args:
        trials: Independent trials, ≥ 0.
        chance: Probability of success of each, 0..1.
        false_alarm: Probability allowed outside the range, half of it at each side.

    Returns:
        The lowest and the highest count, where X ~ Binomial(trials, chance) is below the one with
        probability ≤ false_alarm / 2, and above the other likewise.

    Runtime complexity: O(trials) operations on integers of O(trials) bits; nothing is rounded.
    """
    if not 0 <= chance <= 1:
        raise ValueError(f"a chance is within 0..1, not {chance}")
    low = _lowest(trials, chance, false_alarm / 2)
    high = trials - _lowest(trials, 1 - chance, false_alarm / 2)
    return low, high


def _lowest(trials: int, chance: Fraction, alarm: Fraction) -> int:
    """The largest k with P(X < k) ≤ alarm."""
    if chance == 1:
        return trials
    hit, miss = chance.numerator, chance.denominator - chance.numerator
    # Everything times denominator ** trials, so that the terms are integers.
    allowed = alarm * chance.denominator**trials
    term = miss**trials
    below = 0
    for k in range(trials + 1):
        if below + term > allowed:
            return k
        below += term
        term = term * (trials - k) * hit // ((k + 1) * miss)
    return trials
