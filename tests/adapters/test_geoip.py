"""Geo look-ups: a database written here, read by the real reader, asked by ``Regions``."""

import struct
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from balancers import Endpoint, Regions, RoundRobin
from balancers.adapters.geoip import GeoLocator

maxminddb = pytest.importorskip("maxminddb")

PLACES = {
    "192.0.2.0/24": {
        "location": {"latitude": 50.1, "longitude": 8.7},
        "country": {"iso_code": "DE"},
    },
    "198.51.100.0/25": {"country": {"iso_code": "US"}},
    "198.51.100.128/25": {"registered_country": {"iso_code": "CA"}, "location": {}},
    "203.0.113.0/24": {"location": {"latitude": -23.5, "longitude": -46.6}},
}


class Node(int):
    """A number that is written as uint32."""


def packed(value: Any) -> bytes:
    """Return a value in the MaxMind DB data format: text, maps, numbers."""

    def head(kind: int, size: int) -> bytes:
        extended = bytes([kind - 7]) if kind > 7 else b""
        kind_bits = 0 if kind > 7 else kind
        assert size < 285
        if size < 29:
            return bytes([kind_bits << 5 | size]) + extended
        return bytes([kind_bits << 5 | 29]) + extended + bytes([size - 29])

    if isinstance(value, str):
        return head(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return head(3, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        data = value.to_bytes(8, "big").lstrip(b"\0")
        kind = 6 if isinstance(value, Node) else 5 if value < 1 << 16 else 9  # else uint16, uint64
        return head(kind, len(data)) + data
    if isinstance(value, dict):
        return head(7, len(value)) + b"".join(packed(k) + packed(v) for k, v in value.items())
    assert value == []
    return head(11, 0)


def database(path: Path) -> Path:
    """Write a database of IPv4 networks, records of 24 bits."""
    nodes: list[list[int | None]] = [[None, None]]
    data = b""
    leaves: list[tuple[int, int, int]] = []
    for network, record in PLACES.items():
        net = ip_network(network)
        bits = f"{int(net.network_address):032b}"[: net.prefixlen]
        node = 0
        for bit in bits[:-1]:
            follow = nodes[node][int(bit)]
            if follow is None:
                nodes.append([None, None])
                follow = nodes[node][int(bit)] = len(nodes) - 1
            node = follow
        leaves.append((node, int(bits[-1]), len(data)))
        data += packed(record)
    count = len(nodes)
    for node, side, offset in leaves:
        nodes[node][side] = count + 16 + offset
    tree = b"".join(
        (count if record is None else record).to_bytes(3, "big")
        for node in nodes
        for record in node
    )
    metadata = {
        "node_count": Node(count),
        "record_size": 24,
        "ip_version": 4,
        "database_type": "Test",
        "languages": [],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "description": {"en": "test"},
    }
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + packed(metadata))
    return path


@pytest.fixture(scope="module")
def mmdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file."""
    return database(tmp_path_factory.mktemp("geo") / "test.mmdb")


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("192.0.2.7", (50.1, 8.7)),
        (b"192.0.2.7", (50.1, 8.7)),
        ("192.0.2.0/24", (50.1, 8.7)),
        ("203.0.113.200/30", (-23.5, -46.6)),
        ("198.51.100.1", None),
        ("198.51.100.200", None),
        ("8.8.8.8", None),
        ("not an address", None),
        (int(ip_address("192.0.2.7")), None),
    ],
)
def test_locations(mmdb: Path, key: Any, where: Any):
    """Coordinates of addresses and subnets; None for whatever is not known."""
    with GeoLocator(mmdb) as locate:
        assert locate(key) == where


@pytest.mark.parametrize(
    ("key", "code"),
    [("192.0.2.7", "DE"), ("198.51.100.1", "US"), ("198.51.100.200", "CA"), ("203.0.113.1", None)],
)
def test_countries(mmdb: Path, key: str, code: str | None):
    """The country, or the one a network is registered in."""
    with GeoLocator(str(mmdb), by="country") as locate:
        assert locate(key) == code


def test_regions_by_address(mmdb: Path):
    """Clients go to the region nearest to their address, and a DNS answer follows."""
    where = {"eu": (50.0, 8.0), "us": (39.0, -77.0), "sa": (-23.0, -46.0)}
    members = [Endpoint(f"{region}1", region=region) for region in where]
    with GeoLocator(mmdb) as locate:
        balancer = Regions(members, policy=RoundRobin, locate=locate, coordinates=where)
        with balancer.pick("192.0.2.7") as pick:
            assert pick.endpoint.id == "eu1"
        assert balancer.answer("203.0.113.0/24").regions == ("sa", "us", "eu")
    codes = GeoLocator(mmdb, by="country")
    balancer = Regions(members, policy=RoundRobin, locate=codes, places={"DE": "eu", "US": "us"})
    with balancer.pick("198.51.100.1") as pick:
        assert pick.endpoint.id == "us1"
    codes.close()


def test_errors(tmp_path: Path, mmdb: Path):
    """A file that is not there, and an answer that is not offered."""
    with pytest.raises(OSError, match="missing"):
        GeoLocator(tmp_path / "missing.mmdb")
    with pytest.raises(ValueError, match="by is"):
        GeoLocator(mmdb, by="city")  # type: ignore[arg-type]
