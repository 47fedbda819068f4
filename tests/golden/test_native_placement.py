"""The native placements, pinned: a change here moves users' keys and is a major release."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from balancers.structures import (
    HashRing,
    JumpHash,
    KeyedStructure,
    MaglevTable,
    RendezvousHash,
)

KEYS = ["", "a", "user:1", "user:2", "clé", "\ud800", b"\x00\xff", 0, -1, 2**64, "x" * 100]
IDS = [f"10.0.0.{i}:8080" for i in range(1, 11)]
WEIGHTED = dict(zip(IDS, [1, 2, 3, 0, 0.5, 1, 7, 1, 1, 2.25], strict=True))


def digest_of(owners: list[str]) -> str:
    """Return a short digest of a list of owners."""
    return hashlib.sha256("\n".join(owners).encode()).hexdigest()[:16]


STRUCTURES: dict[str, KeyedStructure] = {
    "ring": HashRing(IDS),
    "ring weighted": HashRing(WEIGHTED, vnodes=40, seed=1),
    "maglev": MaglevTable(IDS),
    "maglev weighted": MaglevTable(WEIGHTED, size=1009, seed=1),
    "rendezvous": RendezvousHash(IDS),
    "rendezvous weighted": RendezvousHash(WEIGHTED, seed=1),
    "jump": JumpHash(IDS),
    "jump seeded": JumpHash(IDS, seed=1),
}


def placement(structure: KeyedStructure) -> dict[str, object]:
    """Return where a few keys go, by last digits, and a digest of where many go."""
    short = " ".join(structure.owner(key)[7:-5] for key in KEYS)
    second = " ".join(structure.successors(key, 2)[1][7:-5] for key in KEYS)
    many = digest_of([structure.owner(i) for i in range(2000)])
    return {"owners": short, "second": second, "digest": many}


EXPECTED: dict[str, dict[str, object]] = {
    "ring": {
        "owners": "2 4 10 5 7 3 1 10 6 9 4",
        "second": "7 10 6 4 2 1 3 8 2 4 6",
        "digest": "f66a45f8fe0e7b9d",
    },
    "ring weighted": {
        "owners": "8 2 7 7 7 5 2 1 3 7 10",
        "second": "1 7 6 2 6 7 7 7 5 6 7",
        "digest": "2e370f8a1592ef9f",
    },
    "maglev": {
        "owners": "6 10 5 6 4 6 1 7 9 7 5",
        "second": "8 4 7 4 9 2 3 9 3 3 1",
        "digest": "9db93c7c29aa485d",
    },
    "maglev weighted": {
        "owners": "7 8 7 7 7 10 7 10 6 7 5",
        "second": "2 2 3 2 10 7 5 3 2 9 9",
        "digest": "d684b12c3ff1ed61",
    },
    "rendezvous": {
        "owners": "7 7 6 2 9 8 4 4 8 7 6",
        "second": "10 4 8 3 4 4 3 1 10 6 10",
        "digest": "3fbf109e77e279f0",
    },
    "rendezvous weighted": {
        "owners": "2 7 7 3 8 9 10 7 9 6 7",
        "second": "7 9 1 7 10 1 2 3 3 7 5",
        "digest": "79cae90613aa8085",
    },
    "jump": {
        "owners": "1 6 4 2 5 6 5 3 9 3 6",
        "second": "6 10 1 6 1 7 7 5 10 5 2",
        "digest": "315ab0dc34578ffd",
    },
    "jump seeded": {
        "owners": "10 7 1 7 2 3 10 5 1 8 6",
        "second": "4 9 2 10 9 9 6 3 6 9 3",
        "digest": "0ffe40d28e2bf17f",
    },
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_placement_is_pinned(name: str):
    """Every structure places as it always did."""
    assert placement(STRUCTURES[name]) == EXPECTED[name]


def test_first_points_are_pinned():
    """The lowest points of a small ring, in full."""
    ring = HashRing(["a", "b"], vnodes=2)
    assert list(ring._points)[:-1] == [
        5733618314839073082,
        8210781974123614130,
        11870555171111778972,
        13388328361918173270,
    ]


def test_jump_hash_is_pinned():
    """Slots of a few hashed keys among 1000."""
    slots = JumpHash([str(slot) for slot in range(1000)])
    assert [int(slots.owner(key)) for key in KEYS] == [
        0,
        927,
        752,
        965,
        461,
        5,
        556,
        822,
        101,
        408,
        630,
    ]


def test_every_process_agrees():
    """A process with another hash seed, given the members in another order, places alike."""
    code = (
        "import json, sys\n"
        "from balancers.structures import *\n"
        "ids = [f'10.0.0.{i}:8080' for i in range(10, 0, -1)]\n"
        "print(json.dumps([s.owners(range(500)) for s in\n"
        "    (HashRing(ids), MaglevTable(ids), RendezvousHash(ids))]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        check=True,
        text=True,
    )
    ours = [STRUCTURES[name].owners(range(500)) for name in ("ring", "maglev", "rendezvous")]
    assert json.loads(ran.stdout) == ours
