"""Ring hash: consistent hashing on a ring of virtual nodes.

Guarantees:
    Removing an endpoint moves its keys alone, adding one moves keys to it alone, a new weight
    moves keys to or from that endpoint alone. The same key goes to the same endpoint in every
    process with the same members and seed, whatever their order. The share of an endpoint with
    v of the ring's V points follows Beta(v, V − v): about ±1/√v around v/V. With
    ``max_imbalance`` no membership passes that bound, and with ``load_factor`` no pick passes
    its bound.

Use when:
    Keys should stay where they are while endpoints come and go: caches, sessions, shards.

Avoid when:
    Shares must be even to the percent (``Maglev``) or exact (``Rendezvous``).

Cost:
    O(1) expected a pick, without a lock unless ``load_factor`` is given. An update copies the
    ring and edits the points of the changed endpoints alone.

Source:
    Karger et al. 1997; bounded loads of Mirrokni, Thorup and Zadimoghaddam 2018. The other
    placements are those of the systems they are named after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import cycle, islice
from typing import Any, ClassVar, Literal, Unpack

from balancers.core.hashed import HashPolicy
from balancers.core.membership import Options
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.errors import InvalidEndpointError
from balancers.hashing import check_seed
from balancers.structures.keyed import KeyedStructure
from balancers.structures.placement import (
    EnvoyRing,
    GrpcRing,
    HaproxyRing,
    KetamaRing,
    NginxRing,
)
from balancers.structures.ring import HashRing
from balancers.structures.ring_size import imbalance, vnodes_for_weights

__all__ = ["RingHash"]

DEFAULT_IMBALANCE = 1.25

_KEY_HASHES: dict[str, tuple[str, ...]] = {
    "native": (),
    "nginx": (),
    "ketama": (),
    "envoy": ("xxh64", "murmur2"),
    "grpc": (),
    "haproxy": ("sdbm", "djb2", "crc32"),
}


class RingHash(HashPolicy):
    """Places keys on a ring.

    Args:
        endpoints: The membership; each positive weight must be due a point.
        vnodes: Points of an endpoint of weight 1, ≥ 1; or "auto", which finds, once, as many as
            keep ``max_imbalance`` for ``capacity`` endpoints.
        load_factor: Bounds the leases of an endpoint; see ``HashPolicy``.
        min_load: Leases every endpoint may hold whatever the bound says.
        seed: 0 ≤ seed < 2³²; a secret one keeps strangers from aiming keys at one endpoint.
        max_imbalance: The most an endpoint's share may be of what its weight is due, > 1. An
            update that breaks it raises and changes nothing. None: no bound, or 1.25 with
            "auto".
        capacity: Endpoints that "auto" makes room for; twice the first membership if None.
        placement: Whose ring: "native", or "nginx", "ketama", "envoy", "grpc", "haproxy", which
            place every key as that system does over the same members in the same order; see
            ``balancers.structures.placement``. Their points are their own affair: ``vnodes``,
            ``seed``, ``capacity`` and ``resize`` are refused.
        key_hash: "sdbm" (the default there), "djb2" or "crc32" for HAProxy; "xxh64" (the
            default there) or "murmur2" for Envoy.
        ring_size: (min, max) points in all, for Envoy and gRPC.
        resize: Let an update that breaks ``max_imbalance`` lay a new ring instead of raising;
            ``snapshot().details["moved"]`` tells what fraction of the keys that moved.
        options: What every balancer takes; see ``Policy``.

    Raises:
        InvalidEndpointError: If ``vnodes`` · weight is below 1, the ring has more than 2²⁴
            points, or a share passes ``max_imbalance``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("ring",)

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        vnodes: int | Literal["auto"] = 160,
        load_factor: float | None = None,
        min_load: int = 1,
        seed: int = 0,
        placement: str = "native",
        key_hash: str | None = None,
        ring_size: tuple[int, int] | None = None,
        max_imbalance: float | None = None,
        capacity: int | None = None,
        resize: bool = False,
        **options: Unpack[Options],
    ) -> None:
        if max_imbalance is not None:
            if isinstance(max_imbalance, bool) or not isinstance(max_imbalance, int | float):
                raise TypeError(f"max_imbalance is a number or None, not {max_imbalance!r}")
            if not 1.0 < max_imbalance < math.inf:
                raise ValueError(f"max_imbalance must be finite and > 1, not {max_imbalance!r}")
        elif vnodes == "auto":
            max_imbalance = DEFAULT_IMBALANCE
        if capacity is not None:
            if isinstance(capacity, bool) or not isinstance(capacity, int):
                raise TypeError(f"capacity is an int or None, not {capacity!r}")
            if capacity < 1:
                raise ValueError(f"capacity must be ≥ 1, not {capacity}")
        self._vnodes: int | None = None if vnodes == "auto" else vnodes
        self._seed = check_seed(seed)
        self._max_imbalance = max_imbalance
        self._capacity = capacity
        self._resize = resize
        self._moved = 0.0
        HashRing({}, 1 if self._vnodes is None else self._vnodes)  # checks vnodes
        self._foreign = _foreign(placement, key_hash, ring_size)
        if self._foreign is not None:
            own = {"vnodes": vnodes != 160, "seed": seed != 0, "capacity": capacity is not None}
            for name, given in (own | {"resize": resize}).items():
                if given:
                    raise ValueError(f"{name} is for the native placement, not {placement!r}")
        super().__init__(endpoints, load_factor=load_factor, min_load=min_load, **options)

    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        if not weights:
            return HashRing({}, self._vnodes or 1, self._seed)
        if self._vnodes is None:
            self._vnodes = self._enough(weights)
        ring: KeyedStructure
        if self._foreign is None:
            ring = _laid(weights, self._vnodes, self._seed, old)
        else:
            ring = self._foreign(weights)
        bound = self._max_imbalance
        if bound is None:
            return ring
        worst, multiple = imbalance(ring.shares(), weights)
        if multiple <= bound:
            return ring
        if not self._resize:
            points = f"with {self._vnodes} points a unit of weight and " * (not self._foreign)
            raise InvalidEndpointError(
                f"endpoint {worst!r} would own {multiple:.3f} times the keys its weight is due, "
                f"{points}among {len(weights)} endpoints; max_imbalance is {bound}"
            )
        vnodes = max(self._enough(weights), self._vnodes)
        while multiple > bound:
            ring = HashRing(weights, vnodes, self._seed)
            multiple = imbalance(ring.shares(), weights)[1]
            vnodes += max(1, vnodes // 8)
        return ring

    def _enough(self, weights: Mapping[str, float]) -> int:
        """Return the points a unit of weight needs, with room for ``capacity`` endpoints."""
        capacity = self._capacity or 2 * len(weights)
        room = islice(cycle(weights.values()), max(capacity, len(weights)))
        return vnodes_for_weights(room, self._max_imbalance or DEFAULT_IMBALANCE)

    def _publish(self, view: View) -> None:
        before, after = self._ring(self._view), self._ring(view)
        if before is not after and before is not None and after is not None:
            # Only a resized ring is worth the comparison: the others move what they must.
            resized = before.vnodes != after.vnodes
            self._moved = before.moved(after).fraction if resized and len(before) else 0.0
            self._vnodes = after.vnodes
        super()._publish(view)

    @staticmethod
    def _ring(view: View) -> HashRing | None:
        ring = None if view.state is None else view.state.structure
        return ring if isinstance(ring, HashRing) and ring.weights else None

    def _details(self) -> dict[str, float]:
        ring = self._ring(self._view)
        if ring is None:
            return super()._details()
        details = {"vnodes": float(ring.vnodes), "moved": self._moved}
        return {**super()._details(), **details}


def _laid(
    weights: Mapping[str, float], vnodes: int, seed: int, old: KeyedStructure | None
) -> HashRing:
    """Lay a ring, by editing the old one where it has the same points."""
    if isinstance(old, HashRing) and old.vnodes == vnodes:
        return old.updated(weights)
    return HashRing(weights, vnodes, seed)


def _foreign(
    placement: str, key_hash: str | None, ring_size: tuple[int, int] | None
) -> Callable[[Mapping[str, float]], KeyedStructure] | None:
    """Return what lays the named system's ring, None for the native one."""
    if placement not in _KEY_HASHES:
        raise ValueError(f"placement is one of {', '.join(_KEY_HASHES)}, not {placement!r}")
    if key_hash is not None and key_hash not in _KEY_HASHES[placement]:
        known = ", ".join(_KEY_HASHES[placement]) or "its own alone"
        raise ValueError(f"key_hash of {placement!r} is {known}, not {key_hash!r}")
    sizes: dict[str, Any] = {}
    if ring_size is not None:
        if placement not in ("envoy", "grpc"):
            raise ValueError(f"ring_size is for envoy and grpc, not {placement!r}")
        sizes["min_size"], sizes["max_size"] = ring_size
    match placement:
        case "nginx":
            make: Callable[[Mapping[str, float]], KeyedStructure] = NginxRing
        case "ketama":
            make = KetamaRing
        case "envoy":
            make = partial(EnvoyRing, point_hash=key_hash or "xxh64", **sizes)
        case "grpc":
            make = partial(GrpcRing, **sizes)
        case "haproxy":
            make = partial(HaproxyRing, key_hash=key_hash or "sdbm")
        case _:
            return None
    make({})  # checks the sizes
    return make
