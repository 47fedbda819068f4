"""Many keys at once: the same owners as one by one, with NumPy and without."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import keys

from balancers.hashing import hash128
from balancers.structures import HashRing, JumpHash, MaglevTable, bulk
from balancers.structures.bulk import BulkStructure

MEMBERS = {f"n{i}": 1 + i % 3 for i in range(20)}
STRUCTURES = [
    HashRing(MEMBERS, vnodes=8),
    HashRing(["a"], vnodes=1, seed=9),
    HashRing([f"n{i}" for i in range(300)], vnodes=20, seed=1),
    MaglevTable(MEMBERS, size=1009, seed=2**32 - 1),
    MaglevTable([f"n{i}" for i in range(300)]),
    JumpHash({"z": 0.0, **dict.fromkeys(MEMBERS, 1.0)}),
]
structures = pytest.mark.parametrize(
    "structure", STRUCTURES, ids=lambda s: f"{type(s).__name__} of {len(s)}"
)
BATCHES = {
    "text": [f"user:{i}" for i in range(600)],
    "bytes": [f"user:{i}".encode() for i in range(600)],
    "integers": [(-1) ** i * i**5 for i in range(600)],
    "huge integers": [3**i for i in range(300)],
    "accents": [f"clé:{i}" for i in range(300)],
    "a mixture": [*range(300), "a", b"b", "\ud800", -(2**70)],
    "surrogates": ["\ud800"] * 300,
    "few": ["a", "b"],
    "none": [],
}


class Text(str):
    """A subclass of str, with an encoding of its own that must not matter."""

    __slots__ = ()

    def encode(self, *args: str) -> bytes:  # type: ignore[override]
        return b"no"


@pytest.fixture(params=["numpy", "plain"])
def with_or_without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with NumPy, if it is installed, and as if it were not."""
    if request.param == "plain":
        monkeypatch.setattr(bulk, "numpy", lambda: None)
    else:
        pytest.importorskip("numpy")


@structures
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_owners(with_or_without: None, structure: BulkStructure, batch: list):
    """Owners are those of each key alone, whatever the keys and the kind of iterable."""
    expected = [structure.owner(key) for key in batch]
    assert structure.owners(batch) == expected
    assert structure.owners(tuple(batch)) == expected
    assert structure.owners(iter(batch)) == expected


@structures
def test_subclasses_of_text(structure: BulkStructure):
    """A subclass of str is the text it holds, in bulk too."""
    batch = [Text(f"user:{i}") for i in range(400)]
    expected = structure.owners([f"user:{i}" for i in range(400)])
    assert structure.owners(batch) == expected
    assert [structure.owner(key) for key in batch] == expected


@structures
@settings(max_examples=20)
@given(st.lists(keys, max_size=20))
def test_any_keys(structure: BulkStructure, batch: list):
    """The bulk path agrees for any keys, at sizes it would not be used for too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_FEWEST", 0)
        patch.setattr(bulk, "_CHUNK", 7)
        assert structure.owners(batch) == [structure.owner(key) for key in batch]


@structures
@pytest.mark.parametrize("kind", ["int64", "uint64", "int32", "uint16", "int8", ">i8"])
def test_integer_arrays(structure: BulkStructure, kind: str):
    """An array of integers is hashed as its Python integers, those from 2**63 on included."""
    np = pytest.importorskip("numpy")
    edges = [0, 1, -1, 255, 2**63 - 1, -(2**63), 12345678901234567]
    array = np.array([*edges, *range(17_000)], np.int64).astype(kind)
    expected = [structure.owner(key) for key in array.tolist()]
    assert structure.owners(array) == expected
    places = structure.locate_array(array.reshape(-1, 1))
    assert places.shape == (len(array), 1)
    assert [structure.ids[place] for place in places[:, 0]] == expected
    assert structure.owners(array[:0]) == []


def test_other_arrays():
    """Arrays of booleans or floats raise; arrays of objects are taken as iterables."""
    np = pytest.importorskip("numpy")
    ring = STRUCTURES[0]
    for array in np.array([True, False]), np.array([1.5]):
        with pytest.raises(TypeError, match="expected an array of integers"):
            ring.locate_array(array)
        with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
            ring.owners(array)
    assert ring.owners(np.array(["a", 1, b"c"], object)) == ring.owners(["a", 1, b"c"])


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.sampled_from([0, 1, 2**32 - 1]))
def test_array_digests(values: list[int], seed: int):
    """The vectorised hash of integers is MurmurHash3_x64_128 of their bytes."""
    np = pytest.importorskip("numpy")
    for kind in np.int64, np.uint64:
        array = np.array(values, np.int64).astype(kind)
        low, high = bulk.array_digests(array, seed)
        found = [int(h) << 64 | int(lo) for lo, h in zip(low, high, strict=True)]
        assert found == [hash128(value, seed) for value in array.tolist()]


def test_empty_structures_raise(with_or_without: None):
    """Without a positive weight many keys raise as one does."""
    for structure in HashRing({"a": 0}), MaglevTable([]), JumpHash([]):
        with pytest.raises(LookupError):
            structure.owners(["k"] * 300)
