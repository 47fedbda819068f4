"""The states an endpoint goes through, as a table.

Everything that moves an endpoint is a ``Trigger``; ``TABLE`` says where it goes. A row names
its guard; the rows of one trigger are tried in order, the first whose guard holds is taken,
and if none does the endpoint stays. ``machine`` holds the guards and does the moving, the
stateful test walks every row, and the diagram in the docs is drawn from here.

Precedence, from the table: a failing probe beats everything traffic says; an ejection must be
served, then the grace, then the probation; only then comes the ramp. The operator's word is
kept apart from all of it: it decides who is picked and moves nobody through these states.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple

from balancers.health.states import HealthState

__all__ = ["GUARDS", "TABLE", "Row", "Trigger", "rows"]

UNKNOWN = HealthState.UNKNOWN
HEALTHY = HealthState.HEALTHY
DEGRADED = HealthState.DEGRADED
UNHEALTHY = HealthState.UNHEALTHY
EJECTED = HealthState.EJECTED
PROBATION = HealthState.PROBATION
GRACE = HealthState.GRACE
RAMPING = HealthState.RAMPING


class Trigger(enum.Enum):
    """What may move an endpoint."""

    PASSED = "a probe passed"
    FAILED = "a probe failed"
    UP = "the rise-th probe in a row passed"
    DOWN = "the fall-th probe in a row failed"
    SUCCEEDED = "a request succeeded"
    TRIPPED = "a detector tripped, or the server asked to be left alone"
    SERVED = "the ejection is over"
    PROVEN = "enough requests on probation succeeded"
    RELAPSED = "a request on probation failed"
    SPARED = "a cap no longer allows the ejection"
    SETTLED = "the minimum healthy time is over"
    RAMPED = "the ramp is over"


GUARDS = {
    "time left": "an ejection is still running",
    "grace left": "the minimum healthy time is not over yet",
    "on parole": "ejected before, and not proven since",
    "cold": "slow start applies and is not over",
    "degraded": "the last probe said degraded",
    "not degraded": "the last probe did not say degraded",
    "within caps": "every balancer that holds the endpoint can spare it",
}


class Row(NamedTuple):
    """One way out: where to, and the name of the guard, None for always."""

    target: HealthState
    guard: str | None = None


_FIT = (Row(DEGRADED, "degraded"), Row(HEALTHY))
_BACK = (Row(RAMPING, "cold"), *_FIT)
_EJECT = (Row(EJECTED, "within caps"),)
_FALL = (Row(UNHEALTHY),)

TABLE: dict[HealthState, dict[Trigger, tuple[Row, ...]]] = {
    UNKNOWN: {
        Trigger.PASSED: _BACK,
        Trigger.DOWN: _FALL,
        Trigger.SUCCEEDED: (Row(RAMPING, "cold"), Row(HEALTHY)),
        Trigger.TRIPPED: _EJECT,
    },
    HEALTHY: {
        Trigger.PASSED: (Row(DEGRADED, "degraded"),),
        Trigger.DOWN: _FALL,
        Trigger.TRIPPED: _EJECT,
    },
    DEGRADED: {
        Trigger.PASSED: (Row(HEALTHY, "not degraded"),),
        Trigger.DOWN: _FALL,
        Trigger.TRIPPED: _EJECT,
    },
    RAMPING: {
        Trigger.RAMPED: _FIT,
        Trigger.DOWN: _FALL,
        Trigger.TRIPPED: _EJECT,
    },
    EJECTED: {
        Trigger.SERVED: (Row(GRACE, "grace left"), Row(PROBATION, "on parole"), *_BACK),
        Trigger.SPARED: _BACK,
        Trigger.DOWN: _FALL,
        Trigger.FAILED: (Row(UNHEALTHY, "grace left"),),
        Trigger.TRIPPED: (Row(EJECTED),),  # asked again: it takes longer
    },
    PROBATION: {
        Trigger.PROVEN: _BACK,
        Trigger.RELAPSED: (Row(EJECTED),),
        Trigger.SPARED: _BACK,
        Trigger.DOWN: _FALL,
    },
    UNHEALTHY: {
        Trigger.UP: (
            Row(EJECTED, "time left"),
            Row(GRACE, "grace left"),
            Row(PROBATION, "on parole"),
            *_BACK,
        ),
    },
    GRACE: {
        Trigger.SETTLED: (Row(PROBATION, "on parole"), *_BACK),
        Trigger.FAILED: _FALL,
    },
}


def rows() -> Iterator[tuple[HealthState, Trigger, Row]]:
    """Walk the table."""
    for state, triggers in TABLE.items():
        for trigger, ways in triggers.items():
            for row in ways:
                yield state, trigger, row
