"""nginx's ``hash KEY consistent``, which Pingora's ketama equals: 160 chained CRC-32 a weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import ClassVar
from zlib import crc32

from balancers.errors import InvalidEndpointError
from balancers.hashing import key_bytes
from balancers.structures.placement.base import Ring32, whole_weights
from balancers.structures.ring_points import MAX_POINTS

__all__ = ["NginxRing"]

_le32 = Struct("<I").pack


class NginxRing(Ring32):
    """The ring of nginx's upstream hash module.

    An id is the server's text as configured: ``host:port``, ``host`` or ``unix:/path``. A member
    of weight w has 160·w points: each is the CRC-32 of host, a zero byte, port and the previous
    point. The key's CRC-32 goes to the first point at or after it.

    Fallback: the next point, as nginx does; nginx gives up after 20 points and turns to round
    robin, this walks on. Of equal points nginx keeps the first its sort left there; here that is
    the member configured first.

    Args:
        ids_or_weights: id -> weight, a whole number ≥ 1, in the order configured.
    """

    __slots__ = ()

    kind: ClassVar[str] = "nginx"

    def __init__(self, ids_or_weights: Mapping[str, float] | Iterable[str]) -> None:
        super().__init__(ids_or_weights)

    def _place(self, live: Sequence[tuple[int, str, float]]) -> Iterator[tuple[int, int]]:
        members = whole_weights(live, "nginx", 65535)
        total = 160 * sum(weight for _, _, weight in members)
        if total > MAX_POINTS:
            raise InvalidEndpointError(
                f"the ring would have {total} points; at most {MAX_POINTS} are supported"
            )
        for index, id_, weight in members:
            base = crc32(server_bytes(id_))
            point = 0
            for _ in range(160 * weight):
                point = crc32(_le32(point), base)
                yield point, index

    def _hash(self, data: bytes) -> int:
        return crc32(data)


def server_bytes(server: str) -> bytes:
    """Return what nginx hashes of a server's text: host, a zero byte, and the port if digits."""
    text = key_bytes(server)
    if text[:5].lower() == b"unix:":
        return text[5:] + b"\0"
    host, colon, port = text.rpartition(b":")
    if colon and all(byte in b"0123456789" for byte in port):
        return host + b"\0" + port
    return text + b"\0"
