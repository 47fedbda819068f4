"""What every keyed structure promises, native or foreign."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import keys

from balancers.structures import HashRing, JumpHash, KeyedStructure, MaglevTable, RendezvousHash
from balancers.structures.placement import (
    EnvoyMaglev,
    EnvoyRing,
    GrpcRing,
    HaproxyRing,
    KetamaRing,
    NginxRing,
)

Make = Callable[[Mapping[str, float]], KeyedStructure]


def jump(weights: Mapping[str, float]) -> JumpHash:
    """Jump hashing takes equal weights."""
    return JumpHash({id_: float(weight > 0) for id_, weight in weights.items()})


KINDS: dict[str, Make] = {
    "ring": lambda weights: HashRing(weights, vnodes=5, seed=3),
    "maglev": lambda weights: MaglevTable(weights, size=101),
    "rendezvous": RendezvousHash,
    "jump": jump,
    "nginx": NginxRing,
    "ketama": KetamaRing,
    "spy": lambda weights: KetamaRing(weights, spy=True),
    "envoy": lambda weights: EnvoyRing(weights, min_size=50, point_hash="murmur2"),
    "grpc": lambda weights: GrpcRing(weights, min_size=50),
    "haproxy": lambda weights: HaproxyRing(weights, key_hash="djb2"),
    "envoy-maglev": lambda weights: EnvoyMaglev(weights, size=101),
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
members = st.dictionaries(
    st.sampled_from([str(i) for i in range(1, 9)]), st.integers(0, 3), max_size=6
)


@kinds
@settings(max_examples=25)
@given(members, keys)
def test_surface(make: Make, weights: dict[str, int], key):
    """Owner, location, walk and successors agree; only positive weights own, each met once."""
    structure = make(weights)
    live = {id_ for id_, weight in weights.items() if weight}
    assert set(structure.ids) == set(structure.weights) == set(weights)
    walk = list(structure.walk(key))
    assert [structure.ids[index] for index in structure.walk_indices(key)] == walk
    assert set(walk) == live
    assert len(walk) == len(live)
    for n in range(len(live) + 2):
        assert structure.successors(key, n) == walk[:n]
    if live:
        assert structure.owner(key) == structure.ids[structure.locate(key)] == walk[0]
        assert structure.owners([key, key]) == [walk[0]] * 2
    else:
        for call in structure.owner, structure.locate, lambda k: structure.owners([k]):
            with pytest.raises(LookupError):
                call(key)
        assert structure.owners([]) == []


@kinds
@settings(max_examples=25)
@given(members)
def test_shares(make: Make, weights: dict[str, int]):
    """Shares are positive for positive weights alone, and sum to 1."""
    structure = make(weights)
    shares = structure.shares()
    assert list(shares) == list(structure.ids)
    assert all((share > 0) == (structure.weights[id_] > 0) for id_, share in shares.items())
    if any(weights.values()):
        assert fsum(shares.values()) == pytest.approx(1, abs=1e-12)


@kinds
@settings(max_examples=15)
@given(members, members)
def test_moved(make: Make, before: dict[str, int], after: dict[str, int]):
    """A movement balances: share before - lost + gained = share after; to itself it is nothing."""
    old, new = make(before), make(after)
    if not any(before.values()) or not any(after.values()):
        with pytest.raises(LookupError):
            old.moved(new)
        return
    movement = old.moved(new)
    lost, gained = movement.lost(), movement.gained()
    was, becomes = old.shares(), new.shares()
    for id_ in {*before, *after}:
        change = gained.get(id_, 0.0) - lost.get(id_, 0.0)
        assert was.get(id_, 0.0) + change == pytest.approx(becomes.get(id_, 0.0), abs=1e-9)
    assert movement.fraction == pytest.approx(fsum(lost.values()), abs=1e-12)
    assert old.moved(old).fraction == 0.0
    assert not old.moved(old).table


@kinds
@settings(max_examples=15)
@given(members)
def test_round_trips(make: Make, weights: dict[str, int]):
    """JSON, pickle and copy give an equal structure that places alike."""
    structure = make(weights)
    text = structure.to_json()
    json.loads(text)
    others = [
        type(structure).from_json(text),
        pickle.loads(pickle.dumps(structure)),
        copy.deepcopy(structure),
    ]
    for other in others:
        assert other == structure
        assert hash(other) == hash(structure)
        assert other.to_json() == text
        assert other.ids == structure.ids
        if any(weights.values()):
            assert other.owners(range(50)) == structure.owners(range(50))


@kinds
@pytest.mark.parametrize("key", [None, True, 1.5, bytearray(b"a"), memoryview(b"a"), ("a",)])
def test_other_keys_raise(make: Make, key):
    """A key that is not str, bytes or int raises TypeError, alone and among others."""
    structure = make({"1": 1, "2": 1})
    with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
        structure.owner(key)
    with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
        structure.locate(key)
    with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
        structure.owners(["a", key])
    with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
        structure.owners([key] * 300)
    with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
        structure.successors(key, 2)


@kinds
def test_one_key_in_two_spellings(make: Make):
    """A str and its UTF-8 bytes are one key, lone surrogates included."""
    structure = make({str(i): 1 for i in range(1, 9)})
    for text in ("", "a", "é", "\ud800", "x" * 300):
        data = text.encode("utf-8", "surrogatepass")
        assert structure.owner(text) == structure.owner(data)
        assert structure.successors(text, 8) == structure.successors(data, 8)


@kinds
def test_bad_states_raise(make: Make):
    """A state of another kind, one that lacks a field, and text that is no JSON raise."""
    structure = make({"1": 1})
    kind = type(structure)
    for text in ('{"kind":"something else"}', "[]", f'{{"kind":"{structure.kind}"}}', "{"):
        with pytest.raises(ValueError, match=r"expected the state|lacks|Expecting"):
            kind.from_json(text)
    with pytest.raises(ValueError, match="n must be >= 0, got -1"):
        structure.successors("k", -1)


@kinds
def test_container(make: Make):
    """Length, membership and repr tell the members."""
    structure = make({"1": 1, "2": 0})
    assert len(structure) == 2
    assert "2" in structure
    assert "3" not in structure
    assert repr(structure) == f"<{type(structure).__name__} of 2 ids>"
    assert structure != "1"
