"""Ketama as libmemcached lays it, weighted: four MD5 words a group, 40 groups a mean server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import md5
from math import floor
from struct import Struct, unpack
from typing import ClassVar

from balancers.hashing import key_bytes
from balancers.structures.placement.base import Ring32, whole_weights

__all__ = ["KetamaRing"]

_float32 = Struct("<f")
_DEFAULT_PORT = b":11211"


class KetamaRing(Ring32):
    """The continuum of libmemcached's ``MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED``.

    An id is ``host:port``; without a port it is memcached's own, 11211. Server i of n has
    ⌊160/4 · n · w_i/W⌋ groups of four points, computed in single precision as libmemcached does:
    the four little-endian words of the MD5 of ``host:port-group`` (``host-group`` on port 11211).
    The key's position is the first word of its MD5.

    A change of one weight changes the number of points of *all*. When libmemcached ejects a
    server it lays the ring anew without it; the fallback here walks clockwise over the ring as
    it is, which moves the ejected server's keys alone. Use ``updated`` for libmemcached's own.

    Args:
        ids_or_weights: id -> weight, a whole number from 1 to 2³² - 1, in the order configured.
        spy: Name servers as spymemcached does: ``/host:port-group`` on every port.
    """

    __slots__ = ()

    kind: ClassVar[str] = "ketama"

    def __init__(
        self, ids_or_weights: Mapping[str, float] | Iterable[str], *, spy: bool = False
    ) -> None:
        super().__init__(ids_or_weights, spy=spy)

    def _place(self, live: Sequence[tuple[int, str, float]]) -> Iterator[tuple[int, int]]:
        members = whole_weights(live, "libmemcached", (1 << 32) - 1)
        total = _single(sum(weight for _, _, weight in members))
        count = float(len(members))
        for index, id_, weight in members:
            part = _single(_single(weight) / total)
            groups = floor(_single(_single(_single(_single(part * 160) / 4) * count) + 1e-10))
            name = self._name(key_bytes(id_))
            for group in range(groups):
                for word in unpack(
                    "<4I", md5(b"%s-%d" % (name, group), usedforsecurity=False).digest()
                ):
                    yield word, index

    def _name(self, server: bytes) -> bytes:
        if self._params["spy"]:
            _, colon, port = server.rpartition(b":")
            return b"/" + server + (b"" if colon and port.isdigit() else _DEFAULT_PORT)
        return server.removesuffix(_DEFAULT_PORT)

    def _hash(self, data: bytes) -> int:
        return int.from_bytes(md5(data, usedforsecurity=False).digest()[:4], "little")


def _single(value: float) -> float:
    """Round to single precision."""
    rounded: float = _float32.unpack(_float32.pack(value))[0]
    return rounded
