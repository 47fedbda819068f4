"""Affinity on real traffic: a web server's log, a fifth of its clients sticky, way by way.

The requests of the log come one after another over twenty endpoints, each open until a hundred
others have come. Every 500 requests one endpoint leaves and the one before it comes back. The key
of a sticky client is its address; the others have none. All of it is deterministic.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from balancers import Balancer, RingHash, RoundRobin, Sticky
from balancers.structures.split import position_of
from benchmarks.timing import table

__all__ = ["LOG", "WAYS", "Affinity", "add_arguments", "clients", "replay", "run"]

LOG = Path(__file__).resolve().parents[2] / "shared" / "traces" / "apache_access.log"
ENDPOINTS = [f"server-{i}" for i in range(20)]
IN_FLIGHT = 100
"""Requests open at a time: each ends when this many others have come."""

SPELL = 500
"""Requests between one failure and the next."""

STICKY = 0.2
"""The part of the clients whose sessions must stay."""


def clients(log: Path = LOG) -> list[str]:
    """Return the client address of each request, in order."""
    text = log.read_text("utf-8", "replace")
    return [found[0] for found in re.finditer(r"^\S+", text, re.MULTILINE)]


def hashed(**options: Any) -> Callable[[], tuple[Balancer, bool]]:
    """Return a maker of a ring."""
    return lambda: (RingHash(ENDPOINTS, rng=Random(1), **options), False)


def kept(**options: Any) -> Callable[[], tuple[Balancer, bool]]:
    """Return a maker of sessions over a round robin."""
    return lambda: (
        Sticky(ENDPOINTS, policy=lambda e: RoundRobin(e, phase=0), rng=Random(1), **options),
        options["mode"] != "table",
    )


WAYS: dict[str, Callable[[], tuple[Balancer, bool]]] = {
    "ring hash": hashed(),
    "ring hash, load_factor 1.25": hashed(load_factor=1.25),
    "cookie": kept(mode="cookie", secret="k" * 32),
    "table": kept(mode="table"),
    "table, load_factor 1.25": kept(mode="table", load_factor=1.25),
}
"""How to keep a session: makes the balancer, and says whether clients carry a token."""


@dataclass
class Affinity:
    """What a replay saw.

    Attributes:
        sessions: Sticky clients.
        requests: Their requests.
        lost: Requests that found their session's endpoint gone: the moves nobody can avoid.
        returned: Moves back to a former endpoint that had recovered, the present one being well.
        wandered: Moves for no such reason: the session's endpoint was there.
        uneven: Requests of the busiest endpoint over the mean, before anything fails.
        peak: Most leases an endpoint held when one more came, over the mean of those open.
    """

    sessions: int = 0
    requests: int = 0
    lost: int = 0
    returned: int = 0
    wandered: int = 0
    uneven: float = 0.0
    peak: float = 0.0


def replay(way: str, log: list[str]) -> Affinity:
    """Replay the log; every ``SPELL`` requests another endpoint leaves and the last one is back."""
    balancer, carries = WAYS[way]()
    seen = Affinity()
    tokens: dict[str, str] = {}
    been: dict[str, list[str]] = {}
    open_: deque[Any] = deque()
    served: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    gone = ""
    for number, client in enumerate(log):
        if number and number % SPELL == 0:
            if not gone:
                seen.uneven = max(served.values()) * len(ENDPOINTS) / number
            gone = ENDPOINTS[number // SPELL % len(ENDPOINTS)]
            balancer.update([name for name in ENDPOINTS if name != gone])
        sticky = position_of(client, 20) < STICKY
        key = (tokens.get(client) if carries else client) if sticky else None
        pick = balancer.pick(key)
        name = pick.endpoint.id
        if sticky:
            tokens[client] = pick.affinity or tokens.get(client, "")
            homes = been.setdefault(client, [name])
            seen.requests += 1
            if homes[-1] == gone:
                seen.lost += 1
            elif homes[-1] != name and name in homes:
                seen.returned += 1
            elif homes[-1] != name:
                seen.wandered += 1
            if homes[-1] != name:
                homes.append(name)
        served[name] += 1
        holding[name] += 1
        open_.append(pick)
        if len(open_) > IN_FLIGHT:
            done = open_.popleft()
            holding[done.endpoint.id] -= 1
            done.done()
            seen.peak = max(seen.peak, holding[name] * len(ENDPOINTS) / len(open_))
    for pick in open_:
        pick.done()
    seen.sessions = len(been)
    return seen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--log", type=Path, default=LOG, help="an access log (%(default)s)")


def run(options: argparse.Namespace) -> None:
    """Print the table, a way a row."""
    log = clients(options.log)
    seen = {way: replay(way, log) for way in WAYS}
    any_ = next(iter(seen.values()))
    print(
        f"{len(log):,} requests, {any_.requests:,} of them of {any_.sessions:,} sticky sessions;\n"
        f"{len(ENDPOINTS)} endpoints, another one gone every {SPELL} requests\n"
    )
    head = [
        "way",
        "endpoint gone",
        "moved back",
        "moved otherwise",
        "busiest / mean",
        "peak / mean",
    ]
    rows = [
        [
            way,
            *(str(count) for count in (found.lost, found.returned, found.wandered)),
            f"{found.uneven:.2f}",
            f"{found.peak:.1f}",
        ]
        for way, found in seen.items()
    ]
    print(table(head, rows))
