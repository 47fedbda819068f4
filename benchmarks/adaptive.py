"""The p99 table: a policy beside an omniscient scheduler, faults and many clients included.

20 servers with 4 workers each, first come first served, 10 ms a request, Poisson arrivals at 0.8 of
what the fleet can do, half a millisecond of network each way. The clients know nothing of each
other, of the servers' speeds, or of the faults. A run takes 16 s from a cold start; what arrives
from second 4 counts, or from the fault on, which comes at a third of the run.

Each entry is the 99th percentile of the latency of the successes over that of a scheduler which
sees every queue and speed at the moment of choice, on the same requests and the fleet without the
fault: mean over the seeds, and the range. Errors are those of the servers, after the fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from math import exp, log, sqrt
from random import Random

from balancers import Balancer, Outcome, Pick
from balancers.policies import policy_named
from benchmarks.timing import table

__all__ = [
    "SCENARIOS",
    "Clock",
    "Request",
    "Result",
    "Scenario",
    "Server",
    "measure",
    "omniscient",
    "play",
    "requests",
    "run",
]

SERVERS, WORKERS = 20, 4
SERVICE = 0.010
NETWORK = 0.0005
LOAD = 0.8
SECONDS = 16.0
SETTLED = 4.0
FAULT_AT = SECONDS / 3
TARGETS = {1: 1.06, 10: 1.15, 100: 1.45}
"""What ``Adaptive`` is to reach, by the number of clients."""
ERRORS_A_CLIENT, ERROR_SHARE = 1.5, 0.0005


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fleet and what befalls its first server.

    Attributes:
        name: What the table calls it.
        speeds: Of the servers, 1 is one that takes 10 ms in the mean.
        scv: Variance of the work over its mean squared: 1 is exponential, else log-normal.
        fault: ``"slow"``, ``"fail"``, or none.
        share: Share of the requests the fault befalls.
        factor: Times more work for those, if it is slow.
        after: Seconds to the error, if it fails; it takes no worker.
    """

    name: str
    speeds: tuple[float, ...] = (1.0,) * SERVERS
    scv: float = 1.0
    fault: str | None = None
    share: float = 1.0
    factor: float = 1.0
    after: float = 0.0


SCENARIOS = (
    Scenario("homogeneous"),
    Scenario("log-normal", scv=10.0),
    Scenario("2× uneven", speeds=(0.5,) * 10 + (1.0,) * 10),
    Scenario("10× uneven", speeds=(0.1,) * 5 + (1.0,) * 15),
    Scenario("slow 10×", fault="slow", factor=10.0),
    Scenario("10 % ×30", fault="slow", share=0.1, factor=30.0),
    Scenario("fails in 1 ms", fault="fail", after=0.001),
    Scenario("hangs 5 s", fault="fail", after=5.0),
)

Request = tuple[float, float, int, float]
"""When it comes, its work in seconds at speed 1, whose it is, and a number for the fault."""


def requests(scenario: Scenario, clients: int, seed: int) -> list[Request]:
    """Return the requests of one run, the same for whoever is to place them."""
    rng = Random(f"{scenario.name}/{clients}/{seed}")
    rate = LOAD * WORKERS * sum(scenario.speeds) / SERVICE
    spread = sqrt(log(1.0 + scenario.scv))
    found: list[Request] = []
    now = rng.expovariate(rate)
    while now < SECONDS:
        if scenario.scv == 1.0:
            work = rng.expovariate(1.0 / SERVICE)
        else:
            work = SERVICE * exp(rng.gauss(0.0, spread) - spread * spread / 2)
        found.append((now, work, rng.randrange(clients), rng.random()))
        now += rng.expovariate(rate)
    return found


class Server:
    """Workers behind one queue, first come first served, all of one speed.

    The network takes equally long for everybody, so that requests arrive in the order in which
    they were sent, and the end of each is known at once.
    """

    def __init__(self, scenario: Scenario, speed: float, *, faulty: bool) -> None:
        self.speed = speed
        self._scenario = scenario
        self._faulty = faulty
        self._free = [0.0] * WORKERS  # when each worker falls idle: a heap

    def send(self, now: float, work: float, chance: float) -> tuple[float, bool]:
        """Return when the answer is back, and whether it is a success. O(log workers)."""
        scenario, there = self._scenario, now + NETWORK
        start = max(there, self._free[0])
        if self._faulty and now >= FAULT_AT and chance < scenario.share:
            if scenario.fault == "fail":
                return there + scenario.after + NETWORK, False
            work *= scenario.factor
        end = start + work / self.speed
        heapreplace(self._free, end)
        return end + NETWORK, True


@dataclass(frozen=True, slots=True)
class Result:
    """How one run went.

    Attributes:
        latencies: Of the successes that count, seconds, in ascending order.
        errors: Among the requests that count.
    """

    latencies: list[float]
    errors: int

    @property
    def p99(self) -> float:
        """The 99th percentile of the latencies, seconds."""
        return self.latencies[int(0.99 * len(self.latencies))]


