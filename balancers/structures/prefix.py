"""The beginnings of a prompt, named: what prefix-aware routing compares instead of the text.

A prompt is a sequence of blocks. It is cut after every block up to the 16th, then eight times
each time its length doubles: 16, 18, … 32, 36, … 64, 72, …, and at its end. Every power of two is
a cut, and a prompt of L blocks has 16 + 8 · log₂(L / 16) of them or so, not L.

Each cut has a digest of all that comes before it, chained so that every byte is hashed once. Two
prompts have the same digest at a cut exactly if they begin alike up to there, but for collisions
of 128-bit hashes.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, cast

from balancers.hashing import Key, digest16, hash64, key_bytes

__all__ = ["PrefixCuts", "Prompt", "check_prompt", "head_of"]

Prompt: TypeAlias = Key | Sequence[int | bytes]
"""A prompt's text or bytes, to be cut into blocks of one size; or the ids of its blocks, where
equal ids at equal places stand for equal text. A lone integer is a prompt of one block."""

_LONGEST = 1 << 40
_DENSE = 16
_ID_SEED = 0x626C6F63  # "bloc": ids that are no 64-bit integers become one by a hash of their own


def _positions() -> Iterator[int]:
    cut = 1
    while cut <= _LONGEST:
        yield cut
        cut += max(1, (1 << cut.bit_length() - 1) // 8) if cut >= _DENSE else 1


_CUTS: tuple[int, ...] = tuple(_positions())
_PLACES: dict[int, int] = {cut: place for place, cut in enumerate(_CUTS)}


class PrefixCuts:
    """A prompt's cuts and their digests.

    Args:
        prompt: What was checked by ``check_prompt``, or raises as that does.
        block_size: Bytes of a block of text, ≥ 1.
        seed: 0 ≤ seed < 2³².

    Attributes:
        cuts: Numbers of blocks, ascending; the last one is all of them.
        digests: 16 bytes for each cut.

    Runtime complexity: O(bytes) for text, O(ids) for ids.
    """

    __slots__ = ("cuts", "digests")

    def __init__(self, prompt: Prompt, block_size: int, seed: int) -> None:
        data, size = _data_of(prompt, block_size)
        blocks = -(-len(data) // size)
        self.cuts: tuple[int, ...] = (*_CUTS[: bisect_left(_CUTS, blocks)], blocks)
        digests: list[bytes] = []
        start, before = 0, b""
        for cut in self.cuts:
            end = cut * size
            before = digest16(before + data[start:end], seed)
            digests.append(before)
            start = end
        self.digests: tuple[bytes, ...] = tuple(digests)

    @property
    def blocks(self) -> int:
        """Blocks of the whole prompt, ≥ 0."""
        return self.cuts[-1]

    def anchors(self, count: int) -> list[bytes]:
        """Return the digests by which the prompt is placed, at most ``count`` ≥ 1.

        The cut at 2 blocks comes first, which every turn of a conversation has; then powers of
        two, the longest first, which prompts share that begin alike for long; the whole prompt
        comes last, which nobody shares, so that a beginning everybody shares cannot keep all
        prompts on the few endpoints it is placed on.

        Runtime complexity: O(count).
        """
        digests, blocks = self.digests, self.cuts[-1]
        if blocks <= 2:
            return [digests[-1]]
        found = [digests[1]]
        power = 1 << (blocks - 1).bit_length() - 1
        while power > 2 and len(found) < count - 1:
            found.append(digests[_PLACES[power]])
            power >>= 1
        if len(found) < count:
            found.append(digests[-1])
        return found


def head_of(prompt: Prompt, block_size: int, seed: int) -> bytes:
    """Return the first anchor of a prompt, reading its first two blocks alone. O(block_size)."""
    if isinstance(prompt, Sequence) and not isinstance(prompt, str):
        size = block_size if _is_bytes(prompt) else 1
        prompt = prompt[: 2 * size]
    elif isinstance(prompt, str):
        prompt = key_bytes(prompt)[: 2 * block_size]
    return PrefixCuts(prompt, block_size, seed).digests[-1]


def check_prompt(prompt: Prompt) -> None:
    """Raise TypeError unless it is text, bytes, an integer or a sequence of block ids.

    Runtime complexity: O(ids), O(1) for text.
    """
    if isinstance(prompt, str) or _is_bytes(prompt):
        return
    if isinstance(prompt, Sequence):
        for kind in set(map(type, prompt)):
            if not issubclass(kind, int | bytes) or kind is bool:
                raise TypeError(f"the id of a block is an int or bytes, not {kind.__name__}")
    elif isinstance(prompt, bool) or not isinstance(prompt, int):
        raise TypeError(
            "a prompt is str, bytes, int or a sequence of block ids, "
            f"not {type(prompt).__name__}"
        )  # fmt: skip


def _is_bytes(prompt: object) -> bool:
    return isinstance(prompt, bytes | bytearray | memoryview)


def _data_of(prompt: Prompt, block_size: int) -> tuple[bytes, int]:
    """Return bytes that stand for the prompt, and how many of them stand for a block."""
    if isinstance(prompt, str):
        return key_bytes(prompt), block_size
    if isinstance(prompt, bytes):
        return prompt, block_size
    check_prompt(prompt)
    if isinstance(prompt, bytearray | memoryview):
        return bytes(prompt), block_size
    ids = (prompt,) if isinstance(prompt, int) else prompt
    try:
        words = array("q", cast("Iterable[int]", ids))
    except (OverflowError, TypeError):
        words = array("q", map(_word, ids))
    if sys.byteorder == "big":  # pragma: no cover - placement is the same on every platform
        words.byteswap()
    return words.tobytes(), 8


def _word(id_: int | bytes) -> int:
    """Return a 64-bit integer for any id: itself if it is one, else a hash of it."""
    if isinstance(id_, int) and -(1 << 63) <= id_ < 1 << 63:
        return id_
    unsigned = hash64(key_bytes(id_), _ID_SEED)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned
