"""Placements of other systems against values those systems' own tests publish."""

from __future__ import annotations

from itertools import islice

import pytest
from golden.ketama_vectors import KEYS, POSITIONS, SPY, WEIGHTED

from balancers.errors import InvalidEndpointError
from balancers.structures.placement import (
    EnvoyMaglev,
    EnvoyRing,
    GrpcRing,
    HaproxyRing,
    KetamaRing,
    NginxRing,
)
from balancers.structures.placement.digests import (
    avalanche,
    crc32,
    djb2,
    sdbm,
    xxh64,
)

BYTES = bytes(range(256))


# -- hash functions ----------------------------------------------------------------------------


def test_haproxy_hash_functions():
    """The hashes of bytes 0 to 255, plain and avalanched, are those of HAProxy's hashes.vtc."""
    assert [f(BYTES) for f in (crc32, djb2, sdbm)] == [688229491, 2589693061, 905707648]
    assert [avalanche(f(BYTES)) for f in (crc32, djb2, sdbm)] == [
        4230317029,
        600622701,
        3103804144,
    ]


def test_xxh64():
    """XXH64 gives HAProxy's values for bytes 0 to 255 and gRPC's for a short key."""
    assert xxh64(BYTES) == 2282408585429094475
    assert xxh64(BYTES, 1) == -4689339368900765961 % 2**64
    assert xxh64(b"a_0") == 7866922100246443948
    assert xxh64(b"") == 0xEF46DB3751D8E999


def test_xxh64_agrees_with_the_reference():
    """XXH64 equals the C library's for every length from 0 to 300 and several seeds."""
    xxhash = pytest.importorskip("xxhash", reason="the reference XXH64 is not installed")
    for seed in (0, 1, 2**64 - 1):
        for size in range(301):
            data = BYTES * 2
            assert xxh64(data[:size], seed) == xxhash.xxh64_intdigest(data[:size], seed)


# -- Envoy -------------------------------------------------------------------------------------

HOSTS = [f"127.0.0.1:{port}" for port in range(90, 96)]
RING_12 = [
    (94, 833437586790550860),
    (92, 928266305478181108),
    (90, 1033482794131418490),
    (95, 3551244743356806947),
    (93, 3851675632748031481),
    (91, 5583722120771150861),
    (91, 6311230543546372928),
    (93, 7700377290971790572),
    (95, 13144177310400110813),
    (92, 13444792449719432967),
    (94, 15516499411664133160),
    (90, 16117243373044804889),
]


def test_envoy_ring():
    """Six equal hosts and a ring of 12 give the published points."""
    ring = EnvoyRing(HOSTS, min_size=12)
    assert [(int(id_[-2:]), point) for point, id_ in ring.points()] == RING_12


@pytest.mark.parametrize(
    ("position", "port"),
    [
        (0, 94),
        (2**64 - 1, 94),
        (3551244743356806947, 95),
        (3551244743356806948, 93),
        (16117243373044804880, 90),
    ],
)
def test_envoy_lookup(position: int, port: int):
    """Given hashes go to the published hosts, across the end of the ring too."""
    assert EnvoyRing(HOSTS, min_size=12).at(position) == f"127.0.0.1:{port}"


def test_envoy_hostnames():
    """Hosts named by hostname give the published first and last points."""
    points = list(EnvoyRing([str(port) for port in range(90, 96)], min_size=12).points())
    assert points[:3] == [
        (1975508444536362413, "95"),
        (2376063919839173711, "95"),
        (2386806903309390596, "93"),
    ]
    assert points[-1] == (15364271037087512980, "94")


def test_envoy_weights():
    """Weights 1, 2, 3 on a ring of 6 give the published points."""
    ring = EnvoyRing({HOSTS[0]: 1, HOSTS[1]: 2, HOSTS[2]: 3}, min_size=6)
    assert list(ring.points()) == [
        (928266305478181108, HOSTS[2]),
        (4443673547860492590, HOSTS[2]),
        (5583722120771150861, HOSTS[1]),
        (6311230543546372928, HOSTS[1]),
        (13444792449719432967, HOSTS[2]),
        (16117243373044804889, HOSTS[0]),
    ]


MURMUR_12 = [
    (85, 1358027074129602068),
    (83, 4361834613929391114),
    (84, 7224494972555149682),
    (81, 7701421856454313576),
    (82, 8649315368077433379),
    (84, 8739448859063030639),
    (81, 9887544217113020895),
    (82, 10150910876324007731),
    (83, 15168472011420622455),
    (80, 15427156902705414897),
    (85, 16375050414328759093),
    (80, 17613279263364193813),
]


def test_envoy_murmur2():
    """The published ring of MURMUR_HASH_2."""
    hosts = [f"127.0.0.1:{port}" for port in range(80, 86)]
    ring = EnvoyRing(hosts, min_size=12, point_hash="murmur2")
    assert [(int(id_[-2:]), point) for point, id_ in ring.points()] == MURMUR_12


