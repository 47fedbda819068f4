"""Places on the globe, and what a DNS tier answers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Coordinates", "GeoAnswer", "Place", "Residency", "checked_coordinates", "distance"]

Coordinates: TypeAlias = tuple[float, float]
"""Latitude −90..90 and longitude −180..180, in degrees."""

Place: TypeAlias = str | Coordinates | None
"""Where a client is: a region's or another place's name, coordinates, or unknown."""

Residency: TypeAlias = Mapping[Any, Collection[str]]
"""Place → the regions its requests must never leave."""

_EARTH = 6371.0088  # km, mean radius


@dataclass(frozen=True, slots=True)
class GeoAnswer:
    """What a DNS tier answers a client.

    Attributes:
        place: Where the client is taken to be.
        regions: Names of the regions to try, the best first.
        addresses: Their addresses, in the same order.
        ttl: For how many seconds the answer may be kept.
    """

    place: Place
    regions: tuple[str, ...]
    addresses: tuple[str, ...]
    ttl: float


def distance(here: Coordinates, there: Coordinates) -> float:
    """Return the great-circle distance in km, on a sphere: within 0.6 % of the true one.

    Runtime complexity: O(1).
    """
    a, b = math.radians(here[0]), math.radians(there[0])
    across = math.sin((b - a) / 2) ** 2
    along = math.sin(math.radians(there[1] - here[1]) / 2) ** 2
    return 2 * _EARTH * math.asin(math.sqrt(min(1.0, across + math.cos(a) * math.cos(b) * along)))


def checked_coordinates(name: str, value: object) -> Coordinates:
    """Return a latitude and a longitude as floats.

    Raises:
        TypeError: If it is no pair of numbers.
        ValueError: If one is out of range.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != 2:
        raise TypeError(f"{name} is a pair of latitude and longitude, not {value!r}")
    for degrees, bound in zip(value, (90, 180), strict=True):
        if isinstance(degrees, bool) or not isinstance(degrees, int | float):
            raise TypeError(f"{name} is a pair of numbers, not {value!r}")
        if not -bound <= degrees <= bound:
            raise ValueError(f"{name}: {degrees!r} is not within −{bound}..{bound} degrees")
    return float(value[0]), float(value[1])
