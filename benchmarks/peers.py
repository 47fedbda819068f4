"""The keyed balancers a Python user may pick today, each reduced to one call; none is required."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["PEERS", "Peer", "installed"]

Lookup = Callable[[str], Any]


class Peer(NamedTuple):
    """A package and what it does.

    Attributes:
        name: As the table shows it.
        family: ``ring``, ``rendezvous`` or ``jump``: what it is compared with.
        modules: What must be importable.
        build: From ids to the thing built; None where it cannot be built apart.
        lookup: From the thing built, and the ids, to the call that places a text key.
        add: Adds one id to the thing built, in place, or returns what replaces it.
        remove: Removes one id.
        pure: Whether all of it is Python (its hash functions aside).
    """

    name: str
    family: str
    modules: tuple[str, ...]
    build: Callable[[Sequence[str]], Any]
    lookup: Callable[[Any, Sequence[str]], Lookup]
    add: Callable[[Any, str], Any] | None = None
    remove: Callable[[Any, str], Any] | None = None
    pure: bool = True


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _uhashring(ids: Sequence[str]) -> Any:
    return _class("uhashring.HashRing")(nodes=list(ids))


def _uhashring_fast(ids: Sequence[str]) -> Any:
    xxh3 = _class("xxhash.xxh3_64_intdigest")
    return _class("uhashring.HashRing")(nodes=list(ids), hash_fn=lambda key: xxh3(key.encode()))


def _tooz_lookup(ring: Any, ids: Sequence[str]) -> Lookup:
    return lambda key: ring.get_nodes(key.encode())


def _with_mmh3(ids: Sequence[str]) -> Any:
    mmh3 = import_module("mmh3")
    return _class("pymemcache.client.rendezvous.RendezvousHash")(
        list(ids), hash_function=lambda key, seed: mmh3.hash(key, seed, False)
    )


def _hrw_lookup(built: Any, ids: Sequence[str]) -> Lookup:
    sort = _class("hrw.sort")
    nodes = [id_.encode() for id_ in ids]
    return lambda key: sort(key.encode(), nodes)[0]


def _jump_lookup(function: str) -> Callable[[Any, Sequence[str]], Lookup]:
    def lookup(built: Any, ids: Sequence[str]) -> Lookup:
        place = _class(f"jump.{function}")
        xxh3 = _class("xxhash.xxh3_64_intdigest")
        nodes, n = list(ids), len(ids)
        return lambda key: nodes[place(xxh3(key.encode()), n)]

    return lookup


PEERS = (
    Peer("uhashring", "ring", ("uhashring",), _uhashring, lambda ring, ids: ring.get_node,
         lambda ring, id_: ring.add_node(id_), lambda ring, id_: ring.remove_node(id_)),
    Peer("uhashring + xxh3", "ring", ("uhashring", "xxhash"), _uhashring_fast,
         lambda ring, ids: ring.get_node),
    Peer("hashring", "ring", ("hashring",), lambda ids: _class("hashring.HashRing")(list(ids)),
         lambda ring, ids: ring.get_node),
    Peer("tooz (160 partitions)", "ring", ("tooz.hashring",),
         lambda ids: _class("tooz.hashring.HashRing")(ids, partitions=160), _tooz_lookup,
         lambda ring, id_: ring.add_node(id_), lambda ring, id_: ring.remove_node(id_)),
    Peer("clandestined (C murmur3)", "rendezvous", ("clandestined",),
         lambda ids: _class("clandestined.RendezvousHash")(nodes=list(ids)),
         lambda hrw, ids: hrw.find_node),
    Peer("pymemcache rendezvous", "rendezvous", ("pymemcache",),
         lambda ids: _class("pymemcache.client.rendezvous.RendezvousHash")(list(ids)),
         lambda hrw, ids: hrw.get_node),
    Peer("pymemcache + mmh3", "rendezvous", ("pymemcache",), _with_mmh3,
         lambda hrw, ids: hrw.get_node),
    Peer("hrw.sort", "rendezvous", ("hrw",), lambda ids: None, _hrw_lookup),
    Peer("jump, Python + xxh3", "jump", ("jump", "xxhash"), lambda ids: None,
         _jump_lookup("py_hash")),
    Peer("jump, C + xxh3", "jump", ("jump", "xxhash"), lambda ids: None, _jump_lookup("c_hash"),
         pure=False),
)  # fmt: skip


def installed() -> Iterator[Peer]:
    """Yield the peers whose packages are installed."""
    for peer in PEERS:
        try:
            for module in peer.modules:
                import_module(module)
        except ImportError:
            continue
        yield peer
