"""``HealthPolicy``: every threshold of the registry, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from balancers.health.bounds import Real, Whole

__all__ = ["HealthPolicy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthPolicy:
    """What counts as sick, how long, and how one comes back.

    The defaults answer one question: what is right for somebody who has not measured
    anything yet? Two passive detectors are on, because each has a false-alarm rate that can
    be written down; the others compare endpoints with each other and need volumes that only
    the user knows. ``envoy()``, ``grpc()`` and ``nginx()`` return those systems' rules.

    Args:
        probe_interval: Seconds between probes of an endpoint that is well or surely down.
            5 s finds a dead host in ``fall`` probes, most of them at the fast interval.
        probe_fast_interval: Seconds between probes while the next one may decide: 1 s, so
            a verdict of three takes 2 s after the first sign, not 10.
        probe_unhealthy_interval: Seconds between probes of an UNHEALTHY endpoint; None is
            ``probe_interval``.
        probe_timeout: Seconds a prober waits for an answer; below ``probe_interval``, so
            that probes of one endpoint do not pile up.
        probe_jitter: Share of the interval, 0..1, by which each probe strays at random.
        rise: Probes that must pass in a row before a down endpoint counts as up. 2: one may
            be luck.
        fall: Probes that must fail in a row before it counts as down. 3 (HAProxy's): a lost
            packet or one slow answer is no outage.
        minimum_healthy_time: Seconds of unbroken passing before a recovered endpoint gets
            traffic again (GRACE). 10 s: a process that crashes in a loop seldom lives longer.
        first_state: "optimistic": a newcomer gets traffic at once; "wait": only after its
            first probe has passed.

        consecutive_failures: Failures in a row that eject; None is off. 5: a mean of 10¹⁰
            requests between false alarms at 1 % errors.
        sequential: Whether the sequential test is on; see ``detectors.sequential``.
        sequential_floor: Error rate, 0..1, that is never held against anybody.
        sequential_factor: An endpoint may fail this many times as often as the others do.
        sequential_alternative: Error rate the test is sharpest against, above the floor.
        sequential_alpha: 1/α is the mean number of requests to a false alarm, at least.
        failure_ratio: Share of failed requests, 0..1, within ``failure_ratio_window``
            seconds and at least ``failure_ratio_requests`` requests that ejects; None is off.
        failure_ratio_window: Seconds.
        failure_ratio_requests: Requests.
        outlier_interval: Seconds between two comparisons of the endpoints with each other.
        success_rate_stdev: Ejects whose success rate is this many standard deviations below
            the mean, among at least ``success_rate_hosts`` endpoints with
            ``success_rate_requests`` requests each in the interval; None is off. Envoy and
            gRPC: 1.9, which flags some healthy endpoint nearly every interval.
        success_rate_hosts: Endpoints.
        success_rate_requests: Requests.
        failure_percentage: Ejects whose share of failures in the interval reaches this,
            0..1; None is off.
        failure_percentage_hosts: Endpoints.
        failure_percentage_requests: Requests.
        latency_factor: Ejects whose mean latency in the interval exceeds this many times
            the median of all; None is off.
        latency_floor: Seconds below which nobody is too slow.
        latency_hosts: Endpoints.
        latency_requests: Requests.
        outlier_rules: Where Envoy and gRFC A50 differ. "envoy": a share of failures *at* the
            threshold ejects, and a cap is judged as it would be after the ejection. "grpc":
            only *above* it, and as it is before.

        ejection_time: Seconds of a first ejection. 10 s: short, because the doubling makes
            a lasting fault rare soon enough, and a false alarm should cost little.
        ejection_time_max: Seconds of the longest.
        ejection_growth: "doubling" (10, 20, 40, …) or "linear" (10, 20, 30, …).
        ejection_jitter: Share of the time, 0..1, that chance may take off, so that clients
            which ejected together do not come back together.
        ejection_decay: Seconds of good conduct that take one step off the next ejection.
        max_ejected: Share, 0..1, of count and of weight that may be ejected at a time. Half:
            what the default panic threshold tolerates, so ejections alone cause no panic.
        min_ejected: Endpoints that may be ejected whatever the share says.
        min_eligible: Endpoints that ejection always leaves eligible, at least 1.
        retry_after_max: Seconds; a server's ``retry_after`` counts up to here. 0 ignores it.

        probation_picks: Requests sent to an endpoint whose time is served, before their
            outcome is known; 0 readmits it unseen.
        probation_successes: How many of them must succeed. A single failure re-ejects.
        probation_patience: Seconds without a verdict after which new requests are allowed:
            a request that never ends must not keep its endpoint out for ever.

        slow_start: Seconds a returning endpoint takes to reach its full share; 0 is off.
        slow_start_aggression: Bends the ramp, > 0: share = (elapsed/window)^(1/aggression).
        slow_start_minimum: Share to begin with, above 0 and up to 1.
        slow_start_joiners: Whether endpoints new to the registry ramp too.

        drain_timeout: Seconds after which DRAINING becomes DISABLED; None is never.
        drain_sticky: Whether sticky sessions stay on a DRAINING endpoint.
        on_panic: "spread" picks over all enabled endpoints when too few are eligible,
            "fail" raises ``NoEligibleEndpointError`` instead.
        event_log: Events remembered, 0 or more.

    Raises:
        TypeError: For a value of the wrong type.
        ValueError: For a value out of range, or two that contradict each other.
    """

    probe_interval: float = 5.0
    probe_fast_interval: float = 1.0
    probe_unhealthy_interval: float | None = None
    probe_timeout: float = 2.0
    probe_jitter: float = 0.1
    rise: int = 2
    fall: int = 3
    minimum_healthy_time: float = 10.0
    first_state: Literal["optimistic", "wait"] = "optimistic"

    consecutive_failures: int | None = 5
    sequential: bool = True
    sequential_floor: float = 0.01
    sequential_factor: float = 2.0
    sequential_alternative: float = 0.5
    sequential_alpha: float = 1e-6
    failure_ratio: float | None = None
    failure_ratio_window: float = 10.0
    failure_ratio_requests: int = 20
    outlier_interval: float = 10.0
    success_rate_stdev: float | None = None
    success_rate_hosts: int = 5
    success_rate_requests: int = 100
    failure_percentage: float | None = None
    failure_percentage_hosts: int = 5
    failure_percentage_requests: int = 50
    latency_factor: float | None = None
    latency_floor: float = 0.0
    latency_hosts: int = 3
    latency_requests: int = 20
    outlier_rules: Literal["envoy", "grpc"] = "envoy"

    ejection_time: float = 10.0
    ejection_time_max: float = 300.0
    ejection_growth: Literal["doubling", "linear"] = "doubling"
    ejection_jitter: float = 0.1
    ejection_decay: float = 60.0
    max_ejected: float = 0.5
    min_ejected: int = 1
    min_eligible: int = 1
    retry_after_max: float = 60.0

    probation_picks: int = 3
    probation_successes: int = 1
    probation_patience: float = 30.0

    slow_start: float = 10.0
    slow_start_aggression: float = 1.0
    slow_start_minimum: float = 0.1
    slow_start_joiners: bool = False

    drain_timeout: float | None = None
    drain_sticky: bool = True
    on_panic: Literal["spread", "fail"] = "spread"
    event_log: int = 1000

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            rule(name, value)
        for name, words in _WORDS.items():
            value = getattr(self, name)
            if value not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}, not {value!r}")
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is True or False, not {getattr(self, name)!r}")
        for low, high in _ORDERED:
            if getattr(self, low) > getattr(self, high):
                raise ValueError(
                    f"{low} ({getattr(self, low)!r}) must not exceed {high} "
                    f"({getattr(self, high)!r})"
                )
        if self.sequential_floor >= self.sequential_alternative:
            raise ValueError(
                f"sequential_floor ({self.sequential_floor!r}) must be below "
                f"sequential_alternative ({self.sequential_alternative!r})"
            )
        if 0 < self.probation_picks < self.probation_successes:
            raise ValueError(
                f"probation_successes ({self.probation_successes}) must not exceed "
                f"probation_picks ({self.probation_picks})"
            )

    @property
    def compares(self) -> bool:
        """Whether a detector that compares endpoints once an interval is on."""
        return not (
            self.success_rate_stdev is None
            and self.failure_percentage is None
            and self.latency_factor is None
        )

    def but(self, **changes: Any) -> HealthPolicy:
        """Return this policy with some values changed."""
        return replace(self, **changes)

    @classmethod
    def envoy(cls, **changes: Any) -> HealthPolicy:
        """Return Envoy's outlier detection as it is by default.

        Differences that remain: the last eligible endpoint is never ejected, an ejection
        ends when its time does rather than at the next interval, and its length decays by
        time rather than by intervals.
        """
        return cls(**{**_ENVOY, **changes})

    @classmethod
    def grpc(cls, **changes: Any) -> HealthPolicy:
        """Return gRFC A50's outlier detection, both of its detectors on."""
        grpc = {
            "consecutive_failures": None,
            "failure_percentage": 0.85,
            "outlier_rules": "grpc",
        }
        return cls(**{**_ENVOY, **grpc, **changes})

    @classmethod
    def nginx(
        cls, *, max_fails: int = 1, fail_timeout: float = 10.0, **changes: Any
    ) -> HealthPolicy:
        """Return nginx's ``max_fails`` within ``fail_timeout``, then one request to try.

        nginx has no cap: it forgets all failures when nobody is left, and so the last
        eligible endpoint stays in here.
        """
        nginx = {
            "consecutive_failures": max_fails,
            "sequential": False,
            "ejection_time": fail_timeout,
            "ejection_time_max": fail_timeout,
            "ejection_jitter": 0.0,
            "max_ejected": 1.0,
            "retry_after_max": 0.0,
            "probation_picks": 1,
            "slow_start": 0.0,
        }
        return cls(**{**nginx, **changes})


_ENVOY: dict[str, Any] = {
    "sequential": False,
    "success_rate_stdev": 1.9,
    "ejection_time": 30.0,
    "ejection_growth": "linear",
    "ejection_jitter": 0.0,
    "ejection_decay": 10.0,
    "max_ejected": 0.1,
    "min_ejected": 0,
    "retry_after_max": 0.0,
    "probation_picks": 0,
    "slow_start": 0.0,
}

_WORDS = {
    "first_state": ("optimistic", "wait"),
    "outlier_rules": ("envoy", "grpc"),
    "ejection_growth": ("doubling", "linear"),
    "on_panic": ("spread", "fail"),
}
_FLAGS = ("sequential", "slow_start_joiners", "drain_sticky")
_ORDERED = (
    ("probe_fast_interval", "probe_interval"),
    ("probe_timeout", "probe_interval"),
    ("ejection_time", "ejection_time_max"),
)
_OPTIONAL = {
    "probe_unhealthy_interval",
    "consecutive_failures",
    "failure_ratio",
    "success_rate_stdev",
    "failure_percentage",
    "latency_factor",
    "drain_timeout",
}


_POSITIVE = Real(0.0, above=True)
_SHARE = Real(0.0, 1.0)
_SHARE_ABOVE_0 = Real(0.0, 1.0, above=True)

_RULES: dict[str, Real | Whole] = {
    "probe_interval": _POSITIVE,
    "probe_fast_interval": _POSITIVE,
    "probe_unhealthy_interval": _POSITIVE,
    "probe_timeout": _POSITIVE,
    "probe_jitter": _SHARE,
    "rise": Whole(1),
    "fall": Whole(1),
    "minimum_healthy_time": Real(0.0),
    "consecutive_failures": Whole(1),
    "sequential_floor": Real(0.0, 1.0, above=True, below=True),
    "sequential_factor": Real(1.0),
    "sequential_alternative": Real(0.0, 1.0, above=True, below=True),
    "sequential_alpha": Real(0.0, 1.0, above=True, below=True),
    "failure_ratio": _SHARE_ABOVE_0,
    "failure_ratio_window": _POSITIVE,
    "failure_ratio_requests": Whole(1),
    "outlier_interval": _POSITIVE,
    "success_rate_stdev": Real(0.0),
    "success_rate_hosts": Whole(1),
    "success_rate_requests": Whole(1),
    "failure_percentage": _SHARE,
    "failure_percentage_hosts": Whole(1),
    "failure_percentage_requests": Whole(1),
    "latency_factor": Real(1.0, above=True),
    "latency_floor": Real(0.0),
    "latency_hosts": Whole(2),
    "latency_requests": Whole(1),
    "ejection_time": _POSITIVE,
    "ejection_time_max": _POSITIVE,
    "ejection_jitter": Real(0.0, 1.0, below=True),
    "ejection_decay": _POSITIVE,
    "max_ejected": _SHARE,
    "min_ejected": Whole(0),
    "min_eligible": Whole(1),
    "retry_after_max": Real(0.0),
    "probation_picks": Whole(0),
    "probation_successes": Whole(1),
    "probation_patience": _POSITIVE,
    "slow_start": Real(0.0),
    "slow_start_aggression": _POSITIVE,
    "slow_start_minimum": _SHARE_ABOVE_0,
    "drain_timeout": Real(0.0),
    "event_log": Whole(0),
}

assert set(_RULES) | set(_WORDS) | set(_FLAGS) == {f.name for f in fields(HealthPolicy)}
