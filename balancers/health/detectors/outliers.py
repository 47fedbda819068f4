"""Success-rate and failure-percentage outliers: endpoints compared with each other.

Guarantees:
    ``success_rates`` names, in the order given, the endpoints whose success rate lies below
    mean − stdev · σ (population σ), among those with enough requests, if there are enough of
    those. ``failure_percentages`` names those whose share of failures reaches the threshold.

Use when:
    You must behave as Envoy or gRPC do next door.

Avoid when:
    You have the choice: of 100 identical endpoints the 1.9 σ rule flags three to six every
    interval, by chance alone; only the cap hides it.

Cost:
    O(n) an interval.

Source:
    Envoy's outlier detection, gRFC A50. They differ in two points, ``outlier_rules``: a share
    of failures *at* the threshold ejects in Envoy, only *above* it in gRPC; and gRPC looks at
    the cap before the ejection, so that one more than the cap may be out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from balancers.health.detectors.tally import Sample
from balancers.health.policy import HealthPolicy

__all__ = ["failure_percentages", "success_rate_threshold", "success_rates"]


def success_rate_threshold(rates: list[float], stdev: float) -> float:
    """Return mean − stdev · σ of the rates; {0.5, 1, 1, 1, 1} at 1.9 gives 0.52. O(n)."""
    mean = math.fsum(rates) / len(rates)
    variance = math.fsum((rate - mean) ** 2 for rate in rates) / len(rates)
    return mean - stdev * math.sqrt(variance)


def success_rates(samples: Mapping[str, Sample], policy: HealthPolicy) -> dict[str, str]:
    """Return the outliers, id to reason."""
    if policy.success_rate_stdev is None:
        return {}
    rates = {
        name: sample.good / sample.total
        for name, sample in samples.items()
        if sample.total >= policy.success_rate_requests
    }
    if len(rates) < policy.success_rate_hosts:
        return {}
    threshold = success_rate_threshold(list(rates.values()), policy.success_rate_stdev)
    return {
        name: f"success rate {rate:.1%} below {threshold:.1%}"
        for name, rate in rates.items()
        if rate < threshold
    }


def failure_percentages(samples: Mapping[str, Sample], policy: HealthPolicy) -> dict[str, str]:
    """Return those that fail too large a share, id to reason."""
    limit = policy.failure_percentage
    if limit is None:
        return {}
    shares = {
        name: sample.bad / sample.total
        for name, sample in samples.items()
        if sample.total >= policy.failure_percentage_requests
    }
    if len(shares) < policy.failure_percentage_hosts:
        return {}
    strict = policy.outlier_rules == "grpc"
    return {
        name: f"{share:.1%} of requests failed, limit {limit:.1%}"
        for name, share in shares.items()
        if (share > limit if strict else share >= limit)
    }
