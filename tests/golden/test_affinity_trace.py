"""Affinity on real traffic: 10,000 requests of a web server, a fifth of them of sticky clients.

Every 500 requests one of twenty endpoints leaves and the one before it comes back. The numbers
are those of ``docs/explanation/composition.md``, which ``python -m benchmarks affinity`` prints.
"""

import pytest

from benchmarks.affinity import LOG, WAYS, Affinity, clients, replay

pytestmark = pytest.mark.skipif(not LOG.exists(), reason=f"no trace at {LOG}")

FIGURES = {
    "ring hash": Affinity(330, 2179, lost=10, returned=7, wandered=0, uneven=1.84, peak=19.2),
    "ring hash, load_factor 1.25": Affinity(
        330, 2179, lost=8, returned=553, wandered=353, uneven=1.2, peak=1.4
    ),
    "cookie": Affinity(330, 2179, lost=11, returned=0, wandered=0, uneven=1.56, peak=19.2),
    "table": Affinity(330, 2179, lost=11, returned=0, wandered=0, uneven=1.56, peak=19.2),
    "table, load_factor 1.25": Affinity(
        330, 2179, lost=12, returned=129, wandered=397, uneven=1.12, peak=1.8
    ),
}


@pytest.fixture(scope="module")
def log() -> list[str]:
    """The client address of each request."""
    return clients()


@pytest.mark.parametrize("way", WAYS)
def test_affinity_side_by_side(way: str, log: list[str]):
    """Who moves, who comes back, and how uneven it is, exactly."""
    assert replay(way, log) == FIGURES[way]


@pytest.mark.parametrize("way", ["cookie", "table"])
def test_no_session_moves_while_its_endpoint_lives(way: str, log: list[str]):
    """The only moves are those of sessions whose endpoint has gone."""
    seen = replay(way, log)

    assert seen.lost > 0
    assert (seen.returned, seen.wandered) == (0, 0)


def test_a_hash_moves_the_keys_of_the_lost_endpoint_and_moves_them_back(log: list[str]):
    """Pure hashing: only those sessions move, once when it leaves and once when it returns."""
    seen = replay("ring hash", log)

    assert seen.wandered == 0
    assert 0 < seen.returned <= seen.lost
