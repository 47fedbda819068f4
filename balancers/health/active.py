"""Probes: from single answers to a verdict, and from verdicts to triggers."""

from __future__ import annotations

from typing import NamedTuple

from balancers.health.checks import checked_seconds
from balancers.health.entry import Entry
from balancers.health.machine import Machine
from balancers.health.transitions import Trigger

__all__ = ["ProbeResult", "answer", "check_result"]


class ProbeResult(NamedTuple):
    """How a probe ended; see ``HealthRegistry.record_probe`` for the fields."""

    id: str
    ok: bool
    degraded: bool = False
    latency: float | None = None


def check_result(result: ProbeResult) -> None:
    """Raise for whatever a result must not be."""
    if not (isinstance(result.ok, bool) and isinstance(result.degraded, bool)):
        raise TypeError(f"ok and degraded are True or False, not {result.ok, result.degraded!r}")
    checked_seconds("latency", result.latency)


def answer(
    machine: Machine, entry: Entry, ok: bool, degraded: bool, latency: float | None, at: float
) -> None:
    """Learn the answer of a probe. O(log n), the balancers' work aside.

    ``rise`` answers in a row turn the verdict up, ``fall`` failures in a row turn it down. A
    newcomer's first answer is enough, and a single failure breaks a grace: the minimum
    healthy time is one of *unbroken* passing.
    """
    policy = machine.policy
    entry.probed_at = at
    entry.probe_latency = latency
    if ok:
        entry.fails = 0
        entry.passes += 1
        entry.degraded = degraded
        if entry.well_since is None:
            entry.well_since = at
        if entry.verdict is False:
            if entry.passes >= policy.rise:
                entry.verdict = True
                machine.fire(entry, Trigger.UP, at, f"{entry.passes} probe(s) passed in a row")
        else:
            entry.verdict = True
            machine.fire(entry, Trigger.PASSED, at, _seen(degraded))
        return
    entry.passes = 0
    entry.fails += 1
    entry.well_since = None
    if entry.verdict is False:
        return
    # Set before firing: UNHEALTHY and a verdict of False are one.
    before, entry.verdict = entry.verdict, False
    reason = f"{entry.fails} probe(s) failed in a row"
    if not machine.fire(entry, Trigger.FAILED, at, f"{reason}, within the healthy time"):
        if entry.fails >= policy.fall:
            machine.fire(entry, Trigger.DOWN, at, reason)
        else:
            entry.verdict = before


def _seen(degraded: bool) -> str:
    return "a probe said degraded" if degraded else "a probe passed"
