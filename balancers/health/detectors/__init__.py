"""Passive detectors: what traffic tells of an endpoint, one rule a file."""

from __future__ import annotations

from balancers.health.detectors.base import Detector
from balancers.health.detectors.consecutive import Consecutive
from balancers.health.detectors.pool import PoolRate
from balancers.health.detectors.ratio import Ratio
from balancers.health.detectors.sequential import Sequential
from balancers.health.policy import HealthPolicy

__all__ = ["Detector", "PoolRate", "detectors_for"]


def detectors_for(policy: HealthPolicy, pool: PoolRate) -> tuple[Detector, ...]:
    """Return a fresh set of the detectors that trip at a failure."""
    chosen: list[Detector] = []
    if policy.consecutive_failures is not None:
        chosen.append(Consecutive(policy.consecutive_failures))
    if policy.sequential:
        chosen.append(Sequential(policy, pool))
    if policy.failure_ratio is not None:
        chosen.append(Ratio(policy))
    return tuple(chosen)
