"""Keys to bytes to 64 bits: the one place that calls mmh3.

A placement is part of the API, so everything here is pinned by golden vectors:

* a ``str`` is its UTF-8 bytes (lone surrogates by ``surrogatepass``), so ``"a"`` and ``b"a"``
  are one key;
* an ``int`` is its little-endian two's complement in the shortest form of at least 8 bytes;
* the hash is the first 64 bits of MurmurHash3_x64_128 (Appleby), unsigned.

mmh3 crashes the process on a ``str`` it cannot encode, so only bytes are handed to it.
"""

from __future__ import annotations

from typing import TypeAlias

from mmh3 import mmh3_x64_128_uintdigest

__all__ = ["MASK64", "Key", "hash64", "key_bytes"]

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
        length = max(8, (key.bit_length() + 8) // 8 if key >= 0 else ((~key).bit_length() + 8) // 8)
        return key.to_bytes(length, "little", signed=True)
    raise TypeError(f"a key is str, bytes or int, not {kind.__name__}")


def hash64(data: bytes, seed: int = 0) -> int:
    """Return 64 unsigned bits of ``data``: the first half of MurmurHash3_x64_128.

    Args:
        data: The bytes to hash.
        seed: 0 ≤ seed < 2³².

    Runtime complexity: O(len(data)).
    """
    return mmh3_x64_128_uintdigest(data, seed) & MASK64
