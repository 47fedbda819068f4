"""``Atlas``: which regions a place prefers, and which it may never leave."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from balancers.compose.geo import Coordinates, Place, Residency, checked_coordinates, distance

__all__ = ["Atlas"]

Region = str | None


class Atlas:
    """Orders regions by nearness to a place.

    A place may be a region's own name, a name in ``places``, or coordinates. Where nearness is
    not known regions follow by name, so that every process has the same order.

    Args:
        places: Place → its region, or its regions the nearest first.
        coordinates: Region → where it is.
        residency: Place → the regions its requests must never leave; under None for places
            that are not named.
    """

    def __init__(
        self,
        places: Mapping[str, str | Sequence[str]] | None,
        coordinates: Mapping[str, Coordinates] | None,
        residency: Residency | None,
    ) -> None:
        self._places: dict[str, tuple[str, ...]] = {}
        for place, regions in _items("places", places):
            found = (regions,) if isinstance(regions, str) else tuple(regions)
            if not found or not all(isinstance(region, str) for region in found):
                raise TypeError(f"places: {place!r} needs a region or several, not {regions!r}")
            self._places[place] = found
        self._coordinates: dict[str, Coordinates] = {
            region: checked_coordinates(f"coordinates of {region!r}", where)
            for region, where in _items("coordinates", coordinates)
        }
        self._residency: dict[Any, frozenset[str]] = {}
        for place, regions in _items("residency", residency):
            if isinstance(regions, str):
                raise TypeError(f"residency: {place!r} needs a collection, not {regions!r}")
            self._residency[place] = frozenset(regions)

    def allowed(self, place: Place) -> Collection[str] | None:
        """Return the regions that requests of a place may go to; None: any. O(1)."""
        if not self._residency:
            return None
        name = None if isinstance(place, tuple) else place
        return self._residency.get(name, self._residency.get(None))

    def order(self, place: Place, regions: Iterable[Region]) -> list[Region] | None:
        """Return the regions by nearness, without those not allowed.

        None where nothing is known of the place: then no region comes first.

        Raises:
            TypeError: If it is no place.
            ValueError: If it is out of range.

        Runtime complexity: O(r log r).
        """
        known = [region for region in regions if self.permits(place, region)]
        first, centre = self._anchor(place, known)
        if not first and centre is None:
            return None
        ranks = {region: rank for rank, region in enumerate(first)}

        def nearness(region: Region) -> tuple[Any, ...]:
            where = None if region is None else self._coordinates.get(region)
            far = where is None or centre is None
            away = 0.0 if where is None or centre is None else distance(centre, where)
            return ranks.get(region or "", len(ranks)), far, away, region is None, region or ""

        return sorted(known, key=nearness)

    def permits(self, place: Place, region: Region) -> bool:
        """Whether requests of a place may go to a region. O(1)."""
        allowed = self.allowed(place)
        return allowed is None or region in allowed

    def _anchor(
        self, place: Place, regions: Collection[Region]
    ) -> tuple[tuple[str, ...], Coordinates | None]:
        """Return the regions that come first, and the point others are measured from."""
        if place is None:
            return (), None
        if not isinstance(place, str):
            return (), checked_coordinates("a place", place)
        named = place in regions or place in self._coordinates
        first = self._places.get(place, (place,) if named else ())
        return first, self._coordinates.get(first[0]) if first else None


def _items(name: str, given: Mapping[Any, Any] | None) -> Iterable[tuple[Any, Any]]:
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is a mapping or None, not {given!r}")
    return given.items()