def test_envoy_default_sizes():
    """At Envoy's defaults 1000 hosts get two points each: ⌈1024 / 1000⌉."""
    ring = EnvoyRing([f"10.0.{i // 256}.{i % 256}:8080" for i in range(1000)])
    assert len(list(ring.points())) == 2000


def test_grpc_orders_by_key():
    """The ring of gRPC does not depend on the order given; Envoy's does where points are short."""
    weights = dict(zip(HOSTS, (3, 2, 4, 2, 5, 9), strict=True))
    backwards = dict(reversed(weights.items()))
    points = list(GrpcRing(weights, min_size=40, max_size=40).points())
    assert points == list(GrpcRing(backwards, min_size=40, max_size=40).points())
    assert points == list(EnvoyRing(weights, min_size=40, max_size=40).points())
    assert points != list(EnvoyRing(backwards, min_size=40, max_size=40).points())


def test_grpc_starves_loudly():
    """Above gRPC's cap of 4096 points some endpoints would get none: that raises, by name."""
    with pytest.raises(InvalidEndpointError, match="gets no point on the grpc ring"):
        GrpcRing([f"10.0.{i // 256}.{i % 256}:80" for i in range(4097)], max_size=4096)


# -- Envoy's Maglev ------------------------------------------------------------------------------


def entries(table: EnvoyMaglev) -> str:
    """Return the last digits of the owners of all entries."""
    return " ".join(table.at(position)[-1] for position in range(table.size))


def test_envoy_maglev():
    """The published tables of 7 and 17 entries, by address and by hostname, with weights."""
    assert entries(EnvoyMaglev(HOSTS, size=7)) == "2 4 0 1 5 0 3"
    names = [str(port) for port in range(90, 96)]
    assert entries(EnvoyMaglev(names, size=7)) == "2 5 0 3 4 1 0"
    two = entries(EnvoyMaglev({HOSTS[0]: 1, HOSTS[1]: 2}, size=17))
    assert two == "1 0 0 1 0 1 1 0 1 1 1 1 1 0 1 0 1"
    shares = entries(EnvoyMaglev({HOSTS[0]: 8, HOSTS[1]: 2}, size=17))
    assert shares == "1 0 0 0 0 0 1 0 0 1 0 1 0 0 0 0 0"


def test_envoy_maglev_retries():
    """Hash 10 in the table of 7: the published owner, first and second retry."""
    table = EnvoyMaglev(HOSTS, size=7)
    assert [table.at(10, attempt)[-2:] for attempt in range(3)] == ["91", "90", "95"]


# -- nginx ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "port"),
    [
        ("/some/path", 7778),
        ("/some/longer/path", 7777),
        ("/sad/zaidoon", 7778),
        ("/g", 7777),
        ("/pingora/team/is/cool/and/this/is/a/long/uri", 7778),
        ("/i/am/not/confident/in/this/code", 7777),
    ],
)
def test_nginx_two_servers(key: str, port: int):
    """Six URIs over two servers, as Pingora's tests have them from nginx."""
    assert NginxRing(["127.0.0.1:7777", "127.0.0.1:7778"]).owner(key) == f"127.0.0.1:{port}"


def test_nginx_ten_servers():
    """Two keys over ten servers."""
    ring = NginxRing([f"127.0.0.{i}:6443" for i in range(1, 11)])
    assert [ring.owner("a"), ring.owner("b")] == ["127.0.0.10:6443", "127.0.0.5:6443"]


def test_nginx_walk():
    """The points after "doghash", one by one, and the walk that skips those met before."""
    ring = NginxRing([f"127.0.0.1:{port}" for port in (7777, 7778, 7779)])
    position = crc32(b"doghash")
    after = (id_[-4:] for point, id_ in ring.points() if point >= position)
    assert list(islice(after, 8)) == [
        "7778", "7779", "7779", "7777", "7777", "7778", "7778", "7779",
    ]  # fmt: skip
    assert [id_[-4:] for id_ in ring.walk("doghash")] == ["7778", "7779", "7777"]


def test_nginx_weighted():
    """Nine servers of weight 100: 144 000 points, none equal, and nginx's own first rows."""
    ring = NginxRing({f"10.0.0.{i}:443": 100 for i in range(1, 10)})
    points = [point for point, _ in ring.points()]
    assert len(set(points)) == len(points) == 144_000
    rows = {
        "/81fa1d251d605775d647b5b55565e71526d4cef6": 7,
        "/2fec328e6ccdda6a7edf329f9f780e546ea183b4": 5,
        "/19fb835d90883a6263ec4279c6da184e3f1a79b2": 4,
    }
    assert [ring.owner(key) for key in rows] == [f"10.0.0.{i}:443" for i in rows.values()]


