"""Keyed structures beside their floor and their peers: look-ups, bulk, builds, changes, memory.

Look-ups are ratios to ``floor key``, a bound method that hashes a key once and indexes a list of
n once, in the same run. String keys, 160 virtual nodes. Peers that are not installed are left
out: ``pip install uhashring hashring tooz pymemcache clandestined jump-consistent-hash hrw
xxhash`` brings them in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mmh3

from balancers.policies import RingHash
from balancers.structures import HashRing, JumpHash, MaglevTable, RendezvousHash, jump_hash
from balancers.structures.bulk import numpy
from benchmarks.floors import CycleFloor, KeyFloor
from benchmarks.memory import held
from benchmarks.peers import Peer, installed
from benchmarks.timing import Batch, Timing, contest, loop, sized, table

__all__ = ["SIZES", "add_arguments", "ids_of", "keys_of", "lookups", "run"]

SIZES = (10, 100, 1_000, 10_000)
TARGETS = {
    "HashRing.owner": "≤ 2, 2, 3.5, 6",
    "MaglevTable.owner": "≤ 1.6",
    "RendezvousHash.owner": "< pure peers",
    "jump_hash": "< pure peers",
}


def ids_of(n: int) -> list[str]:
    """Return n ids."""
    return [f"10.0.{i >> 8}.{i & 255}:8080" for i in range(n)]


def keys_of(count: int) -> list[str]:
    """Return different keys, all text."""
    return [f"user:{i * 2654435761 % 1_000_003}" for i in range(count)]


class BareFloor:
    """A floor that hands text to mmh3 unguarded: what nobody should do, and the fastest."""

    def __init__(self, items: Sequence[str]) -> None:
        self._items = list(items)
        self._count = len(self._items)

    def owner(self, key: str) -> str:
        """Return the item at the key's hash."""
        return self._items[mmh3.hash128(key) % self._count]


def by_key(step: str, limit: int, **names: Any) -> Batch:
    """Return a batch of the step over different keys, as many as take a few milliseconds."""
    keys = keys_of(limit)
    return sized(lambda steps: loop(step, keys=keys[:steps], **names), limit=limit)


def lookups(n: int, limit: int) -> dict[str, Batch]:
    """Return a batch of look-ups for each structure over n ids."""
    ids = ids_of(n)
    return {
        "floor, unguarded": by_key("it.owner(key)", limit, it=BareFloor(ids)),
        "HashRing.owner": by_key("it.owner(key)", limit, it=HashRing(ids)),
        "HashRing.locate": by_key("it.locate(key)", limit, it=HashRing(ids)),
        "MaglevTable.owner": by_key("it.owner(key)", limit, it=MaglevTable(ids)),
        "jump_hash": by_key("jump(key, n)", limit, jump=jump_hash, n=n),
        "JumpHash.owner": by_key("it.owner(key)", limit, it=JumpHash(ids)),
        "RendezvousHash.owner": by_key("it.owner(key)", limit, it=RendezvousHash(ids)),
    }


def _peer_lookup(peer: Peer, n: int, limit: int) -> Batch:
    ids = ids_of(n)
    return by_key("call(key)", limit, call=peer.lookup(peer.build(ids), ids))


def _lookup_table(sizes: Sequence[int], rounds: int, limit: int) -> str:
    columns: list[dict[str, Timing]] = []
    for n in sizes:
        floor = by_key("it.owner(key)", limit, it=KeyFloor(ids_of(n)))
        column = contest(floor, lookups(n, limit), rounds=rounds)
        column["floor key"] = contest(floor, {"": floor}, rounds=1)[""]
        for peer in installed():
            side = {peer.name: _peer_lookup(peer, n, limit)}
            column |= contest(floor, side, rounds=min(rounds, 9), patience=1)
        columns.append(column)
    rows = []
    for name in ["floor key", *(name for name in columns[0] if name != "floor key")]:
        cells = [f"{_time(c[name].best)} ({c[name].ratio:.2f})" for c in columns]
        rows.append([name, TARGETS.get(name, ""), *cells])
    return table(["look-up (ratio to floor key)", "target", *(f"n = {n:,}" for n in sizes)], rows,
                 text=2)  # fmt: skip


def _bulk_table(rounds: int, count: int) -> str:
    keys = keys_of(count)
    found = []
    np = numpy()
    for n in (100, 1_000):
        for kind in HashRing, MaglevTable:
            it = kind(ids_of(n))
            one = loop("it.owner(key)", keys=keys, it=it)
            sides = {"list of text": _whole("owners", it, keys)}
            if np is not None:
                array = np.arange(10 * count) * 7919
                sides["integer array, ids"] = _whole("owners", it, array)
                sides["integer array, positions"] = _whole("locate_array", it, array)
            timings = contest(one, sides, rounds=rounds)
            found.append([f"{kind.__name__}, n = {n:,}", _rate(min(next(iter(
                timings.values())).floor)), *(f"{_rate(t.best)} ({1 / t.ratio:.1f}×)"
                                              for t in timings.values())])  # fmt: skip
    head = ["million keys a second (× the loop)", "loop of owner", *sides]
    return table(head, found)


