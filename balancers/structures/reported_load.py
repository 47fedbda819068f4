"""Weights from what servers say of their own utilisation: gRPC's client-side weighted round robin.

A server that answers q requests a second at utilisation u could answer about q/u of them; that is
its weight. Errors cost utilisation too, or a server that fails at once would look idle:

    weight = qps / (utilisation + penalty · eps/qps)

The server reports its utilisation alone; requests and errors a second are those this client sees,
over the same stretch of time as the mean of the reports. (Clients that go by the same weights see
the same part of each server's requests, so that the proportions are the server's own. Where others
send what they like, weights move until utilisation is level.)

A report counts while it may be believed: not before reports have come for ``blackout`` seconds, and
not after none has come for ``expiry`` seconds; then blackout begins again. A utilisation of 0 is no
report: it says that nothing was measured.

The unknown, in one rule: an endpoint without a usable report gets the mean of the known, each
taken in relation to the weight it was given: with equal weights given, the mean. Fewer than two
known are none, and everybody keeps the weight given. Nobody is held for more than ten times the
mean, or less than a tenth of it: so nobody is left without requests, and without reports.

Source: gRFC A58, "Client-side weighted round robin", for formula, blackout, expiry and mean; the
bounds after the static stride schedulers of grpc (C++) and grpc-java.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from math import exp, fsum, inf
from typing import NamedTuple, TypeVar

__all__ = ["LoadReports", "ReportedLoad", "blended", "reported_weight"]

Item = TypeVar("Item", bound=Hashable)

LEAST_PERIOD = 0.1
"""Seconds: weights made anew more often than that cost more than they are worth."""

LEAST_LOAD, LARGEST_LOAD = 1e-6, 1e6
"""A utilisation beyond these is taken for them: sums stay finite."""

SPREAD = 10.0
"""How many times the mean, or what part of it, a weight may be."""

UNIT = 4096
"""Steps in which the mean is counted: small integers are quick to schedule."""


@dataclass(frozen=True, slots=True)
class ReportedLoad:
    """How far load reports are believed; the names and defaults of gRFC A58 but for ``window``.

    Args:
        blackout: Seconds an endpoint must have been reporting before its weight is used, ≥ 0.
        expiry: Seconds without a report after which its weight is dropped, > 0.
        period: Seconds from one change of weights to the next, ≥ 0.1.
        penalty: What an endpoint that only fails adds to its utilisation, ≥ 0.
        window: Time constant of the rates and of the mean of the reports in seconds, > 0.

    Raises:
        TypeError: If one is no number.
        ValueError: If one is out of range or not finite.
    """

    blackout: float = 10.0
    expiry: float = 180.0
    period: float = 1.0
    penalty: float = 1.0
    window: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} is a number, not {value!r}")
            if not 0.0 <= value < inf or (name in ("expiry", "window") and value == 0.0):
                rule = "> 0" if name in ("expiry", "window") else "≥ 0"
                raise ValueError(f"{name} must be finite and {rule}, not {value!r}")
        if self.period < LEAST_PERIOD:
            raise ValueError(f"period must be ≥ {LEAST_PERIOD}, not {self.period!r}")


class _State(NamedTuple):
    """What is known at ``stamp``; the sums fade with the window from then on."""

    begun: float  # of the first request
    stamp: float  # of the last request
    requests: float
    failures: float
    load: float  # integral of the reports over the time that ``reported`` covers
    reported: float
    since: float  # the first report of those that came without a gap; inf: none yet
    last: float  # the last report
    weight: float  # as of the last report


class LoadReports:
    """The requests, errors and load reports of one endpoint.

    Updates replace the state by one assignment, so that readers need no lock; of two updates at
    the very same moment, in two threads, one may be lost.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state: _State | None = None

    def observe(self, now: float, failed: bool, load: float | None, rules: ReportedLoad) -> None:
        """Take note of a request that has ended.

        Args:
            now: Seconds; time going backwards counts as standing.
            failed: Whether it ended in an error.
            load: The utilisation reported with it, ≥ 0; None or 0: not reported.
            rules: How to average.

        Runtime complexity: O(1).
        """
        old = self._state or _State(now, now, 0.0, 0.0, 0.0, 0.0, inf, -inf, 0.0)
        now = max(now, old.stamp)
        keep = exp((old.stamp - now) / rules.window)
        before = old.requests * keep
        new = old._replace(
            stamp=now,
            requests=before + 1.0,
            failures=old.failures * keep + failed,
            load=old.load * keep,
            reported=old.reported * keep,
        )
        watched = 1.0 - exp((old.begun - now) / rules.window)  # part of the window seen so far
        if load and watched > 0.0:
            if now - old.last >= rules.expiry:  # what was reported before the gap is forgotten
                new = new._replace(load=0.0, reported=0.0, since=now)
            # A mean over time, as the rates are: a report stands for the time since the last one,
            # or few reports of late would not be heard among many of before.
            part = 1.0 - exp((max(old.last, old.begun) - now) / rules.window)
            load = new.load + part * min(max(load, LEAST_LOAD), LARGEST_LOAD)
            reported = new.reported + part
            # This request, at the very edge of the window, is half in it.
            qps = (before + 0.5) / (rules.window * watched)
            eps = qps * new.failures / new.requests
            weight = reported_weight(qps, eps, load / reported, rules.penalty)
            new = new._replace(load=load, reported=reported, last=now, weight=weight)
        self._state = new

    def weight(self, now: float, rules: ReportedLoad) -> float | None:
        """Return the weight to be used at a time, None where none is known. O(1)."""
        state = self._state
        if state is None or state.since == inf or now - state.last >= rules.expiry:
            return None
        return None if now - state.since < rules.blackout else state.weight

    @property
    def utilisation(self) -> float | None:
        """The mean of the late reports over time; None where there was none."""
        state = self._state
        return state.load / state.reported if state is not None and state.reported else None


def reported_weight(qps: float, eps: float, utilisation: float, penalty: float = 1.0) -> float:
    """Return gRFC A58's weight of an endpoint; 0, for unknown, where nothing was measured.

    Args:
        qps: Requests a second, ≥ 0.
        eps: Errors a second, 0..qps.
        utilisation: What it reports, ≥ 0; may be above 1.
        penalty: Multiplies the part of requests that fail, ≥ 0.
    """
    if qps <= 0.0 or utilisation <= 0.0:
        return 0.0
    return qps / (utilisation + penalty * eps / qps)


def blended(given: Mapping[Item, float], known: Mapping[Item, float]) -> dict[Item, float]:
    """Return the weights to use: reported where known, the mean for the rest; see the module.

    Args:
        given: Configured weights ≥ 0; who has 0 keeps it.
        known: Reported weights > 0 of some of them.

    Returns:
        Weights in the order of ``given``, in proportions rounded to 1/4096 of the mean.

    Runtime complexity: O(n).
    """
    # How much more each bears than was thought; extremes of what was given must not overflow.
    ratios = {
        item: min(max(known[item] / weight, 1e-280), 1e280)
        for item, weight in given.items()
        if weight > 0.0 and item in known
    }
    if len(ratios) < 2:
        return dict(given)
    mean = fsum(ratios.values()) / len(ratios)
    found = {}
    for item, weight in given.items():
        ratio = min(max(ratios.get(item, mean) / mean, 1.0 / SPREAD), SPREAD)
        # Over 16 units, a power of two above the spread: no weight given can overflow.
        found[item] = weight * (round(ratio * UNIT) / (16 * UNIT)) or weight
    return found