@pytest.mark.parametrize(
    ("server", "hashed"),
    [
        ("a.example:80", b"a.example\x0080"),
        ("a.example", b"a.example\x00"),
        ("a.example:", b"a.example\x00"),
        ("[::1]:80", b"[::1]\x0080"),
        ("[::1]", b"[::1]\x00"),
        ("unix:/run/a:80", b"/run/a:80\x00"),
        ("UNIX:/run/a", b"/run/a\x00"),
        ("8080", b"8080\x00"),
    ],
)
def test_nginx_server_text(server: str, hashed: bytes):
    """A server's text is split at the last colon if only digits follow."""
    from balancers.structures.placement.nginx import server_bytes

    assert server_bytes(server) == hashed


# -- ketama --------------------------------------------------------------------------------------

SERVERS = dict(
    zip(
        (f"10.0.1.{i}:11211" for i in range(1, 9)),
        (600, 300, 200, 350, 1000, 800, 950, 100),
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("spy", "digits"), [(False, WEIGHTED), (True, SPY)], ids=["libmemcached", "spymemcached"]
)
def test_ketama(spy: bool, digits: str):
    """The 99 keys of libmemcached go to the servers that its tests expect."""
    ring = KetamaRing(SERVERS, spy=spy)
    assert len(KEYS) == len(digits) == 99
    assert [ring.owner(key) for key in KEYS] == [f"10.0.1.{digit}:11211" for digit in digits]


def test_ketama_positions():
    """Keys stand where they should; one past the last point goes to the first point's server."""
    ring = KetamaRing(SERVERS)
    assert {key: ring._hash(key.encode()) for key in POSITIONS} == POSITIONS
    points = list(ring.points())
    assert POSITIONS["VDEAAAAA"] > points[-1][0]
    assert ring.owner("VDEAAAAA") == points[0][1]


@pytest.mark.parametrize(("servers", "groups"), [(24, 40), (25, 39), (100, 39), (101, 40)])
def test_ketama_counts_in_single_precision(servers: int, groups: int):
    """Equal servers have 40 groups of four points, or 39 where single precision falls short."""
    ring = KetamaRing([f"10.0.1.{i}:1" for i in range(servers)])
    assert len(list(ring.points())) == servers * groups * 4


def test_ketama_default_port():
    """A server on port 11211 is one server with or without the port, except in its id."""
    with_port, without = KetamaRing(["a:11211", "b:11212"]), KetamaRing(["a", "b:11212"])
    assert list(with_port._points) == list(without._points)


def test_ketama_starves_loudly():
    """Weights 1 and 1000 leave the light server without a point: that raises, by name."""
    with pytest.raises(InvalidEndpointError, match=r"'a:1' of weight 1\.0 gets no point"):
        KetamaRing({"a:1": 1, "b:1": 1000})


# -- HAProxy (its placement has no published vectors; see test_live_proxies) ---------------------


def test_haproxy_nodes():
    """Server 1 of weight 1 has the sixteen nodes avalanche(4096 + i)."""
    ring = HaproxyRing({"1": 1})
    assert sorted(ring._nodes) == sorted(avalanche(4096 + i) for i in range(16))


def test_haproxy_ties_go_to_the_node_before(monkeypatch: pytest.MonkeyPatch):
    """Halfway between two nodes the one before wins, by the arcs and by the walk alike."""
    monkeypatch.setattr(HaproxyRing, "_hash", lambda self, data: int(data))
    ring = HaproxyRing({"1": 1, "2": 1, "3": 2})
    nodes, owners = list(ring._nodes), list(ring._node_owners)
    for at, (node, owner) in enumerate(zip(nodes, owners, strict=True)):
        gap = (nodes[(at + 1) % len(nodes)] - node) % ring.size
        for ahead in range(gap // 2 - 1, gap // 2 + 2):
            key = str((node + ahead) % ring.size)
            nearest = owner if ahead <= gap - ahead else owners[(at + 1) % len(nodes)]
            assert ring.locate(key) == next(ring.walk_indices(key)) == nearest


@pytest.mark.parametrize("id_", ["0", "-1", "a", "", "1.5", "2147483648", "٣"])
def test_haproxy_ids(id_: str):
    """An id that is no HAProxy server id raises and is named."""
    with pytest.raises(InvalidEndpointError, match="is no HAProxy server id"):
        HaproxyRing([id_])


def test_haproxy_one_server_twice():
    """Two spellings of one server id raise."""
    with pytest.raises(InvalidEndpointError, match="'1' and '01' are one HAProxy server id"):
        HaproxyRing(["1", "01"])


# -- all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [NginxRing, KetamaRing, EnvoyRing, GrpcRing, EnvoyMaglev])
def test_fractional_weights_raise(kind: type):
    """A weight the real system would not take raises and is named."""
    with pytest.raises(InvalidEndpointError, match=r"the weight of 'b:1' is 1\.5"):
        kind({"a:1": 1, "b:1": 1.5})


def test_haproxy_weights_raise():
    """HAProxy takes whole weights up to 256."""
    for weight in (0.5, 257):
        with pytest.raises(InvalidEndpointError, match="HAProxy takes whole numbers up to 256"):
            HaproxyRing({"1": weight})
