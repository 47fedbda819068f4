"""One addressable server, and what is accepted in its place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from balancers.errors import InvalidEndpointError

__all__ = ["Endpoint", "EndpointLike", "as_endpoints"]

_NO_METADATA: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, init=False)
class Endpoint:
    """One server, known by its ``id``.

    Equal when every field is equal; hashed by ``id`` alone.

    Args:
        id: Identity: load, latency and health hang on it. Not empty.
        weight: Relative capacity, finite and ≥ 0. At 0 it takes no new picks, while
            sticky sessions stay.
        region: Name of the region, for ``Regions``.
        zone: Name of the zone, for ``ZoneAware``.
        priority: Tier, 0 first, for ``Priority``.
        hash_key: Placement identity of hash policies, for ids that change while the place
            should not; the id if None.
        metadata: Whatever the caller wants to find on the pick; copied, read-only.

    Raises:
        InvalidEndpointError: For a value outside these ranges.
        TypeError: For a value of the wrong type.
    """

    id: str
    weight: float
    region: str | None
    zone: str | None
    priority: int
    hash_key: str
    metadata: Mapping[str, Any]

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's standard name
        *,
        weight: float = 1.0,
        region: str | None = None,
        zone: str | None = None,
        priority: int = 0,
        hash_key: str | None = None,
        metadata: Mapping[str, Any] = _NO_METADATA,
    ) -> None:
        if not isinstance(id, str):
            raise TypeError(f"an endpoint id is a str, not {type(id).__name__}")
        if not id:
            raise InvalidEndpointError("an endpoint id must not be empty")
        for name, place in (("region", region), ("zone", zone), ("hash_key", hash_key)):
            if place is not None and not isinstance(place, str):
                raise TypeError(f"endpoint {id!r}: {name} is a str or None, not {place!r}")
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise TypeError(f"endpoint {id!r}: priority is an int, not {priority!r}")
        if priority < 0:
            raise InvalidEndpointError(f"endpoint {id!r}: priority must be ≥ 0, not {priority}")
        if not isinstance(metadata, Mapping):
            raise TypeError(f"endpoint {id!r}: metadata is a mapping, not {metadata!r}")
        fill = object.__setattr__  # the dataclass is frozen
        fill(self, "id", id)
        fill(self, "weight", _checked_weight(id, weight))
        fill(self, "region", region)
        fill(self, "zone", zone)
        fill(self, "priority", priority)
        fill(self, "hash_key", id if hash_key is None else hash_key)
        fill(self, "metadata", MappingProxyType(dict(metadata)) if metadata else _NO_METADATA)

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Endpoint], tuple[dict[str, Any]]]:
        # A mapping proxy does not pickle, so the fields travel as plain values.
        fields = {
            "id": self.id,
            "weight": self.weight,
            "region": self.region,
            "zone": self.zone,
            "priority": self.priority,
            "hash_key": self.hash_key,
            "metadata": dict(self.metadata),
        }
        return _restore, (fields,)


EndpointLike: TypeAlias = Endpoint | str


def as_endpoints(endpoints: Iterable[EndpointLike]) -> tuple[Endpoint, ...]:
    """Return the endpoints given, a plain ``str`` standing for ``Endpoint(str)``.

    Raises:
        InvalidEndpointError: If an id occurs twice.
        TypeError: If ``endpoints`` is itself a str, or holds something else.

    Runtime complexity: O(n).
    """
    if isinstance(endpoints, str | bytes):
        raise TypeError(f"endpoints is an iterable of endpoints, not the text {endpoints!r}")
    found: dict[str, Endpoint] = {}
    for item in endpoints:
        if isinstance(item, Endpoint):
            endpoint = item
        elif isinstance(item, str):
            endpoint = Endpoint(item)
        else:
            raise TypeError(f"an endpoint is an Endpoint or a str, not {item!r}")
        if endpoint.id in found:
            raise InvalidEndpointError(f"endpoint id {endpoint.id!r} occurs twice")
        found[endpoint.id] = endpoint
    return tuple(found.values())


def _checked_weight(owner: str, weight: float) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(f"endpoint {owner!r}: weight is a number, not {weight!r}")
    try:
        value = float(weight)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < 0.0:
        raise InvalidEndpointError(
            f"endpoint {owner!r}: weight must be finite and ≥ 0, not {weight!r}"
        )
    return value + 0.0  # -0.0 becomes 0.0


def _restore(fields: dict[str, Any]) -> Endpoint:
    return Endpoint(**fields)
