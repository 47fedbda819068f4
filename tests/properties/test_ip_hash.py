"""IPHash: client addresses in every form, cut to a prefix."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from balancers import IPHash


def owners(balancer, addresses):
    """Return who gets each address."""
    return {address: balancer.explain(address).chosen.id for address in addresses}


def test_ip_hash_takes_addresses_in_every_form():
    """Text, bytes, objects and the IPv4-mapped form of one address are one key."""
    balancer = IPHash([f"e{i}" for i in range(50)])
    forms = ["10.1.2.3", b"10.1.2.3", ip_address("10.1.2.3"), "::ffff:10.1.2.3", "::ffff:a01:203"]

    assert len({next(iter(owners(balancer, [form]).values())) for form in forms}) == 1


def test_ip_hash_sees_the_prefix_alone():
    """Addresses of one prefix stay together, others spread."""
    balancer = IPHash([f"e{i}" for i in range(50)], ipv4_prefix=24, ipv6_prefix=48)

    assert len(set(owners(balancer, [f"10.1.2.{i}" for i in range(256)]).values())) == 1
    assert len(set(owners(balancer, [f"10.1.{i}.2" for i in range(256)]).values())) > 25
    assert len(set(owners(balancer, [f"2001:db8:1:{i:x}::1" for i in range(99)]).values())) == 1
    assert len(set(owners(balancer, [f"2001:db8:{i:x}::1" for i in range(99)]).values())) > 25


@pytest.mark.parametrize(
    ("key", "error"),
    [(5, TypeError), (True, TypeError), ("10.0.0", ValueError), (b"\xff", ValueError)],
)
def test_ip_hash_refuses_what_is_no_address(key, error):
    """An int or other text is an error at once."""
    with pytest.raises(error):
        IPHash(["a"]).pick(key)
