"""How long an ejection takes."""

from __future__ import annotations

from random import Random

from balancers.health.policy import HealthPolicy

__all__ = ["remaining_strikes", "sentence"]


def sentence(policy: HealthPolicy, strikes: int, rng: Random) -> float:
    """Return the seconds of the ``strikes``-th ejection, counted from 1.

    base · 2^(strikes−1), or base · strikes, up to the maximum; jitter only shortens, so the
    maximum holds.
    """
    factor = 2.0 ** min(strikes - 1, 60) if policy.ejection_growth == "doubling" else strikes
    seconds = min(policy.ejection_time * factor, policy.ejection_time_max)
    if policy.ejection_jitter:
        seconds *= 1.0 - policy.ejection_jitter * rng.random()
    return seconds


def remaining_strikes(policy: HealthPolicy, strikes: int, conduct: float) -> int:
    """Return what is left of the strikes after ``conduct`` seconds without an ejection."""
    return max(0, strikes - int(max(0.0, conduct) // policy.ejection_decay))
