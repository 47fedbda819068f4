"""Traffic: from the outcomes of requests to triggers."""

from __future__ import annotations

import math

from balancers.health.detectors.latency import latency_limit, latency_outliers
from balancers.health.detectors.outliers import failure_percentages, success_rates
from balancers.health.detectors.tally import Sample
from balancers.health.entry import Entry
from balancers.health.machine import Machine
from balancers.health.states import HealthState
from balancers.health.transitions import Trigger
from balancers.protocol import Outcome

__all__ = ["Passive"]


class Passive:
    """Feeds outcomes to the detectors of an entry, and what they say to the machine.

    Outcomes of an endpoint that gets no traffic say nothing: they are late, or come from
    panic. The same goes for requests that were sent before the endpoint came back.
    """

    __slots__ = ("_machine", "_origin", "_sweeps")

    def __init__(self, machine: Machine, now: float) -> None:
        self._machine = machine
        self._origin = now
        self._sweeps = 0

    def outcome(
        self,
        entry: Entry,
        outcome: Outcome,
        latency: float | None,
        retry_after: float | None,
        started: float | None,
        at: float,
    ) -> None:
        """Learn how a request ended.

        Args:
            entry: The endpoint.
            outcome: SUCCESS or FAILURE.
            latency: Seconds, if known.
            retry_after: Seconds the server asked to be left alone.
            started: When it was sent, None for just now.
            at: When.
        """
        machine = self._machine
        good = outcome is Outcome.SUCCESS
        asked = retry_after or 0.0
        if entry.state is HealthState.PROBATION:
            if started is None or started >= entry.since:
                self._on_probation(entry, good, latency, asked, at)
        elif machine.in_service(entry):
            if started is not None and started < entry.back_at:
                return
            if good:
                machine.pool.good += 1
                if entry.state is HealthState.UNKNOWN:
                    machine.fire(entry, Trigger.SUCCEEDED, at, "a request succeeded")
                for detector in entry.detectors:
                    detector.succeeded(at, latency)
                if entry.tally is not None:
                    entry.tally.succeeded(at, latency)
                self._asked(entry, asked, at)
            else:
                self._failure(entry, asked, at)
            entry.hush(entry.hushed())
        elif entry.state is HealthState.EJECTED:
            self._asked(entry, asked, at)

    def _failure(self, entry: Entry, asked: float, at: float) -> None:
        verdicts = [detector.failed(at) for detector in entry.detectors]
        if entry.tally is not None:
            entry.tally.failed(at)
        for reason in verdicts:
            if reason is not None:
                self._machine.fire(entry, Trigger.TRIPPED, at, reason, asked=asked)
                return
        self._asked(entry, asked, at)

    def _asked(self, entry: Entry, asked: float, at: float) -> None:
        """Leave the endpoint alone for as long as it asked, unless it is already."""
        limit = self._machine.policy.retry_after_max
        seconds = min(asked, limit)
        if seconds > 0.0 and at + seconds > entry.ejected_until:
            reason = f"asked to be left alone for {asked:g} s"
            self._machine.fire(entry, Trigger.TRIPPED, at, reason, asked=seconds, guilty=False)

    def _on_probation(
        self, entry: Entry, good: bool, latency: float | None, asked: float, at: float
    ) -> None:
        machine = self._machine
        limit = entry.slow_limit
        slow = limit is not None and latency is not None and latency > limit
        if good and not slow and not (asked > 0.0 and machine.policy.retry_after_max > 0.0):
            entry.proven += 1
            if entry.proven >= machine.policy.probation_successes:
                machine.fire(entry, Trigger.PROVEN, at, "requests on probation succeeded")
            return
        reason = "a request on probation failed"
        if good:
            reason = "still too slow on probation" if slow else "asked for more time"
        machine.fire(entry, Trigger.RELAPSED, at, reason, asked=asked)

    # -- comparisons -----------------------------------------------------------------------

    def next_sweep(self) -> float:
        """When the endpoints are compared next, ``math.inf`` if no rule asks for it."""
        policy = self._machine.policy
        if not policy.compares:
            return math.inf
        return self._origin + (self._sweeps + 1) * policy.outlier_interval

    def sweep(self, entries: dict[str, Entry], until: float) -> None:
        """Compare the endpoints at the end of an interval. O(n).

        Nothing but time happens until ``until``, so the intervals up to there are empty.
        """
        machine = self._machine
        policy = machine.policy
        at = self.next_sweep()
        passed = int((until - self._origin) // policy.outlier_interval)
        self._sweeps = max(self._sweeps + 1, passed)
        samples: dict[str, Sample] = {}
        for entry in entries.values():
            if entry.tally is not None:
                sample = entry.tally.take()
                if machine.in_service(entry) and sample.total:
                    samples[entry.id] = sample
        for found in (success_rates(samples, policy), failure_percentages(samples, policy)):
            for name, reason in found.items():
                if machine.in_service(entries[name]):
                    machine.fire(entries[name], Trigger.TRIPPED, at, reason)
        limit = latency_limit(samples, policy)
        if limit is not None:
            for name, reason in latency_outliers(samples, policy, limit).items():
                entry = entries[name]
                if machine.in_service(entry) and machine.fire(entry, Trigger.TRIPPED, at, reason):
                    entry.slow_limit = limit
