"""Latency outliers: endpoints much slower than the median.

Guarantees:
    Names the endpoints whose mean latency over the interval exceeds ``latency_factor`` times
    the median of all means, and ``latency_floor``, among those with ``latency_requests``
    timed successes, if there are ``latency_hosts`` of them. Fewer than half of the endpoints
    can be named, since the median is one of them. One ejected for it is readmitted only by
    requests that are answered within that limit: getting no traffic is no cure.

Use when:
    A policy blind to load (round robin, random, hashing) meets an endpoint that has become
    slow without failing.

Avoid when:
    The policy weighs latency itself, or endpoints rightly differ in speed.

Cost:
    O(n log n) an interval.

Source:
    The median is the robust yardstick: the mean would move with what it should find.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median_low

from balancers.health.detectors.tally import Sample
from balancers.health.policy import HealthPolicy

__all__ = ["latency_limit", "latency_outliers"]


def latency_limit(samples: Mapping[str, Sample], policy: HealthPolicy) -> float | None:
    """Return the seconds above which an endpoint is too slow, None if nobody can say."""
    if policy.latency_factor is None:
        return None
    means = list(_means(samples, policy).values())
    if len(means) < policy.latency_hosts:
        return None
    return max(policy.latency_floor, policy.latency_factor * median_low(means))


def latency_outliers(
    samples: Mapping[str, Sample], policy: HealthPolicy, limit: float
) -> dict[str, str]:
    """Return the endpoints above the limit, id to reason."""
    return {
        name: f"{mean:.3g} s a request, limit {limit:.3g} s"
        for name, mean in _means(samples, policy).items()
        if mean > limit
    }


def _means(samples: Mapping[str, Sample], policy: HealthPolicy) -> dict[str, float]:
    return {
        name: sample.seconds / sample.timed
        for name, sample in samples.items()
        if sample.timed >= policy.latency_requests
    }
