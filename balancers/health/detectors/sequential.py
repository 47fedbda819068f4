"""The sequential test: a detector with a false-alarm rate one can state.

It keeps one number, the evidence that the endpoint fails with probability p1 rather than p0:
a failure adds ln(p1/p0), a success adds ln((1 − p1)/(1 − p0)), and below 0 it stays at 0. At
ln(1/α) the endpoint is ejected.

p0 is what nobody is blamed for: the larger of ``sequential_floor`` (1 %) and
``sequential_factor`` (2) times the failure rate of the other endpoints (``pool``). p1 is
``sequential_alternative`` (50 %), or √p0 where that is more. At p0 = 1 nothing is evidence.

Guarantees:
    While an endpoint's requests fail independently with probability ≤ p0, the mean number
    of requests to a false ejection is at least 1/α, whatever the rate, and however p0 moves:
    each factor is fixed before its outcome is known, so the product is a supermartingale.
    At a constant p0, ⌈ln(1/α)/ln(p1/p0)⌉ failures in a row always eject: 4 at the defaults.
    Mean requests to an ejection at p0 = 1 %: 4 at 100 % failures, 9 at 50 %, 19 at 30 %.

Use when:
    Always. It finds endpoints that fail a part of their requests, which consecutive failures
    miss, and ejects nobody when the whole pool fails.

Avoid when:
    Endpoints serve different traffic, so that one may rightly fail more than twice as often.

Cost:
    O(1), two numbers an endpoint; a success costs nothing while the evidence is 0.

Source:
    Page's CUSUM (1954); Lorden (1971) for the run length; Shin, Ramdas and Rinaldo,
    e-detectors (2022), for rates that move.
"""

from __future__ import annotations

import math

from balancers.health.detectors.pool import PoolRate, PoolShare
from balancers.health.policy import HealthPolicy

__all__ = ["Sequential"]


class Sequential:
    """Page's test against a yardstick that follows the pool."""

    __slots__ = ("_alternative", "_factor", "_floor", "_limit", "_pool", "_share", "evidence")

    def __init__(self, policy: HealthPolicy, pool: PoolRate) -> None:
        self._pool = pool
        self._share = PoolShare()
        self._floor = policy.sequential_floor
        self._factor = policy.sequential_factor
        self._alternative = policy.sequential_alternative
        self._limit = -math.log(policy.sequential_alpha)
        self.evidence: float = 0.0

    @property
    def quiet(self) -> bool:
        """Whether a success would change nothing."""
        return self.evidence == 0.0

    def failed(self, at: float) -> str | None:
        """Learn of a failure; return a reason to eject, or None."""
        null, alternative = self._rates()  # before the outcome: see Guarantees
        self._pool.failed(self._share)
        self.evidence += math.log(alternative / null)
        if self.evidence < self._limit - 1e-9:
            return None
        self.evidence = self._limit  # where a cap forbids the ejection, do not pile it up
        return f"fails more often than {null:.1%}, beyond chance"

    def succeeded(self, at: float, latency: float | None) -> None:
        """Learn of a success."""
        if self.evidence > 0.0:
            null, alternative = self._rates()
            if null < 1.0:
                self.evidence += math.log((1.0 - alternative) / (1.0 - null))
                self.evidence = max(0.0, self.evidence)

    def reset(self) -> None:
        """Forget everything."""
        self.evidence = 0.0

    def report(self) -> dict[str, float]:
        """Return numbers for the snapshot."""
        return {"evidence": self.evidence, "evidence_limit": self._limit}

    def _rates(self) -> tuple[float, float]:
        """p0 and p1 as of now."""
        null = min(1.0, max(self._floor, self._factor * self._pool.rate(self._share)))
        return null, max(self._alternative, math.sqrt(null))
