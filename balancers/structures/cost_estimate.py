"""What an endpoint's answers say a request to it costs: a typical latency, and a price for errors.

The typical latency is the mean of the *logarithm*, so that one slow request in a heavy tail is
not mistaken for a slow endpoint, while a tenfold slowdown still adds 2.3. A sample weighs
dt/(decay + dt), or 1/k if it is the k-th, whichever is more: the plain mean at first, then a
memory of about ``decay``, and an old estimate yields to fresh news. dt is twice the time since
the answer before, or between the last two picks, whichever is less (of two random times the
shorter is half as long in the mean). An answer that is late because its request was large, and
those that had to wait behind it and come all at once, then tell no more than any others, although
they follow a long silence.

An error's speed is never good news: it may raise the typical latency, not lower it. Its price is a
multiple of the pool's typical latency, so that an endpoint that fails fast is never cheap. Two
things are priced, whichever is more:

* the mean share of errors, weighed like the latencies, as far as it exceeds twice the pool's own:
  errors that befall everybody alike say nothing about anybody;
* the doubt that the endpoint is down. s errors in a row happen by themselves with probability
  p^s, p being twice the pool's rate; against that stands one chance in 100,000 that an endpoint has
  just gone down. Two errors in a row are enough where errors are rare, five where a twentieth of
  all answers are errors.
"""

from __future__ import annotations

from math import exp, inf, log

__all__ = ["CostEstimate", "PoolEstimate"]

ERROR_PRICE = 100.0
"""Typical latencies of the pool that an endpoint costs more if all its answers are errors."""

LEAST_RATE = 1e-3
"""Share of errors that is taken for ordinary in any pool."""

DOWN = 1e-5
"""Chance, before any error is seen, that an endpoint has just gone down."""

LONGEST_STREAK = 60
"""Errors in a row that are counted."""

NEGLIGIBLE = 1e-4
"""Share of errors below which there are none."""

FAMILIAR = 20
"""Samples after which an endpoint's own latency stands without the pool's beside it."""

STALE = 10.0
"""Seconds left alone after which an estimate yields to the next answer altogether."""

MEMORY = 1024
"""Successes a pool remembers."""

LEAST_LATENCY = 1e-7
"""Seconds; whatever is quicker counts as this."""

LEAST_LOG = log(LEAST_LATENCY)

GREATEST_LOG = 709.0
"""``exp`` of more is no float."""

_NONE = -inf  # one object for all estimates: each would take another for the minus sign


class PoolEstimate:
    """The typical latency of a whole pool, over its last successes.

    Args:
        decay: Memory of the endpoints' estimates, seconds > 0.

    Attributes:
        log_latency: Mean logarithm of seconds; 0 before the first success.
        samples: Successes seen, counted up to ``MEMORY``.
        weight: Weight of the next one.
        error_rate: Mean share of errors of the endpoints that fail less than half the time,
            0..1; kept by the owner of the endpoints.
    """

    __slots__ = ("decay", "error_rate", "log_latency", "samples", "weight")

    def __init__(self, decay: float) -> None:
        self.decay: float = decay
        self.log_latency: float = 0.0
        self.samples: int = 0
        self.weight: float = 1.0
        self.error_rate: float = 0.0

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
        errors: The share of errors to expect of it beyond the ordinary, 0..1; what is priced.
        mean_errors: Share of errors among its answers, 0..1, recent ones weighing more.
        streak: Errors since the last success.
        samples: Answers seen since it was last left alone for ``STALE`` seconds.
        log_cost: Logarithm of what one request costs, in seconds: latency and price of errors.
        at: Time of its last answer, seconds.
    """

    __slots__ = (
        "at",
        "errors",
        "log_cost",
        "log_latency",
        "mean_errors",
        "samples",
        "streak",
    )

    def __init__(self) -> None:
        self.log_latency: float = 0.0
        self.errors: float = 0.0
        self.mean_errors: float = 0.0
        self.streak: int = 0
        self.samples: int = 0
        self.log_cost: float = _NONE  # nobody has looked at it yet
        self.at: float = 0.0

    @property
    def latency(self) -> float | None:
        """The typical latency in seconds, or None before the first answer."""
        return exp(self.log_latency) if self.samples else None

    def learn(
        self, now: float, latency: float, success: bool, pool: PoolEstimate, gap: float = inf
    ) -> None:
        """Take an answer into account; ``price`` is to follow.

        Args:
            now: Seconds, never going backwards.
            latency: Seconds the answer took, ≥ 0.
            success: Whether it was none of the endpoint's errors.
            pool: The pool's estimate; a success goes into it as well.
            gap: Seconds between the last two picks of the endpoint, ≥ 0.

        Runtime complexity: O(1).
        """
        sample = log(latency) if latency > LEAST_LATENCY else LEAST_LOG
        elapsed = now - self.at
        samples = self.samples
        if elapsed - latency > STALE:
            samples = 0
        span = 2.0 * max(0.0, min(elapsed, gap))
        weight = max(span / (pool.decay + span), 1.0 / (samples + 1))
        if success:
            pool.learn(sample)
            self.log_latency += weight * (sample - self.log_latency)
            self.mean_errors -= weight * self.mean_errors
            if self.mean_errors < NEGLIGIBLE:
                self.mean_errors = 0.0
            self.streak = 0
        else:
            if self.samples == 0:
                self.log_latency = max(sample, pool.log_latency) if pool.samples else sample
            elif sample > self.log_latency:
                self.log_latency += weight * (sample - self.log_latency)
            self.mean_errors += weight * (1.0 - self.mean_errors)
            self.streak = min(self.streak + 1, LONGEST_STREAK)
        self.samples = samples + 1
        self.at = now

    def price(self, pool: PoolEstimate) -> None:
        """Bring ``errors`` and ``log_cost`` up to date with the last answer and the pool. O(1).

        After an error neither falls, whatever it did to the pool's rate.
        """
        ordinary = max(LEAST_RATE, 2.0 * pool.error_rate)
        errors = max(0.0, self.mean_errors - 2.0 * pool.error_rate)
        if self.streak:
            odds = DOWN * min(ordinary, 0.999) ** -self.streak
            errors = max(self.errors, errors, odds / (1.0 + odds))
        mean = self.log_latency
        if self.samples < FAMILIAR:  # few samples: count the pool's own latency as one more
            mean += (pool.log_latency - mean) / (self.samples + 1)
        cost = mean
        if errors:
            cost = log(exp(mean) + ERROR_PRICE * errors * exp(pool.log_latency))
        if self.streak:
            cost = max(cost, self.log_cost)
        self.errors = errors
        self.log_cost = cost
