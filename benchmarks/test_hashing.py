"""Look-ups, bulk look-ups, builds and changes of the keyed structures, grouped, floor beside."""

from __future__ import annotations

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from balancers.structures import HashRing, MaglevTable, RendezvousHash, jump_hash
from benchmarks.floors import KeyFloor
from benchmarks.hashing import SIZES, ids_of, keys_of
from benchmarks.timing import loop

STEPS = 100
OWNERS = {
    "floor key": KeyFloor,
    "HashRing": HashRing,
    "MaglevTable": MaglevTable,
    "RendezvousHash": RendezvousHash,
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", OWNERS)
def test_owner(benchmark: BenchmarkFixture, name: str, n: int) -> None:
    """``owner`` of a hundred different text keys."""
    benchmark.group = f"{STEPS} owners, n = {n:,}"
    it = OWNERS[name](ids_of(n))
    benchmark(loop("it.owner(key)", keys=keys_of(STEPS), it=it), time.perf_counter)


@pytest.mark.parametrize("n", SIZES)
def test_jump_hash(benchmark: BenchmarkFixture, n: int) -> None:
    """``jump_hash`` of a hundred different text keys."""
    benchmark.group = f"{STEPS} owners, n = {n:,}"
    benchmark(loop("jump(key, n)", keys=keys_of(STEPS), jump=jump_hash, n=n), time.perf_counter)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ["HashRing", "MaglevTable"])
def test_owners(benchmark: BenchmarkFixture, name: str, n: int) -> None:
    """``owners`` of ten thousand different text keys at once."""
    benchmark.group = f"10,000 owners at once, n = {n:,}"
    benchmark(OWNERS[name](ids_of(n)).owners, keys_of(10_000))


@pytest.mark.parametrize("n", SIZES[:-1])
@pytest.mark.parametrize("name", ["HashRing", "MaglevTable", "RendezvousHash"])
def test_build(benchmark: BenchmarkFixture, name: str, n: int) -> None:
    """A whole build."""
    benchmark.group = f"build, n = {n:,}"
    benchmark(OWNERS[name], ids_of(n))


@pytest.mark.parametrize("change", ["add", "remove", "reweight"])
def test_change(benchmark: BenchmarkFixture, change: str) -> None:
    """One member of a ring of a thousand added, removed or reweighted."""
    benchmark.group = "change one of 1,000"
    ids = ids_of(1_000)
    ring = HashRing(ids)
    changes = {"add": ["new"], "remove": [ids[500]], "reweight": {ids[500]: 2.0}}
    benchmark(ring.with_changes, **{change: changes[change]})
