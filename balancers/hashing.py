"""Keys to bytes to 64 bits: the one place that calls mmh3.

A placement is part of the API, so everything here is pinned by golden vectors:

* a ``str`` is its UTF-8 bytes (lone surrogates by ``surrogatepass``), so ``"a"`` and ``b"a"``
  are one key;
* an ``int`` is its little-endian two's complement in the shortest form of at least 8 bytes;
* the hash is the first 64 bits of MurmurHash3_x64_128 (Appleby), unsigned.

mmh3 crashes the process on a ``str`` it cannot encode, so only bytes, and text found to be ASCII,
are handed to it. Structures look a key up by all 128 bits (``hash128``): the high half is the
key's position on a ring, the whole number modulo a table's size its entry.
"""

from __future__ import annotations

from typing import TypeAlias

from mmh3 import hash128 as encodable128
from mmh3 import hash_bytes as encodable16
from mmh3 import mmh3_x64_128_digest as digest16
from mmh3 import mmh3_x64_128_uintdigest as digest128

__all__ = [
    "MASK64",
    "Key",
    "check_seed",
    "digest16",
    "digest128",
    "encodable16",
    "encodable128",
    "hash64",
    "hash128",
    "key_bytes",
]

# The functions of mmh3, for loops where a call in between would double the cost:
#   digest128(data: bytes, seed) -> int     128 bits, unsigned
#   digest16(data: bytes, seed) -> bytes    the same, as 16 little-endian bytes
#   encodable128, encodable16               the same two for bytes *or str*; the caller must have
#                                           seen that the text encodes (``str.isascii``), see above

Key: TypeAlias = str | bytes | int

MASK64 = (1 << 64) - 1


def key_bytes(key: Key) -> bytes:
    """Return the bytes that stand for ``key``.

    Args:
        key: Text, bytes or an integer of any size.

    Raises:
        TypeError: For any other type, ``bool`` included.

    Runtime complexity: O(len(key)).
    """
    kind = type(key)
    if kind is str:
        try:
            return key.encode()  # type: ignore[union-attr]
        except UnicodeEncodeError:
            return key.encode("utf-8", "surrogatepass")  # type: ignore[union-attr]
    if kind is bytes:
        return key  # type: ignore[return-value]
    if isinstance(key, bool):
        raise TypeError("a key is str, bytes or int, not bool")
    if isinstance(key, str):
        return str.encode(key, "utf-8", "surrogatepass")
    if isinstance(key, bytes):
        return bytes(key)
    if isinstance(key, int):
        # One bit for the sign; never fewer than 8 bytes, so that a NumPy int64 agrees.
        bits = int.bit_length(key if key >= 0 else ~key) + 1
        return int.to_bytes(key, max(8, (bits + 7) // 8), "little", signed=True)
    raise TypeError(f"a key is str, bytes or int, not {kind.__name__}")


def hash64(data: bytes, seed: int = 0) -> int:
    """Return 64 unsigned bits of ``data``: the first half of MurmurHash3_x64_128.

    Args:
        data: The bytes to hash.
        seed: 0 ≤ seed < 2³².

    Runtime complexity: O(len(data)).
    """
    return digest128(data, seed) & MASK64


def hash128(key: Key, seed: int = 0) -> int:
    """Return 128 unsigned bits for ``key``: MurmurHash3_x64_128 of its bytes.

    Args:
        key: Text, bytes or an integer of any size.
        seed: 0 ≤ seed < 2³².

    Raises:
        TypeError: For a key of any other type.

    Runtime complexity: O(len(key)).
    """
    return digest128(key_bytes(key), seed)


def check_seed(seed: int) -> int:
    """Return ``seed`` if it is an integer in 0 ≤ seed < 2³², the range of MurmurHash3.

    Raises:
        TypeError: If it is not an ``int`` (``bool`` included).
        ValueError: If it is out of range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed is an int, not {type(seed).__name__}: {seed!r}")
    if not 0 <= seed < 1 << 32:
        raise ValueError(f"seed must satisfy 0 <= seed < 2**32, got {seed}")
    return seed
