"""Where a client is, from its address: a MaxMind database as ``locate`` of ``Regions``.

The database is yours: none comes with the library. Any file in the MaxMind DB format will do
that has ``location`` or ``country`` in its records (GeoLite2 and GeoIP2 City have both). It is
read by the ``maxminddb`` package: ``pip install 'balancers[geoip]'``.

::

    balancer = Regions(endpoints, policy=PeakEwma, locate=GeoLocator("GeoLite2-City.mmdb"), …)
    balancer.pick("203.0.113.9")
"""

from __future__ import annotations

from ipaddress import ip_network
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from balancers import Key

__all__ = ["GeoLocator", "Reader"]


class Reader(Protocol):
    """What is needed of a database; ``maxminddb.Reader`` is one."""

    def get(self, ip_address: str, /) -> Any:
        """Return the record of an address, None if there is none."""

    def close(self) -> None:
        """Close the file."""


class GeoLocator:
    """Looks clients up; call it with an address, or with a subnet as DNS queries carry it.

    Args:
        database: Path of the file, or a reader that is open already.
        by: ``"location"`` answers (latitude, longitude), ``"country"`` the ISO code, in capitals.

    Raises:
        ImportError: If a path is given and ``maxminddb`` is not installed.
        OSError: If the file cannot be read.
        ValueError: If ``by`` is out of range.
    """

    def __init__(
        self,
        database: str | PathLike[str] | Reader,
        *,
        by: Literal["location", "country"] = "location",
    ) -> None:
        if by not in ("location", "country"):
            raise ValueError(f'by is "location" or "country", not {by!r}')
        self._by = by
        self._reader: Reader
        if isinstance(database, str | PathLike):
            try:
                import maxminddb
            except ModuleNotFoundError:
                raise ImportError(
                    "reading a MaxMind database needs maxminddb: pip install 'balancers[geoip]'"
                ) from None
            self._reader = maxminddb.open_database(database)
        else:
            self._reader = database

    def __call__(self, key: Key) -> str | tuple[float, float] | None:
        """Return where a client is; None if the key is no address, or the place is unknown.

        Runtime complexity: a look-up in the file, which is mapped to memory.
        """
        text = key.decode("ascii", "replace") if isinstance(key, bytes) else key
        if not isinstance(text, str):
            return None
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            return None
        record = self._reader.get(str(network.network_address))
        if not isinstance(record, dict):
            return None
        return _coordinates(record) if self._by == "location" else _country(record)

    def close(self) -> None:
        """Close the database."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _coordinates(record: dict[str, Any]) -> tuple[float, float] | None:
    location = record.get("location") or {}
    latitude, longitude = location.get("latitude"), location.get("longitude")
    if latitude is None or longitude is None:
        return None
    return float(latitude), float(longitude)


def _country(record: dict[str, Any]) -> str | None:
    for name in ("country", "registered_country"):
        code = (record.get(name) or {}).get("iso_code")
        if isinstance(code, str):
            return code
    return None
