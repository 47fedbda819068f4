"""The sequential test beside threshold rules: how late they find, how often they are wrong.

Ten endpoints, 20 requests a second each. *Delay*: mean requests to the endpoint that fails at a
given rate, from the moment it does, until it is ejected, the others failing 0.1 % of theirs.
*False ejections*: per million requests, where every endpoint fails at one rate, the rate stated.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from random import Random

from balancers import HealthPolicy
from balancers.health.detectors import PoolRate, detectors_for
from balancers.health.detectors.outliers import success_rates
from balancers.health.detectors.tally import Tally
from benchmarks.timing import table

__all__ = ["RULES", "delay", "false_ejections"]

ENDPOINTS = 10
PACE = 20.0
"""Requests a second to each endpoint."""
BACKGROUND = 0.001
MOST = 20_000
"""Requests after which an endpoint counts as not found."""

_NONE = HealthPolicy(consecutive_failures=None, sequential=False)
RULES: dict[str, HealthPolicy] = {
    "sequential": _NONE.but(sequential=True),
    "5 in a row": _NONE.but(consecutive_failures=5),
    "3 in a row": _NONE.but(consecutive_failures=3),
    "1 failure": _NONE.but(consecutive_failures=1),
    "20 % of ≥ 20 in 10 s": _NONE.but(failure_ratio=0.2),
    "mean − 1.9 σ in 10 s": _NONE.but(success_rate_stdev=1.9),
}


class _Fleet:
    """Ten endpoints under one rule; an ejected one starts afresh and goes on."""

    def __init__(self, policy: HealthPolicy) -> None:
        self._policy = policy
        self._pool = PoolRate()
        self._pool.resize(ENDPOINTS)
        self._detectors = [detectors_for(policy, self._pool) for _ in range(ENDPOINTS)]
        self._tallies = [Tally() for _ in range(ENDPOINTS)]
        self._turns = 0

    def turn(self, bad: Callable[[int], bool]) -> list[int]:
        """Send one request to each endpoint; return who was ejected."""
        self._turns += 1
        at = self._turns / PACE
        found = []
        compares = self._policy.compares
        for place, detectors in enumerate(self._detectors):
            failed = bad(place)
            self._pool.good += not failed
            if compares:
                tally = self._tallies[place]
                (tally.failed(at) if failed else tally.succeeded(at, None))
            verdicts: Sequence[str | None] = ()
            if failed:
                verdicts = [detector.failed(at) for detector in detectors]
            else:
                for detector in detectors:
                    detector.succeeded(at, None)
            if any(verdicts):
                found.append(place)
                for detector in detectors:
                    detector.reset()
        if compares and self._turns % int(PACE * self._policy.outlier_interval) == 0:
            samples = {str(place): tally.take() for place, tally in enumerate(self._tallies)}
            found += map(int, success_rates(samples, self._policy))
        return found


def delay(policy: HealthPolicy, rate: float, rng: Random, runs: int) -> float | None:
    """Return the mean requests until the endpoint that fails at the rate is ejected.

    None if one run or more did not find it within ``MOST``.
    """
    total = 0
    for _ in range(runs):
        fleet = _Fleet(policy)
        for _ in range(rng.randrange(400)):  # at any phase of an interval
            fleet.turn(lambda place: rng.random() < BACKGROUND)
        for turn in range(1, MOST + 1):
            if 0 in fleet.turn(lambda p: rng.random() < (BACKGROUND if p else rate)):
                total += turn
                break
        else:
            return None
    return total / runs


def false_ejections(policy: HealthPolicy, rate: float, rng: Random, requests: int) -> float:
    """Return the ejections per million requests where everybody fails at one rate."""
    fleet = _Fleet(policy)
    turns = requests // ENDPOINTS
    found = sum(len(fleet.turn(lambda place: rng.random() < rate)) for _ in range(turns))
    return found * 1e6 / (turns * ENDPOINTS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--runs", type=int, default=40, help="runs a delay is the mean of (40)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="a million, for errors")
    parser.add_argument("--seed", type=int, default=1)


def run(options: argparse.Namespace) -> None:
    """Print both tables."""
    rng = Random(options.seed)
    rates = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)
    rows = []
    for name, policy in RULES.items():
        delays = []
        for rate in rates:
            mean = delay(policy, rate, rng, options.runs)
            delays.append(f"> {MOST:,}" if mean is None else f"{mean:,.0f}")
        rows.append([name, *delays])
    print("Mean requests until an endpoint that fails at this rate is ejected\n")
    print(table(["rule", *(f"{rate:.0%}" for rate in rates)], rows))
    everywhere = (0.001, 0.01, 0.03, 0.1)
    rows = [
        [
            name,
            *(
                f"{false_ejections(policy, rate, rng, options.requests):,.0f}"
                for rate in everywhere
            ),
        ]
        for name, policy in RULES.items()
    ]
    print("\nFalse ejections per million requests, everybody failing at this rate\n")
    print(table(["rule", *(f"{rate:.1%}" for rate in everywhere)], rows))
