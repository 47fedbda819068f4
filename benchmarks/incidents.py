"""One endpoint goes bad under traffic: requests that still go to it, rule by rule.

Ten endpoints, 200 requests a second at random, 100 ms an answer, least connections, 0.1 % errors
of everybody at any time. One endpoint is bad for two minutes. The registry's rules are beside
models of Envoy's outlier detection and of nginx's ``max_fails``, written from their documents and
sources and run on the same balancer, whose picks exclude whom the model has out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Protocol

from balancers import HealthPolicy, HealthRegistry, Outcome, Pick
from balancers.policies import LeastConnections
from balancers.testing import ManualClock

__all__ = ["FAULTS", "RULES", "Envoy", "Nginx", "Toll", "replay"]

ENDPOINTS = 10
RATE = 200.0
"""Requests a second, Poisson."""
SERVICE = 0.1
"""Mean seconds of an answer, exponential."""
BACKGROUND = 0.001
"""Errors of every endpoint, always."""
BAD_FROM, BAD_FOR, AFTER = 30.0, 120.0, 90.0

Fault = Callable[[float, Random], tuple[bool, float] | None]
"""What the bad endpoint does with a request at a time: (works, seconds); None: as usual."""


def failing(rate: float, seconds: float) -> Fault:
    """Fail that share of requests, in that time."""
    return lambda at, rng: (False, seconds) if rng.random() < rate else None


FAULTS: dict[str, Fault] = {
    "dead, refuses in 1 ms": failing(1.0, 0.001),
    "dead, times out in 1 s": failing(1.0, 1.0),
    "fails 50 % in 1 ms": failing(0.5, 0.001),
    "fails 30 % in 100 ms": failing(0.3, 0.1),
    "fails 10 % in 100 ms": failing(0.1, 0.1),
    "flaps: 10 s dead, 10 s well": lambda at, rng: (False, 0.001) if at % 20 < 10 else None,
    "nothing": lambda at, rng: None,
}


class Rule(Protocol):
    """A passive rule of another system."""

    ejections: list[tuple[float, str]]

    def out(self, now: float) -> set[str]:
        """Return whom a pick must leave out."""
        ...

    def picked(self, name: str, now: float) -> None:
        """Learn whom a pick chose."""
        ...

    def ended(self, name: str, good: bool, now: float) -> None:
        """Learn how a request ended."""
        ...


class Envoy:
    """Envoy's outlier detection at its defaults, over a roster.

    Five failures in a row eject at once; every 10 s those whose success rate is under mean − 1.9 σ
    of at least five endpoints with 100 requests each. An ejection lasts 30 s times the number of
    them, at most 300 s, ends at the next interval after, and takes 10 % of the endpoints at most.
    The number falls by one for every interval without an ejection.
    """

    def __init__(self, names: list[str], max_ejection_percent: float = 10.0) -> None:
        self.ejections: list[tuple[float, str]] = []
        self._names = names
        self._cap = max_ejection_percent
        self._run = dict.fromkeys(names, 0)
        self._times = dict.fromkeys(names, 0)
        self._counts = {name: [0, 0] for name in names}
        self._until: dict[str, float] = {}
        self._next = 10.0

    def _eject(self, name: str, now: float) -> None:
        if name in self._until or 100 * (len(self._until) + 1) / len(self._names) > self._cap:
            return
        self._times[name] += 1
        self._until[name] = now + min(30.0 * self._times[name], 300.0)
        self.ejections.append((now, name))

    def out(self, now: float) -> set[str]:
        """Return whom a pick must leave out."""
        while self._next <= now:
            self._interval(self._next)
            self._next += 10.0
        return set(self._until)

    def _interval(self, at: float) -> None:
        for name in self._names:
            if name not in self._until:
                self._times[name] = max(0, self._times[name] - 1)
            elif self._until[name] <= at:
                del self._until[name]
                self._run[name] = 0
        counts, self._counts = self._counts, {name: [0, 0] for name in self._names}
        rates = {n: good / (good + bad) for n, (good, bad) in counts.items() if good + bad >= 100}
        if len(rates) >= 5:
            mean = math.fsum(rates.values()) / len(rates)
            spread = math.sqrt(math.fsum((r - mean) ** 2 for r in rates.values()) / len(rates))
            for name, rate in rates.items():
                if rate < mean - 1.9 * spread:
                    self._eject(name, at)

    def picked(self, name: str, now: float) -> None:
        """Learn whom a pick chose."""

    def ended(self, name: str, good: bool, now: float) -> None:
        """Learn how a request ended."""
        self.out(now)
        self._counts[name][not good] += 1
        self._run[name] = 0 if good else self._run[name] + 1
        if self._run[name] >= 5:
            self._run[name] = 0
            self._eject(name, now)


class Nginx:
    """nginx's ``max_fails=1 fail_timeout=10s``, its defaults, over a roster.

    One failure takes an endpoint out for more than 10 s; then one request at a time tries, and a
    success later than that clears the failure. Where nobody is left, everybody is tried.
    """

    def __init__(self, names: list[str], max_fails: int = 1, fail_timeout: float = 10.0) -> None:
        self.ejections: list[tuple[float, str]] = []
        self._max_fails = max_fails
        self._timeout = fail_timeout
        self._fails = dict.fromkeys(names, 0)
        self._accessed = dict.fromkeys(names, -math.inf)
        self._checked = dict.fromkeys(names, -math.inf)

    def out(self, now: float) -> set[str]:
        """Return whom a pick must leave out."""
        found = {
            name
            for name, fails in self._fails.items()
            if fails >= self._max_fails and now - self._checked[name] <= self._timeout
        }
        if len(found) == len(self._fails):
            self._fails = dict.fromkeys(self._fails, 0)
            return set()
        return found

    def picked(self, name: str, now: float) -> None:
        """Learn whom a pick chose."""
        if now - self._checked[name] > self._timeout:
            self._checked[name] = now

    def ended(self, name: str, good: bool, now: float) -> None:
        """Learn how a request ended."""
        if not good:
            if self._fails[name] < self._max_fails <= self._fails[name] + 1:
                self.ejections.append((now, name))
            self._fails[name] += 1
            self._accessed[name] = self._checked[name] = now
        elif self._accessed[name] < self._checked[name]:
            self._fails[name] = 0


RULES: dict[str, HealthPolicy | Callable[[list[str]], Rule] | None] = {
    "no health": None,
    "balancers": HealthPolicy(),
    "Envoy": Envoy,
    "Envoy, cap 50 %": lambda names: Envoy(names, 50.0),
    "nginx": Nginx,
}


@dataclass
class Toll:
    """What an incident cost.

    Attributes:
        failed: Requests that failed on the bad endpoint while it was bad.
        innocent: Ejections of endpoints that were as well as ever.
        back: Requests the bad endpoint took in the last half minute, long after it was well.
    """

    failed: int = 0
    innocent: int = 0
    back: int = 0


def replay(
    fault: Fault,
    health: HealthPolicy | Callable[[list[str]], Rule] | None,
    seed: int = 1,
    bad_for: float = BAD_FOR,
) -> Toll:
    """Run an incident in which endpoint e0 is bad from 30 s on, for as long as is said."""
    clock = ManualClock()
    world = Random(seed)
    names = [f"e{i}" for i in range(ENDPOINTS)]
    registry: HealthRegistry | None = None
    rule: Rule | None = None
    if isinstance(health, HealthPolicy):
        registry = HealthRegistry(health, clock=clock, rng=Random(seed))
        balancer = LeastConnections(names, health=registry, rng=Random(seed))
    else:
        balancer = LeastConnections(names, clock=clock, rng=Random(seed))
        rule = None if health is None else health(names)
    toll = Toll()
    ends: list[tuple[float, int, Pick, bool]] = []
    count = 0
    bad_to = BAD_FROM + bad_for
    end = bad_to + AFTER
    arrival = world.expovariate(RATE)
    while arrival < end:
        if ends and ends[0][0] <= arrival:
            at, _, pick, good = heappop(ends)
            clock.advance(max(0.0, at - clock.now))
            pick.done(Outcome.SUCCESS if good else Outcome.FAILURE)
            if rule is not None:
                rule.ended(pick.endpoint.id, good, clock.now)
            continue
        clock.advance(max(0.0, arrival - clock.now))
        if rule is None:
            pick = balancer.pick()
        else:
            pick = balancer.pick(exclude=rule.out(clock.now))
            rule.picked(pick.endpoint.id, clock.now)
        fate = (world.random() >= BACKGROUND, world.expovariate(1.0 / SERVICE))
        if pick.endpoint.id == "e0":
            if BAD_FROM <= clock.now < bad_to:
                struck = fault(clock.now, world)
                fate = fate if struck is None else struck
                toll.failed += struck is not None
            toll.back += clock.now >= end - 30.0
        count += 1
        heappush(ends, (clock.now + fate[1], count, pick, fate[0]))
        arrival += world.expovariate(RATE)
    for _, _, pick, good in ends:
        pick.done(Outcome.SUCCESS if good else Outcome.FAILURE)
    ejections: list[tuple[float, str]] = [] if rule is None else rule.ejections
    if registry is not None:
        ejections = [(e.at, e.id) for e in registry.events() if e.new.value == "ejected"]
    toll.innocent = sum(name != "e0" or at < BAD_FROM for at, name in ejections)
    return toll


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--seeds", type=int, default=5, help="runs whose mean is printed (5)")


def run(options: argparse.Namespace) -> None:
    """Print the table, a row as soon as it is there."""
    print(f"Endpoints {ENDPOINTS}, {RATE:g} requests/s, {BACKGROUND:.1%} errors at any time;")
    print(
        f"requests failed on the bad one, in brackets ejections of others; {options.seeds} runs\n"
    )
    print("| fault | " + " | ".join(RULES) + " |")
    print("|---|" + "---:|" * len(RULES))
    seeds = range(1, options.seeds + 1)
    for what, fault in FAULTS.items():
        cells = []
        for rule in RULES.values():
            tolls = [replay(fault, rule, seed) for seed in seeds]
            failed = sum(toll.failed for toll in tolls) / len(tolls)
            innocent = sum(toll.innocent for toll in tolls) / len(tolls)
            cells.append(f"{failed:,.0f} ({innocent:.1f})")
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)
