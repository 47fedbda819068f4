"""The ring hash of Envoy and of gRPC: one formula, two orders and two sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any, ClassVar

from balancers.errors import InvalidEndpointError
from balancers.hashing import key_bytes
from balancers.structures.placement.base import PlacedRing, whole_weights
from balancers.structures.placement.digests import murmur2_64, xxh64
from balancers.structures.ring_points import MAX_POINTS

__all__ = ["EnvoyRing", "GrpcRing"]

_POINT_HASHES = {"murmur2": murmur2_64, "xxh64": xxh64}


class EnvoyRing(PlacedRing):
    """The ring of Envoy's ``ring_hash``.

    An id is what Envoy hashes of a host: ``address:port``, its hostname, or its ``hash_key``.
    Point j of a host is the hash of ``id_j``. The ring has about ``min_size`` points *in all*, so
    a host's number of points falls with the number of hosts: see ``shares``. The key's position
    is its XXH64, as for a single header in Envoy's hash policy.

    Fallback: clockwise, as Envoy's retries go. When a host fails its health check Envoy lays the
    ring anew without it; use ``updated`` for that.

    Args:
        ids_or_weights: id -> weight, a whole number ≥ 1, in the order Envoy has the hosts.
        min_size: ``minimum_ring_size``, ≥ 1.
        max_size: ``maximum_ring_size``, min_size ≤ max_size ≤ 8 388 608.
        point_hash: ``"xxh64"`` or ``"murmur2"`` (``hash_function``), for the hosts' points.

    Raises:
        ValueError: For sizes or a hash out of range.
        InvalidEndpointError: As ``PlacedRing``; and where ``max_size`` leaves a host no point.
    """

    __slots__ = ()

    kind: ClassVar[str] = "envoy"

    def __init__(
        self,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        *,
        min_size: int = 1024,
        max_size: int = 8_388_608,
        point_hash: str = "xxh64",
    ) -> None:
        if not 1 <= min_size <= max_size <= MAX_POINTS:
            raise ValueError(
                f"ring sizes must satisfy 1 <= min <= max <= {MAX_POINTS}, "
                f"got {min_size} and {max_size}"
            )
        if point_hash not in _POINT_HASHES:
            raise ValueError(
                f"point_hash must be one of {', '.join(_POINT_HASHES)}, got {point_hash!r}"
            )
        super().__init__(
            ids_or_weights, min_size=min_size, max_size=max_size, point_hash=point_hash
        )

    def _order(self, live: Sequence[tuple[int, str, int]]) -> Sequence[tuple[int, str, int]]:
        return live

    def _place(self, live: Sequence[tuple[int, str, float]]) -> Iterator[tuple[int, int]]:
        members = self._order(whole_weights(live, self.kind, (1 << 32) - 1))
        make = _POINT_HASHES[self._params["point_hash"]]
        total = sum(weight for _, _, weight in members)
        smallest = min(weight for _, _, weight in members) / total
        # In the order of operations of the original: doubles round the same way everywhere.
        scale = min(
            ceil(smallest * self._params["min_size"]) / smallest, float(self._params["max_size"])
        )
        if scale > MAX_POINTS:
            raise InvalidEndpointError(
                f"the ring would have {scale:.0f} points; at most {MAX_POINTS} are supported"
            )
        done = 0
        target = 0.0
        for index, id_, weight in members:
            target += scale * (weight / total)
            stem = key_bytes(id_) + b"_"
            point = 0
            while done < target:
                yield make(stem + b"%d" % point), index
                point += 1
                done += 1

    def _hash(self, data: bytes) -> int:
        return xxh64(data)


class GrpcRing(EnvoyRing):
    """The ring of gRPC's ``ring_hash_experimental`` as gRPC for Go and C++ lay it.

    As Envoy's, but the endpoints are taken in the order of their keys, and at most 4096 points
    are laid (``ring_size_cap``), so more endpoints than that cannot all have one. gRPC for Java
    takes another order and other keys, and is not reproduced.

    Fallback: the next point, as gRPC does for an endpoint in TRANSIENT_FAILURE.

    Args:
        ids_or_weights: id -> weight, a whole number ≥ 1, in any order.
        min_size: ``min_ring_size``.
        max_size: ``max_ring_size``, after the client's cap.
    """

    __slots__ = ()

    kind: ClassVar[str] = "grpc"

    def __init__(
        self,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        *,
        min_size: int = 1024,
        max_size: int = 4096,
    ) -> None:
        super().__init__(ids_or_weights, min_size=min_size, max_size=max_size)
        del self._params["point_hash"]

    def _order(self, live: Sequence[tuple[int, str, int]]) -> Sequence[tuple[int, str, int]]:
        return sorted(live, key=_utf8)


def _utf8(member: tuple[Any, str, Any]) -> bytes:
    return key_bytes(member[1])
