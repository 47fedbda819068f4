"""The hash functions of other systems, in plain Python: XXH64, MurmurHash2, sdbm, djb2, CRC-32.

All take bytes and return unsigned integers. XXH64 is Collet's; ``murmur2_64`` is Appleby's
MurmurHash64A as libstdc++ seeds it and Envoy calls it; ``avalanche`` is the integer mix that
HAProxy applies to its nodes and, by default, to its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from struct import unpack_from
from zlib import crc32

__all__ = ["KEY_HASHES", "avalanche", "crc32", "djb2", "murmur2_64", "sdbm", "xxh64"]

_M32 = 0xFFFFFFFF
_M64 = 0xFFFFFFFFFFFFFFFF

_P1 = 0x9E3779B185EBCA87
_P2 = 0xC2B2AE3D27D4EB4F
_P3 = 0x165667B19E3779F9
_P4 = 0x85EBCA77C2B2AE63
_P5 = 0x27D4EB2F165667C5


def xxh64(data: bytes, seed: int = 0) -> int:
    """Return the 64-bit XXH64 of ``data``.

    Args:
        data: The bytes to hash.
        seed: 0 ≤ seed < 2⁶⁴.

    Runtime complexity: O(len(data)), about 3 µs for 20 bytes.
    """
    size = len(data)
    at = 0
    if size >= 32:
        lanes = [(seed + _P1 + _P2) & _M64, (seed + _P2) & _M64, seed, (seed - _P1) & _M64]
        while at <= size - 32:
            words = unpack_from("<4Q", data, at)
            for lane, word in enumerate(words):
                mixed = (lanes[lane] + word * _P2) & _M64
                lanes[lane] = ((mixed << 31 | mixed >> 33) & _M64) * _P1 & _M64
            at += 32
        h = 0
        for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True):
            h += lane << turn | lane >> (64 - turn)
        h &= _M64
        for lane in lanes:
            h = ((h ^ _round(lane)) * _P1 + _P4) & _M64
    else:
        h = (seed + _P5) & _M64
    h = (h + size) & _M64
    while at <= size - 8:
        h ^= _round(unpack_from("<Q", data, at)[0])
        h = (((h << 27 | h >> 37) & _M64) * _P1 + _P4) & _M64
        at += 8
    if at <= size - 4:
        h ^= unpack_from("<I", data, at)[0] * _P1 & _M64
        h = (((h << 23 | h >> 41) & _M64) * _P2 + _P3) & _M64
        at += 4
    for byte in data[at:]:
        h ^= byte * _P5 & _M64
        h = ((h << 11 | h >> 53) & _M64) * _P1 & _M64
    h = (h ^ h >> 33) * _P2 & _M64
    h = (h ^ h >> 29) * _P3 & _M64
    return h ^ h >> 32


def _round(word: int) -> int:
    word = word * _P2 & _M64
    return ((word << 31 | word >> 33) & _M64) * _P1 & _M64


def murmur2_64(data: bytes, seed: int = 0xC70F6907) -> int:
    """Return the 64-bit MurmurHash2 of ``data``.

    Args:
        data: The bytes to hash.
        seed: 0 ≤ seed < 2⁶⁴; the default is that of libstdc++ and Envoy.

    Runtime complexity: O(len(data)).
    """
    multiplier = 0xC6A4A7935BD1E995
    size = len(data)
    h = seed ^ size * multiplier & _M64
    whole = size & ~7
    for at in range(0, whole, 8):
        word = unpack_from("<Q", data, at)[0] * multiplier & _M64
        word = (word ^ word >> 47) * multiplier & _M64
        h = (h ^ word) * multiplier & _M64
    if size > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * multiplier & _M64
    h = (h ^ h >> 47) * multiplier & _M64
    return h ^ h >> 47


def sdbm(data: bytes) -> int:
    """Return the 32-bit sdbm hash of ``data``, HAProxy's default. O(len(data))."""
    h = 0
    for byte in data:
        h = (byte + h * 65599) & _M32
    return h


def djb2(data: bytes) -> int:
    """Return the 32-bit djb2 hash of ``data`` (h·33 + c from 5381). O(len(data))."""
    h = 5381
    for byte in data:
        h = (h * 33 + byte) & _M32
    return h


def avalanche(a: int) -> int:
    """Mix a 32-bit integer as HAProxy's ``full_hash`` does (Jenkins' six shifts, then ·3·2³⁰ + 1).

    Args:
        a: 0 ≤ a < 2³².
    """
    a = a + 0x7ED55D16 + (a << 12) & _M32
    a = a ^ 0xC761C23C ^ a >> 19
    a = a + 0x165667B1 + (a << 5) & _M32
    a = (a + 0xD3A2646C ^ a << 9) & _M32
    a = a + 0xFD7046C5 + (a << 3) & _M32
    a = a ^ 0xB55A4F09 ^ a >> 16
    return a * 3221225473 & _M32


KEY_HASHES: Mapping[str, Callable[[bytes], int]] = {
    "crc32": crc32,
    "djb2": djb2,
    "murmur2": murmur2_64,
    "sdbm": sdbm,
    "xxh64": xxh64,
}
"""By the names that ``key_hash`` takes."""
