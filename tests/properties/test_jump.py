"""Jump hashing: published values, the promise of growth, and the list over it."""

from __future__ import annotations

from collections import Counter

import pytest
from hash_models import hoeffding
from hypothesis import given
from hypothesis import strategies as st
from strategies import keys

from balancers.errors import InvalidEndpointError
from balancers.hashing import hash64, key_bytes
from balancers.structures import JumpHash, jump_hash
from balancers.structures.jump import jump_bucket

words = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("key", "slots"),
    [
        (1, [0] * 6 + [6] * 11 + [17, 17]),
        (0xDEADBEEF, [0, 1, 2, 3, 3] + [5] * 11 + [16] * 3),
        (0x0DDC0FFEEBADF00D, [0, 1] + [2] * 13 + [15] * 4),
        (0, [0] * 19),
    ],
)
def test_published_values(key: int, slots: list[int]):
    """The slots for 1 to 19 buckets, as the tests of Guava and go-jump have them."""
    assert [jump_bucket(key, n) for n in range(1, 20)] == slots


def test_published_hundred():
    """Keys 1 to 5 over 100 buckets."""
    assert [jump_bucket(key, 100) for key in range(1, 6)] == [55, 62, 8, 45, 59]


@given(words, st.integers(1, 5000))
def test_growth(key: int, n: int):
    """From n to n + 1 slots a key stays or goes to slot n."""
    slot, after = jump_bucket(key, n), jump_bucket(key, n + 1)
    assert 0 <= slot < n
    assert after in (slot, n)


@given(keys, st.integers(1, 100), st.sampled_from([0, 5]))
def test_jump_hash(key, n: int, seed: int):
    """An int is the paper's own key; of any other, and in JumpHash of all, the hash is."""
    hashed = jump_bucket(hash64(key_bytes(key), seed), n)
    number = isinstance(key, int)

    assert jump_hash(key, n, seed) == (jump_bucket(key % 2**64, n) if number else hashed)
    assert JumpHash([str(slot) for slot in range(n)], seed).owner(key) == str(hashed)


def test_balance():
    """60 000 keys fall evenly on 100 slots; false alarm 1e-9."""
    count = Counter(jump_hash(f"k{i}", 100) for i in range(60_000))
    bound = hoeffding(60_000, 100)
    assert all(abs(count[slot] / 60_000 - 0.01) <= bound for slot in range(100))


@given(st.lists(st.sampled_from("abcdefgh"), unique=True), st.sets(st.sampled_from("abc")), keys)
def test_list(ids: list[str], drained: set[str], key):
    """Slot i is the i-th id of positive weight; the walk meets each once, the owner first."""
    structure = JumpHash({id_: 0.0 if id_ in drained else 2.0 for id_ in ids})
    slots = [id_ for id_ in ids if id_ not in drained]
    walk = structure.successors(key, 99)
    assert sorted(walk) == sorted(slots)
    if slots:
        assert (
            structure.owner(key)
            == walk[0]
            == slots[jump_bucket(hash64(key_bytes(key), 0), len(slots))]
        )
        assert structure.shares() == {id_: (id_ in slots) / len(slots) for id_ in ids}


def test_fallbacks_are_even():
    """What one slot of ten leaves behind spreads evenly over the others; false alarm 1e-9."""
    structure = JumpHash([f"n{i}" for i in range(10)])
    walks = (structure.successors(i, 2) for i in range(40_000))
    spilt = Counter(second for first, second in walks if first == "n3")
    count = spilt.total()
    assert len(spilt) == 9
    assert all(abs(n / count - 1 / 9) <= hoeffding(count, 9) for n in spilt.values())


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
    st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
)
def test_moved_adds_up(before: list[str], after: list[str]):
    """What a member keeps, loses and gains gives its share before and after."""
    movement = JumpHash(before).moved(JumpHash(after))
    lost, gained = movement.lost(), movement.gained()
    for id_ in {*before, *after}:
        kept = (id_ in before) / len(before) - lost.get(id_, 0.0)
        assert kept >= -1e-12
        assert kept + gained.get(id_, 0.0) == pytest.approx((id_ in after) / len(after))


@pytest.mark.parametrize(("before", "after"), [("abc", "abcde"), ("abcde", "abc"), ("abcd", "dbe")])
def test_moved_matches_sampling(before: str, after: str):
    """40 000 keys move as the closed form says; false alarm 1e-9."""
    old, new = JumpHash(before and list(before)), JumpHash(list(after))
    meets = Counter((old.owner(i), new.owner(i)) for i in range(40_000))
    table = old.moved(new).table
    bound = hoeffding(40_000, 25)
    for source in before:
        for target in after:
            if source != target:
                part = table.get((source, target), 0.0)
                assert abs(meets[source, target] / 40_000 - part) <= bound
                assert part or not meets[source, target]


def test_bad_input_raises():
    """No slots, and unequal weights, raise and say why."""
    with pytest.raises(ValueError, match="the number of slots must be >= 1, got 0"):
        jump_hash("k", 0)
    with pytest.raises(InvalidEndpointError, match=r"'a' has 1\.0 and 'b' has 2\.0"):
        JumpHash({"a": 1, "b": 2})
    with pytest.raises(TypeError, match="a key is str, bytes or int, not NoneType"):
        jump_hash(None, 3)  # type: ignore[arg-type]