def omniscient(scenario: Scenario, todo: list[Request]) -> Result:
    """Place the requests by true queues and speeds, without the fault."""
    rng = Random(1)
    servers = [Server(scenario, speed, faulty=False) for speed in scenario.speeds]
    present = [0] * len(servers)
    ends: list[tuple[float, int]] = []
    latencies = []
    counts_from = SETTLED if scenario.fault is None else FAULT_AT
    for now, work, _, chance in todo:
        while ends and ends[0][0] <= now:
            present[heappop(ends)[1]] -= 1
        delays = [(q + 1) / server.speed for q, server in zip(present, servers, strict=True)]
        least = min(delays)
        best = rng.choice([i for i, delay in enumerate(delays) if delay == least])
        present[best] += 1
        end, _ = servers[best].send(now, work, chance)
        heappush(ends, (end - NETWORK, best))
        if now >= counts_from:
            latencies.append(end - now)
    return Result(sorted(latencies), 0)


class Clock:
    """A clock that shows what it is told."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def play(
    scenario: Scenario, todo: list[Request], balancers: list[Balancer], clock: Clock
) -> Result:
    """Place each request by its client's balancer; the clock is theirs."""
    names = [endpoint.id for endpoint in balancers[0].endpoints]
    servers = {
        name: Server(scenario, speed, faulty=scenario.fault is not None and i == 0)
        for i, (name, speed) in enumerate(zip(names, scenario.speeds, strict=True))
    }
    counts_from = SETTLED if scenario.fault is None else FAULT_AT
    latencies = []
    errors = 0
    open_until: list[tuple[float, int, Pick, Outcome]] = []
    for serial, (now, work, client, chance) in enumerate(todo):
        while open_until and open_until[0][0] <= now:
            clock.now, _, lease, outcome = heappop(open_until)
            lease.done(outcome)
        clock.now = now
        lease = balancers[client].pick()
        end, success = servers[lease.endpoint.id].send(now, work, chance)
        outcome = Outcome.SUCCESS if success else Outcome.FAILURE
        heappush(open_until, (end, serial, lease, outcome))
        if now >= counts_from:
            if success:
                latencies.append(end - now)
            else:
                errors += 1
    for end, _, lease, outcome in sorted(open_until, key=lambda entry: entry[:2]):
        clock.now = end
        lease.done(outcome)
    return Result(sorted(latencies), errors)


Cells = dict[int, list[tuple[float, Result]]]
"""By number of clients, for each seed: p99 over the omniscient scheduler's, and the run."""


def measure(
    policy: Callable[..., Balancer], scenario: Scenario, crowd: list[int], seeds: list[int]
) -> Cells:
    """Return how a policy does in a scenario."""
    cells: Cells = {}
    names = [f"server-{i}" for i in range(SERVERS)]
    for clients in crowd:
        cells[clients] = []
        for seed in seeds:
            todo = requests(scenario, clients, seed)
            clock = Clock()
            rngs = [Random(f"{seed}/{client}") for client in range(clients)]
            result = play(scenario, todo, [policy(names, clock=clock, rng=r) for r in rngs], clock)
            best = omniscient(scenario, todo)
            cells[clients].append((result.p99 / best.p99, result))
    return cells


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--policy", default="Adaptive", metavar="NAME", help="instead of Adaptive")
    parser.add_argument("--clients", nargs="+", type=int, default=list(TARGETS), metavar="N")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="SEED")
    parser.add_argument(
        "--scenarios", nargs="+", metavar="NAME", choices=[each.name for each in SCENARIOS]
    )


def run(options: argparse.Namespace) -> None:
    """Print the table, a row as soon as it is measured."""
    rows = []
    for scenario in SCENARIOS:
        if options.scenarios and scenario.name not in options.scenarios:
            continue
        print(f"  {scenario.name}", file=sys.stderr, flush=True)
        cells = measure(policy_named(options.policy), scenario, options.clients, options.seeds)
        rows.append([scenario.name, *(_shown(n, cell) for n, cell in cells.items())])
    targets = [f"≤ {TARGETS[n]}" if n in TARGETS else "" for n in options.clients]
    print(f"p99 of {options.policy} ÷ the omniscient scheduler's, seeds {options.seeds}\n")
    print(
        table(
            ["scenario", *(f"{n:,} clients" for n in options.clients)], [*rows, ["asked", *targets]]
        )
    )


def _shown(clients: int, cell: list[tuple[float, Result]]) -> str:
    ratios = [ratio for ratio, _ in cell]
    shown = f"{sum(ratios) / len(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    errors = max(result.errors for _, result in cell)
    if errors:
        asked = max(
            ERRORS_A_CLIENT * clients + ERROR_SHARE * (len(result.latencies) + result.errors)
            for _, result in cell
        )
        shown += f", {errors} errors of {asked:.0f}"
    return shown
