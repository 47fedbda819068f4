"""Peers side by side, speed and fairness in one run, versions printed.

Keyed ones place 50,000 text keys on 100 equal nodes, then on the same without one: the busiest
node over the mean, Jain's index, and the share of keys that move (1 % must). Schedulers without
keys pick 50,000 times. Time is that of one look-up, interleaved with ours of the same family;
``×`` is how many times ours it takes. A look-up is not a lease: ``pick`` with its accounting is
in the table ``cycles``.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from balancers import RoundRobin
from balancers.structures import HashRing, JumpHash, RendezvousHash, SmoothSchedule
from benchmarks.hashing import ids_of, keys_of
from benchmarks.peers import installed
from benchmarks.timing import Batch, contest, loop, sized, table

__all__ = ["SCHEDULERS", "add_arguments", "fairness", "jain", "moved", "run", "schedulers"]

NODES = 100
DISTRIBUTIONS = {"jump": "jump-consistent-hash", "elastic_transport": "elastic-transport"}


def _roundrobin(function: str) -> Callable[[Sequence[str]], Callable[[], Any]]:
    def build(ids: Sequence[str]) -> Callable[[], Any]:
        make = getattr(import_module("roundrobin"), function)
        items: list[Any] = list(ids) if function == "basic" else [(id_, 1) for id_ in ids]
        call: Callable[[], Any] = make(items)
        return call

    return build


def _elastic(ids: Sequence[str]) -> Callable[[], Any]:
    module = import_module("elastic_transport")
    configs = [module.NodeConfig("http", f"n{i}.example", 9200) for i in range(len(ids))]
    nodes = [module.Urllib3HttpNode(config) for config in configs]
    select = module.RoundRobinSelector(configs).select
    return lambda: select(nodes)


SCHEDULERS: Mapping[str, tuple[str, Callable[[Sequence[str]], Callable[[], Any]]]] = {
    "roundrobin.basic": ("roundrobin", _roundrobin("basic")),
    "roundrobin.smooth": ("roundrobin", _roundrobin("smooth")),
    "elastic-transport RoundRobinSelector": ("elastic_transport", _elastic),
}
"""Peers without keys: package, and from ids to a call that picks."""


def schedulers() -> dict[str, tuple[str, Callable[[Sequence[str]], Callable[[], Any]]]]:
    """Return the schedulers whose packages are installed."""
    found = {}
    for name, (package, build) in SCHEDULERS.items():
        try:
            import_module(package)
        except ImportError:
            continue
        found[name] = package, build
    return found


def jain(counts: Iterable[int], nodes: int) -> float:
    """Return Jain's index of the counts over ``nodes`` nodes, those without any included."""
    found = list(counts)
    return sum(found) ** 2 / (nodes * sum(count * count for count in found))


def fairness(owners: Sequence[Any], nodes: int = NODES) -> tuple[float, float]:
    """Return the busiest node's count over the mean, and Jain's index."""
    counts = Counter(map(str, owners))
    return max(counts.values()) * nodes / len(owners), jain(counts.values(), nodes)


def moved(before: Sequence[Any], after: Sequence[Any]) -> float:
    """Return the share of keys whose owner changed."""
    return sum(str(a) != str(b) for a, b in zip(before, after, strict=True)) / len(before)


def _version(package: str) -> str:
    package = package.partition(".")[0]
    try:
        return version(DISTRIBUTIONS.get(package, package))
    except PackageNotFoundError:
        return "?"


def _ours() -> dict[str, tuple[str, Callable[[Sequence[str]], Callable[[str], Any]]]]:
    return {
        "ring": ("HashRing", lambda ids: HashRing(ids).owner),
        "rendezvous": ("RendezvousHash", lambda ids: RendezvousHash(ids).owner),
        "jump": ("JumpHash", lambda ids: JumpHash(ids).owner),
    }


def _keyed_rows(count: int, rounds: int) -> list[list[str]]:
    keys, ids = keys_of(count), ids_of(NODES)
    rows = []
    for family, (name, make) in _ours().items():
        sides: dict[str, tuple[str, Callable[[Sequence[str]], Callable[[str], Any]]]] = {
            f"balancers {name}": (_version("balancers"), make)
        }
        for peer in installed():
            if peer.family == family:

                def build(ids: Sequence[str], peer: Any = peer) -> Callable[[str], Any]:
                    call: Callable[[str], Any] = peer.lookup(peer.build(ids), ids)
                    return call

                sides[peer.name] = _version(peer.modules[0]), build
        floor = _batch("call(key)", keys, make(ids))
        for side, (release, build) in sides.items():
            call = build(ids)
            # Slow ones place fewer keys, for their figures, too.
            timing = contest(floor, {"": _batch("call(key)", keys, call)}, rounds=rounds,
                             patience=1)[""]  # fmt: skip
            some = keys[: max(2_000, min(count, int(2.0 / timing.best)))]
            owners = [call(key) for key in some]
            # Jump can lose its last slot alone.
            others = build(ids[:-1])
            busiest, index = fairness(owners)
            rows.append([
                side, release, f"{timing.nanoseconds:,.0f} ns", f"{timing.ratio:.1f}×",
                f"{busiest:.2f}", f"{index:.3f}",
                f"{moved(owners, [others(key) for key in some]):.1%}",
            ])  # fmt: skip
    return rows


def _batch(step: str, keys: Sequence[str], call: Any) -> Batch:
    return sized(lambda steps: loop(step, keys=keys[:steps], call=call), limit=len(keys))


def _scheduler_rows(count: int, rounds: int) -> list[list[str]]:
    ids = ids_of(NODES)
    policy = RoundRobin(ids)

    def picked() -> str:
        with policy.pick() as pick:
            return pick.endpoint.id

    ours = SmoothSchedule(ids).next
    sides: dict[str, tuple[str, Callable[[], Any]]] = {
        "balancers SmoothSchedule": (_version("balancers"), ours),
        "balancers RoundRobin, with its lease": (_version("balancers"), picked),
    }
    sides |= {name: (_version(p), build(ids)) for name, (p, build) in schedulers().items()}
    floor = sized(lambda steps: loop("call()", steps, call=picked))
    rows = []
    for side, (release, call) in sides.items():
        batch = sized(lambda steps, call=call: loop("call()", steps, call=call))
        timing = contest(floor, {"": batch}, rounds=rounds, patience=1)[""]
        busiest, index = fairness([call() for _ in range(count)])
        rows.append([
            side, release, f"{timing.nanoseconds:,.0f} ns", f"{timing.ratio:.1f}×",
            f"{busiest:.2f}", f"{index:.3f}", "–",
        ])  # fmt: skip
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this table."""
    parser.add_argument("--keys", type=int, default=50_000, help="keys, and picks")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each contest")


def run(options: argparse.Namespace) -> None:
    """Print the tables."""
    head = ["", "version", "a look-up", "× ours", "busiest ÷ mean", "Jain index", "moved by −1"]
    print(table(head, _keyed_rows(options.keys, options.rounds), text=2))
    print()
    head[2:4] = ["a pick", "× our RoundRobin"]
    print(table(head, _scheduler_rows(options.keys, options.rounds), text=2))
