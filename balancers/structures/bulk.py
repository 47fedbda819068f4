"""Many keys at once: the same owners, with every per-key cost that can be shared shared.

NumPy does it where it is installed and there are keys enough; the results are the same without.
It is imported when first needed: the library works without it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from itertools import repeat
from typing import Any

from balancers.hashing import Key, encodable16
from balancers.structures.keyed import KeyedStructure

__all__ = ["BulkStructure", "array_digests", "finish_array", "numpy", "text_digests"]

_FEWEST = 256  # below, the arrays cost more than they save
_CHUNK = 1 << 14  # keys at a time: the intermediate arrays stay in the cache


@cache
def numpy() -> Any:
    """Return NumPy, or None where it is not installed."""
    try:
        return import_module("numpy")
    except ImportError:
        return None


class BulkStructure(KeyedStructure):
    """Base of the structures that find a key by its 128-bit hash alone.

    Attributes:
        seed: The seed of the keys' hash.
    """

    __slots__ = ()

    seed: int

    @abstractmethod
    def _locate_digests(self, low: Any, high: Any) -> Any:
        """Return the positions in ``ids`` for hashes given as two arrays of 64-bit halves.

        Raises:
            LookupError: If no member has a positive weight.
        """

    def _owners_of_text(self, keys: Sequence[str]) -> list[str]:
        """Return the owners of ASCII keys, without NumPy."""
        return list(map(self.owner, keys))

    def owners(self, keys: Iterable[Key]) -> list[str]:
        """Return the owner of each key, in order.

        Args:
            keys: Keys of any kind, or a NumPy array of integers, each hashed as that ``int``.

        Raises:
            LookupError: If no member has a positive weight and there is a key.
            TypeError: If a key is not str, bytes or int.

        Runtime complexity: O(total length of the keys) expected.
        """
        ids = self.ids
        if hasattr(keys, "dtype") and keys.dtype.kind in "iu":
            return [ids[place] for place in self.locate_array(keys).tolist()]
        batch = keys if isinstance(keys, list) else list(keys)
        found: list[str] = []
        for start in range(0, len(batch), _CHUNK):
            part = batch[start : start + _CHUNK]
            if len(part) < _FEWEST or numpy() is None:
                plain = _are_ascii(part)
                found += self._owners_of_text(part) if plain else map(self.owner, part)  # type: ignore[arg-type]
            elif (halves := text_digests(part, self.seed)) is not None:
                found += [ids[place] for place in self._locate_digests(*halves).tolist()]
            else:
                found += map(self.owner, part)
        return found

    def locate_array(self, keys: Any) -> Any:
        """Return the positions in ``ids`` of the owners of integer keys.

        Args:
            keys: A NumPy array of a signed or unsigned integer type, any shape.

        Returns:
            An array of ``int64`` of the same shape.

        Raises:
            TypeError: If the array is not of integers (``bool`` included).
            LookupError: If no member has a positive weight and there is a key.

        Runtime complexity: O(keys) expected.
        """
        np = numpy()
        array = np.asarray(keys)
        if array.dtype.kind not in "iu":
            raise TypeError(f"expected an array of integers, not of {array.dtype}")
        flat = array.reshape(-1)
        places = np.empty(flat.shape, np.int64)
        for start in range(0, len(flat), _CHUNK):
            part = slice(start, start + _CHUNK)
            places[part] = self._locate_digests(*array_digests(flat[part], self.seed))
        return places.reshape(array.shape)


def _are_ascii(keys: Sequence[Key]) -> bool:
    """Return whether all keys are text, and ASCII."""
    try:
        return "".join(keys).isascii()  # type: ignore[arg-type]
    except TypeError:
        return False


def text_digests(keys: Sequence[Key], seed: int) -> tuple[Any, Any] | None:
    """Return the low and high halves of the keys' hashes, if all keys are of one simple kind.

    Args:
        keys: ASCII text, or bytes, or integers of 64 bits; anything else gives None.
        seed: 0 ≤ seed < 2³².
    """
    np = numpy()
    if not _are_ascii(keys):
        kinds = set(map(type, keys))
        if kinds == {int}:
            try:
                return array_digests(np.array(keys, np.int64), seed)
            except OverflowError:
                return None
        if kinds != {bytes}:
            return None
    hashes = map(encodable16, keys, repeat(seed)) if seed else map(encodable16, keys)  # type: ignore[arg-type]
    halves = np.frombuffer(b"".join(hashes), "<u8")
    return halves[0::2], halves[1::2]


def array_digests(keys: Any, seed: int) -> tuple[Any, Any]:
    """Return the low and high halves of MurmurHash3_x64_128 of an array of integers.

    Each integer stands for its ``key_bytes``: 8 bytes little-endian, or 9 from 2⁶³ on, whose
    ninth is zero and enters the hash through the length alone.

    Args:
        keys: A one-dimensional array of a signed or unsigned integer type.
        seed: 0 ≤ seed < 2³².

    Runtime complexity: O(keys), about 30 array operations.
    """
    np = numpy()
    u64 = np.uint64

    length = u64(8)
    if keys.dtype.kind == "u" and keys.dtype.itemsize == 8:
        length = u64(8) + (keys >> u64(63))
        word = keys.copy()
    else:
        word = keys.astype(np.int64).view(u64)
    word *= u64(0x87C37B91114253D5)
    word = (word << u64(31)) | (word >> u64(33))
    word *= u64(0x4CF5AD432745937F)
    high = u64(seed) ^ length
    low = (word ^ u64(seed)) ^ length
    low += high
    high = low + high
    finish_array(low)
    finish_array(high)
    low += high
    high += low
    return low, high


def finish_array(h: Any) -> None:
    """Mix an array of 64-bit words in place: the final mix of MurmurHash3."""
    u64 = numpy().uint64
    for multiplier in 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53:
        h ^= h >> u64(33)
        h *= u64(multiplier)
    h ^= h >> u64(33)
