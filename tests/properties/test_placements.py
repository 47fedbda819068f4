"""``placement=``: hash policies that place keys as another system does."""

from __future__ import annotations

import pytest

from balancers import Endpoint, InvalidEndpointError, Maglev, RingHash
from balancers.structures.placement import (
    EnvoyMaglev,
    EnvoyRing,
    GrpcRing,
    HaproxyRing,
    KetamaRing,
    NginxRing,
)

SERVERS = {"10.0.0.1:80": 1, "10.0.0.2:80": 3, "10.0.0.3:80": 2}
NUMBERED = {"1": 1, "2": 3, "3": 2}
KEYS = [f"/page/{i}" for i in range(300)]
CASES = [
    (RingHash, {"placement": "nginx"}, NginxRing(SERVERS)),
    (RingHash, {"placement": "ketama"}, KetamaRing(SERVERS)),
    (RingHash, {"placement": "envoy"}, EnvoyRing(SERVERS)),
    (
        RingHash,
        {"placement": "envoy", "key_hash": "murmur2", "ring_size": (64, 128)},
        EnvoyRing(SERVERS, min_size=64, max_size=128, point_hash="murmur2"),
    ),
    (
        RingHash,
        {"placement": "grpc", "ring_size": (64, 128)},
        GrpcRing(SERVERS, min_size=64, max_size=128),
    ),
    (RingHash, {"placement": "haproxy"}, HaproxyRing(NUMBERED)),
    (
        RingHash,
        {"placement": "haproxy", "key_hash": "djb2"},
        HaproxyRing(NUMBERED, key_hash="djb2"),
    ),
    (Maglev, {"placement": "envoy", "table_size": 251}, EnvoyMaglev(SERVERS, size=251)),
]


@pytest.mark.parametrize(("policy", "options", "structure"), CASES)
def test_a_policy_places_as_its_structure(policy, options, structure):
    """Owner and second choice of every key are the structure's own, by hash_key."""
    members = [Endpoint(f"id of {k}", hash_key=k, weight=w) for k, w in structure.weights.items()]
    balancer = policy(members, **options)
    for key in KEYS:
        first, second, *_ = (f"id of {name}" for name in structure.successors(key, 3))
        with balancer.pick(key) as pick:
            assert pick.endpoint.id == first
        with balancer.pick(key, exclude={first}) as pick:
            assert pick.endpoint.id == second


def test_an_update_lays_the_ring_anew():
    """After an update the placement is that of the new members, order included."""
    balancer = RingHash(list(SERVERS), placement="ketama")
    now = ["10.0.0.9:80", "10.0.0.1:80"]

    balancer.update(now)

    owners = KetamaRing(now)
    assert all(balancer.explain(key).chosen.id == owners.owner(key) for key in KEYS)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"placement": "nginx", "vnodes": 100}, "vnodes"),
        ({"placement": "nginx", "seed": 1}, "seed"),
        ({"placement": "nginx", "capacity": 5}, "capacity"),
        ({"placement": "nginx", "resize": True}, "resize"),
        ({"placement": "nginx", "key_hash": "crc32"}, "key_hash"),
        ({"placement": "envoy", "key_hash": "sdbm"}, "key_hash"),
        ({"placement": "haproxy", "ring_size": (1, 2)}, "ring_size"),
        ({"placement": "envoy", "ring_size": (9, 2)}, "ring sizes"),
        ({"placement": "apache"}, "placement"),
        ({"key_hash": "sdbm"}, "key_hash"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, match):
    """An option that the placement has no use for raises and names itself."""
    with pytest.raises(ValueError, match=match):
        RingHash(["10.0.0.1:80"], **options)


@pytest.mark.parametrize(
    ("options", "members"),
    [
        ({"placement": "nginx"}, [Endpoint("a:1", weight=0.5)]),
        ({"placement": "haproxy"}, ["not-a-number"]),
        ({"placement": "nginx"}, [Endpoint("a:1", weight=70_000)]),
    ],
)
def test_members_the_system_would_not_take_are_refused(options, members):
    """Fractional or too large weights, and ids of the wrong form, raise at once."""
    with pytest.raises(InvalidEndpointError):
        RingHash(members, **options)


def test_a_bound_on_imbalance_raises_and_changes_nothing():
    """An update past max_imbalance raises with the figures; with resize the ring grows instead."""
    few = [f"e{i}" for i in range(4)]
    many = [f"e{i}" for i in range(400)]
    strict = RingHash(few, vnodes=100, max_imbalance=1.2)
    supple = RingHash(few, vnodes=100, max_imbalance=1.2, resize=True)

    with pytest.raises(InvalidEndpointError, match=r"1\.\d+ times .* 100 points .* 1\.2"):
        strict.update(many)
    supple.update(many)

    assert len(strict.endpoints) == 4
    details = supple.snapshot().details
    assert details["vnodes"] > 100
    assert 0.9 < details["moved"] <= 1.0  # nearly everybody is new
    assert max(supple.shares().values()) * 400 <= 1.2


def test_auto_finds_the_points_once_and_keeps_them():
    """vnodes="auto" sizes the ring for its capacity; updates within it keep the number."""
    balancer = RingHash([f"e{i}" for i in range(20)], vnodes="auto", capacity=50)
    points = balancer.snapshot().details["vnodes"]

    balancer.update([f"e{i}" for i in range(50)])

    assert balancer.snapshot().details["vnodes"] == points
    assert max(balancer.shares().values()) * 50 <= 1.25
