"""Policies that place by key, and the structures under them, as a type checker sees them."""

from typing import assert_type

from balancers import Balancer, Endpoint, IPHash, JumpHash, Maglev, Pick, PrefixAffinity, Rendezvous
from balancers.structures import HashRing, MaglevTable, Movement, RendezvousHash, jump_hash

members = [Endpoint("a", weight=2.0), Endpoint("b")]
by_key: list[Balancer] = [
    Maglev(members, table_size=257, load_factor=1.25, min_load=2, seed=7),
    Rendezvous(members, load_factor=None),
    JumpHash(["a", "b"], seed=1),
    IPHash(members, ipv4_prefix=24, ipv6_prefix=56),
    PrefixAffinity(members, candidates=2, memory=100),
]

router = PrefixAffinity(members, load_factor=1.5, block_size=4096)
blocks: list[int | bytes] = [b"id", 4]
assert_type(router.pick(blocks), Pick)
for prompt in ((1, 2, 3), "text", b"text", range(9), 7, None):
    assert_type(router.pick(prompt, exclude=["a"], cost=800.0), Pick)
assert_type(router.placed([1, 2]), list[str])

for ring in (HashRing(["a", "b"], vnodes=40), HashRing({"a": 1.0, "b": 0.5})):
    assert_type(ring.owner("user"), str)
    assert_type(ring.owners(["user", b"user", 3]), list[str])
    assert_type(ring.successors("user", 2), list[str])
    assert_type(ring.shares(), dict[str, float])
    assert_type(ring.moved(ring), Movement)

assert_type(MaglevTable(["a", "b"], size=257).owner(3), str)
assert_type(RendezvousHash({"a": 1, "b": 2}).owner(b"k"), str)
assert_type(jump_hash("user", 10), int)
