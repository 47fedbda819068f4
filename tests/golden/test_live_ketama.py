"""The ketama placement against libmemcached itself, where its library is installed."""

from __future__ import annotations

import ctypes
import ctypes.util
from random import Random

import pytest

from balancers.structures.placement import KetamaRing

KETAMA_WEIGHTED = 16  # MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED

RNG = Random(1)
CLUSTERS = {
    "the published one": {
        f"10.0.1.{i}:11211": weight
        for i, weight in enumerate((600, 300, 200, 350, 1000, 800, 950, 100), 1)
    },
    "25 equal": {f"10.0.1.{i}:{11211 + i % 2}": 1 for i in range(25)},
    "100 equal": {f"10.0.1.{i}:{11211 + i % 2}": 1 for i in range(100)},
    **{
        f"{n} of random weight": {f"h{i}:{1000 + i}": RNG.randrange(1, 30) for i in range(n)}
        for n in (3, 7, 50)
    },
}


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    """Load libmemcached."""
    name = ctypes.util.find_library("memcached")
    if name is None:
        pytest.skip("libmemcached is not installed: ketama is not checked against the real one")
    loaded = ctypes.CDLL(name)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    loaded.memcached_create.restype = pointer
    loaded.memcached_create.argtypes = [pointer]
    loaded.memcached_free.argtypes = [pointer]
    loaded.memcached_behavior_set.argtypes = [pointer, ctypes.c_int, ctypes.c_uint64]
    loaded.memcached_server_add_with_weight.argtypes = [
        pointer, text, ctypes.c_uint16, ctypes.c_uint32,
    ]  # fmt: skip
    loaded.memcached_generate_hash.argtypes = [pointer, text, ctypes.c_size_t]
    loaded.memcached_generate_hash.restype = ctypes.c_uint32
    return loaded


@pytest.mark.parametrize("servers", CLUSTERS.values(), ids=CLUSTERS)
def test_ketama(library: ctypes.CDLL, servers: dict[str, int]):
    """A thousand keys go where libmemcached sends them."""
    client = library.memcached_create(None)
    try:
        assert library.memcached_behavior_set(client, KETAMA_WEIGHTED, 1) == 0
        for server, weight in servers.items():
            host, _, port = server.partition(":")
            added = library.memcached_server_add_with_weight(
                client, host.encode(), int(port), weight
            )
            assert added == 0
        keys = [f"clé:{i}".encode() for i in range(1000)]
        found = [library.memcached_generate_hash(client, key, len(key)) for key in keys]
    finally:
        library.memcached_free(client)
    ring = KetamaRing(servers)
    assert [ring.locate(key) for key in keys] == found