def _whole(method: str, it: Any, keys: Any) -> Batch:
    call = getattr(it, method)

    def batch(clock: Callable[[], float]) -> float:
        start = clock()
        call(keys)
        return (clock() - start) / len(keys)

    return batch


def _pick_table(rounds: int, limit: int) -> str:
    rows = []
    for n in (10, 100, 1_000):
        policy = RingHash(ids_of(n))
        floor = sized(lambda steps: loop("with floor.pick(): pass", steps, floor=CycleFloor()))
        sides = {"pick": by_key("with it.pick(key): pass", limit, it=policy)}
        for peer in installed():
            if peer.name == "uhashring":
                sides["peer"] = _peer_lookup(peer, n, limit)
        timings = contest(floor, sides, rounds=rounds)
        peer_time = _time(timings["peer"].best) if "peer" in timings else "not installed"
        row = [f"{n:,}", _time(min(timings["pick"].floor)), _time(timings["pick"].best)]
        rows.append([*row, f"{timings['pick'].ratio:.2f}", peer_time])
    head = ["n", "floor cycle", "with RingHash.pick(key)", "ratio (≤ 4 at 100)", "uhashring alone"]
    return table(head, rows)


def _build_table(sizes: Sequence[int], repeats: int) -> str:
    rows = []
    builders: list[tuple[str, Callable[[list[str]], Any]]] = [
        ("HashRing", HashRing),
        ("MaglevTable", MaglevTable),
        ("RendezvousHash", RendezvousHash),
    ]
    builders += [(peer.name, peer.build) for peer in installed() if peer.family == "ring"]
    for name, build in builders:
        row = [name]
        for n in sizes:
            ids = ids_of(n)
            row.append(_time(_best(partial(build, ids), repeats if n < 10_000 else 2)))
        rows.append(row)
    return table(["build", *(f"n = {n:,}" for n in sizes)], rows)


def _change_table(repeats: int) -> str:
    ids = ids_of(1_000)
    ring = HashRing(ids)
    rows = [
        [
            "HashRing.with_changes",
            _time(_best(lambda: ring.with_changes(add=["new"]), repeats)),
            _time(_best(lambda: ring.with_changes(remove=[ids[500]]), repeats)),
            _time(_best(lambda: ring.with_changes(reweight={ids[500]: 2.0}), repeats)),
        ]
    ]
    for peer in installed():
        if peer.add is None or peer.remove is None:
            continue
        built = peer.build(ids)
        added, removed = [], []
        for _ in range(3):
            added.append(_best(partial(peer.add, built, "new"), 1))
            removed.append(_best(partial(peer.remove, built, "new"), 1))
        rows.append([peer.name, _time(min(added)), _time(min(removed)), "–"])
    return table(["change one of 1,000 (≤ 5 ms)", "add", "remove", "reweight"], rows)


def _memory_table(sizes: Sequence[int]) -> str:
    rows = []
    things: list[tuple[str, Callable[[list[str]], Any]]] = [
        ("HashRing", HashRing), ("MaglevTable", MaglevTable), ("RendezvousHash", RendezvousHash),
    ]  # fmt: skip
    things += [(p.name, p.build) for p in installed() if p.family == "ring" and "xxh" not in p.name]
    for name, build in things:
        row = [name]
        for n in sizes:
            ids = ids_of(n)
            build(ids)  # what the first of its kind allocates for all is not its own
            size, _ = held(partial(build, ids))
            row.append(f"{size / n / 1000:.2f}")
        rows.append(row)
    return table(["kB per node", *(f"n = {n:,}" for n in sizes)], rows)


def _best(call: Callable[[], Any], repeats: int) -> float:
    return min(_spans(call, repeats))


def _spans(call: Callable[[], Any], repeats: int) -> Iterator[float]:
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        yield time.perf_counter() - start


def _time(seconds: float) -> str:
    for unit, scale in ("s", 1.0), ("ms", 1e3), ("µs", 1e6):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _rate(seconds: float) -> str:
    return f"{1e-6 / seconds:.1f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), metavar="N")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of every contest (25)")
    parser.add_argument("--steps", type=int, default=20_000, help="different keys (20000)")
    parser.add_argument("--only", choices=["lookups", "bulk", "picks", "builds", "memory"])


def run(options: argparse.Namespace) -> None:
    """Print the tables."""
    parts: dict[str, Callable[[], str]] = {
        "lookups": lambda: _lookup_table(options.sizes, options.rounds, options.steps),
        "bulk": lambda: _bulk_table(options.rounds, options.steps),
        "picks": lambda: _pick_table(options.rounds, options.steps),
        "builds": lambda: _build_table(options.sizes, 3) + "\n\n" + _change_table(20),
        "memory": lambda: _memory_table([n for n in options.sizes if n <= 1_000]),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            print(part() + "\n", flush=True)
