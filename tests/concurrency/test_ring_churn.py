"""A ring under churn: members come and go in one thread while others look keys up."""

from __future__ import annotations

import sys
import threading

import pytest

from balancers.structures import HashRing

STEADY = [f"steady-{i}" for i in range(20)]
VISITORS = [f"visitor-{i}" for i in range(10)]


@pytest.fixture(autouse=True)
def quick_switches():
    """Let threads take turns a thousand times as often as by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def test_readers_never_err():
    """Keys that no visitor takes keep their owner through 300 changes, and nothing raises."""
    everybody = HashRing([*STEADY, *VISITORS], vnodes=40)
    keys = [key for key in (f"key-{i}" for i in range(600)) if everybody.owner(key) in STEADY]
    expected = {key: everybody.owner(key) for key in keys}
    shared = [HashRing(STEADY, vnodes=40)]
    stop = threading.Event()
    faults: list[object] = []
    looked = [0] * 4

    def read(reader: int) -> None:
        while not stop.is_set():
            for key in keys:
                try:
                    ring = shared[0]
                    if ring.owner(key) != expected[key] or next(ring.walk(key)) != expected[key]:
                        faults.append(key)
                except Exception as error:
                    faults.append(error)
                looked[reader] += 1

    readers = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(300):
            visitor = VISITORS[turn % len(VISITORS)]
            ring = shared[0]
            there = visitor in ring
            shared[0] = ring.with_changes(
                add=() if there else [visitor], remove=[visitor] if there else ()
            )
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not faults
    assert min(looked) > 0
    shared[0]._check()
