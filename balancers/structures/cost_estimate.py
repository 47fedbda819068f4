"""What an endpoint's answers say a request to it costs: a typical latency, and a price for errors.

The typical latency is the mean of the *logarithm*, so that one slow request in a heavy tail is not
mistaken for a slow endpoint, while a tenfold slowdown still adds 2.3. A sample dt seconds after the one
before weighs dt/(decay + dt), or 1/k if it is the k-th, whichever is more: the plain mean at
first, then a memory of about ``decay``, and an old estimate yields to fresh news.

An error's speed is never good news: it may raise the typical latency, not lower it. Its price is a
multiple of the pool's typical latency, so that an endpoint that fails fast is never cheap.
"""

from __future__ import annotations

from math import exp, log

__all__ = ["CostEstimate", "PoolEstimate"]

ERROR_PRICE = 100.0
"""Typical latencies of the pool that an endpoint costs more if all its answers are errors."""

ERROR_WEIGHT = 0.1
"""Least weight of an error among the answers, however quickly they follow each other."""

FAMILIAR = 20
"""Samples after which an endpoint's own latency stands without the pool's beside it."""

STALE = 10.0
"""Seconds left alone after which an estimate yields to the next answer altogether."""

MEMORY = 1024
"""Successes a pool remembers."""

LEAST_LATENCY = 1e-7
"""Seconds; whatever is quicker counts as this."""

LEAST_LOG = log(LEAST_LATENCY)


class PoolEstimate:
    """The typical latency of a whole pool, over its last successes.

    Args:
        decay: Memory of the endpoints' estimates, seconds > 0.

    Attributes:
        log_latency: Mean logarithm of seconds; 0 before the first success.
        samples: Successes seen, counted up to ``MEMORY``.
        weight: Weight of the next one.
    """

    __slots__ = ("decay", "log_latency", "samples", "weight")

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.log_latency = 0.0
        self.samples = 0
        self.weight = 1.0

    def learn(self, sample: float) -> None:
        """Take the logarithm of a success's latency into account. O(1)."""
        self.log_latency += self.weight * (sample - self.log_latency)
        if self.samples < MEMORY:
            self.samples += 1
            self.weight = 1.0 / (self.samples + 1)


class CostEstimate:
    """What is known of one endpoint.

    Attributes:
        log_latency: Mean logarithm of its latency in seconds; 0 if ``samples`` is.
        errors: Share of errors among its answers, 0..1, recent ones weighing more.
        samples: Answers seen since it was last left alone for ``STALE`` seconds.
        log_cost: Logarithm of what one request costs, in seconds: latency and price of errors.
        at: Time of its last answer, seconds.
    """

    __slots__ = ("at", "errors", "log_cost", "log_latency", "samples")

    def __init__(self) -> None:
        self.log_latency = 0.0
        self.errors = 0.0
        self.samples = 0
        self.log_cost = 0.0
        self.at = 0.0

    @property
    def latency(self) -> float | None:
        """The typical latency in seconds, or None before the first answer."""
        return exp(self.log_latency) if self.samples else None

    def learn(self, now: float, latency: float, success: bool, pool: PoolEstimate) -> None:
        """Take an answer into account.

        Args:
            now: Seconds, never going backwards.
            latency: Seconds the answer took, ≥ 0.
            success: Whether it was none of the endpoint's errors.
            pool: The pool's estimate; a success goes into it as well.

        Runtime complexity: O(1).
        """
        sample = log(latency) if latency > LEAST_LATENCY else LEAST_LOG
        elapsed = now - self.at
        samples = self.samples
        if elapsed - latency > STALE:
            samples = 0
        weight = elapsed / (pool.decay + elapsed) if elapsed > 0.0 else 0.0
        weight = max(weight, 1.0 / (samples + 1))
        if success:
            pool.learn(sample)
            self.log_latency += weight * (sample - self.log_latency)
            self.errors -= weight * self.errors
        else:
            if self.samples == 0:
                self.log_latency = max(sample, pool.log_latency) if pool.samples else sample
            elif sample > self.log_latency:
                self.log_latency += weight * (sample - self.log_latency)
            self.errors += max(weight, ERROR_WEIGHT) * (1.0 - self.errors)
        self.samples = samples + 1
        self.at = now
        self.log_cost = self.priced(pool)

    def priced(self, pool: PoolEstimate) -> float:
        """Return the logarithm of the cost beside the pool as it is now. O(1)."""
        mean = self.log_latency
        if self.samples < FAMILIAR:  # few samples: count the pool's own latency as one more
            mean += (pool.log_latency - mean) / (self.samples + 1)
        if self.errors:
            return log(exp(mean) + ERROR_PRICE * self.errors * exp(pool.log_latency))
        return mean
