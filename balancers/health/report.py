"""The registry in words and numbers: what its snapshot says."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from balancers.health.entry import Entry
from balancers.health.machine import Machine
from balancers.health.policy import HealthPolicy
from balancers.health.probing import ProbeSchedule
from balancers.health.states import Admin, HealthState

__all__ = ["describe", "returns_in"]


def describe(entry: Entry, machine: Machine, probes: ProbeSchedule) -> dict[str, Any]:
    """Return everything known of an endpoint as plain JSON values."""
    standing = entry.standing
    return {
        "state": standing.state.value,
        "admin": standing.admin.value,
        "admitted": standing.admitted,
        "ramp": standing.ramp,
        "reason": entry.reason,
        "since": entry.since,
        "until": standing.until,
        "drain_until": _date(entry.drain_until),
        "active": {
            "verdict": {True: "up", False: "down", None: None}[entry.verdict],
            "passes": entry.passes,
            "fails": entry.fails,
            "degraded": entry.degraded,
            "latency": entry.probe_latency,
            "probed_at": entry.probed_at,
            "next_probe": _date(probes.date(entry)),
            "well_since": entry.well_since,
        },
        "passive": {
            "strikes": entry.strikes,
            "ejected_until": _date(entry.ejected_until),
            "ejections_denied": entry.denied,
            "probation_picks_left": len(entry.permits),
            **{
                key: value
                for watcher in (*entry.detectors, *((entry.tally,) if entry.tally else ()))
                for key, value in watcher.report().items()
            },
        },
    }


def returns_in(
    entries: Iterable[Entry], probes: ProbeSchedule, policy: HealthPolicy, now: float
) -> float | None:
    """Return the seconds until the first of the entries may be picked again, at the soonest.

    None where nobody can tell: none is ENABLED, or only a probe could bring one back and
    nobody probes. Reads without a lock: it answers a pick that must not wait. O(n).
    """
    soonest = min((_return(entry, probes, policy) for entry in entries), default=math.inf)
    return None if soonest == math.inf else max(0.0, soonest - now)


def _return(entry: Entry, probes: ProbeSchedule, policy: HealthPolicy) -> float:
    if entry.admin is not Admin.ENABLED:
        return math.inf
    state = entry.state
    if state is HealthState.EJECTED:
        return entry.ejected_until
    if state is HealthState.GRACE and entry.standing.until is not None:
        return entry.standing.until
    if state is HealthState.PROBATION:
        return entry.refill_at
    if state not in (HealthState.UNHEALTHY, HealthState.UNKNOWN):
        return -math.inf
    if state is HealthState.UNKNOWN and policy.first_state == "optimistic":
        return -math.inf
    if not probes.used:
        return math.inf
    # As soon as every probe to come passes.
    up = probes.date(entry)
    if state is HealthState.UNHEALTHY:
        well = up if entry.well_since is None else entry.well_since
        up += max(0, policy.rise - entry.passes - 1) * policy.probe_fast_interval
        up = max(up, well + policy.minimum_healthy_time, entry.ejected_until)
    return up


def _date(value: float) -> float | None:
    return value if math.isfinite(value) else None
