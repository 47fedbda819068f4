"""Keys to bytes to bits: the encoding is a contract."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import keys

from balancers.hashing import (
    check_seed,
    digest16,
    digest128,
    encodable16,
    encodable128,
    hash64,
    hash128,
    key_bytes,
)


class Text(str):
    """A subclass of str with an encoding of its own."""

    __slots__ = ()

    def encode(self, *args: str) -> bytes:  # type: ignore[override]
        return b"no"


class Number(int):
    """A subclass of int with bytes of its own."""

    def to_bytes(self, *args, **kwargs) -> bytes:  # type: ignore[override]
        return b"no"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", b""),
        ("a", b"a"),
        ("é", b"\xc3\xa9"),
        ("\ud800", b"\xed\xa0\x80"),
        ("a\udfffb", b"a\xed\xbf\xbfb"),
        (b"\xff", b"\xff"),
        (Text("a"), b"a"),
        (0, bytes(8)),
        (1, b"\x01" + bytes(7)),
        (-1, b"\xff" * 8),
        (Number(2), b"\x02" + bytes(7)),
        (2**63 - 1, b"\xff" * 7 + b"\x7f"),
        (-(2**63), bytes(7) + b"\x80"),
        (2**63, bytes(7) + b"\x80\x00"),
        (-(2**63) - 1, b"\xff" * 7 + b"\x7f\xff"),
        (2**64, bytes(8) + b"\x01"),
    ],
)
def test_key_bytes(key, expected: bytes):
    """Text is UTF-8 with surrogates passed, an integer the shortest form of at least 8 bytes."""
    assert key_bytes(key) == expected


@given(st.integers())
def test_integers_are_told_apart(key: int):
    """An integer's bytes give it back, in the shortest form of at least 8."""
    data = key_bytes(key)
    assert int.from_bytes(data, "little", signed=True) == key
    if len(data) > 8:
        half = 1 << (8 * len(data) - 9)
        assert not -half <= key < half


@pytest.mark.parametrize("key", [None, True, False, 1.0, bytearray(b"a"), ("a",), object()])
def test_other_keys_raise(key):
    """Everything that is not str, bytes or int raises, bool included."""
    with pytest.raises(TypeError, match="a key is str, bytes or int, not"):
        key_bytes(key)


@given(keys, st.integers(0, 2**32 - 1))
def test_the_forms_agree(key, seed: int):
    """All forms of the hash are one: 128 bits, its bytes, its low half, of text and of bytes."""
    data = key_bytes(key)
    whole = hash128(key, seed)
    assert digest128(data, seed) == encodable128(data, seed) == whole
    assert digest16(data, seed) == encodable16(data, seed) == whole.to_bytes(16, "little")
    assert hash64(data, seed) == whole % 2**64
    if isinstance(key, str) and key.isascii():
        assert encodable128(key, seed) == whole
        assert encodable16(key, seed) == whole.to_bytes(16, "little")


def test_published_value():
    """MurmurHash3_x64_128 of a known sentence, as published with the reference implementation."""
    fox = b"The quick brown fox jumps over the lazy dog"
    assert digest16(fox).hex() == "6c1b07bc7bbc4be347939ac4a93c437a"


def test_lone_surrogates_do_not_crash():
    """A process that hashes lone surrogates in every way survives: mmh3 alone does not."""
    code = (
        "from balancers.structures import *\n"
        "keys = ['\\ud800', 'a\\udfff'] * 300\n"
        "for s in HashRing(['a']), MaglevTable(['ab']), RendezvousHash(['\\ud800']):\n"
        "    s.owners(keys), s.owner(keys[0]), s.successors(keys[1], 2)\n"
        "jump_hash('\\ud800', 3)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ValueError), (2**32, ValueError), (True, TypeError), ("1", TypeError)]
)
def test_bad_seeds_raise(seed, error: type[Exception]):
    """A seed is an integer of 32 bits."""
    with pytest.raises(error, match="seed"):
        check_seed(seed)
