"""Keys of an endpoint that health has taken out: where they go, the quick way and the long."""

from random import Random

import pytest
from health_models import registry_at
from hypothesis import given
from hypothesis import strategies as st

from balancers import Reason
from balancers.core.hashed import HashPolicy
from balancers.policies import Maglev, Rendezvous, RingHash

SIZE = 12
PLACED = [
    (RingHash, {}),
    (RingHash, {"placement": "envoy"}),
    (RingHash, {"placement": "haproxy"}),
    (Maglev, {"table_size": 251}),
    (Maglev, {"table_size": 251, "placement": "envoy"}),
    (Rendezvous, {}),
]


@pytest.mark.parametrize(("policy", "options"), PLACED, ids=str)
@given(out=st.sets(st.integers(0, SIZE - 1), max_size=SIZE - 1), key=st.text(max_size=3))
def test_first_able_is_the_first_of_the_walk(
    policy: type[HashPolicy], options: dict[str, object], out: set[int], key: str
) -> None:
    """``first_able`` answers what walking would; None only where nobody is able."""
    balancer = policy([str(i + 1) for i in range(SIZE)], **options)
    structure = balancer._view.state.structure
    able = [None if at in out else at for at in range(SIZE)]
    walked = next((at for at in structure.walk_indices(key) if at not in out), None)

    assert structure.first_able(key, able) == walked
    assert structure.first_able(key, [None] * SIZE) is None


@pytest.mark.parametrize(("policy", "options"), PLACED, ids=str)
def test_quick_fallback_is_the_long_ones(
    policy: type[HashPolicy], options: dict[str, object]
) -> None:
    """With endpoints out, a key goes where the long way sends it, and its lease settles alike."""
    registry, _ = registry_at()
    names = [str(i + 1) for i in range(SIZE)]
    balancer = policy(names, health=registry, rng=Random(1), **options)
    for name in names[:4]:
        for _ in range(2):
            registry.record_probe(name, ok=False)
    moved = 0
    for key in map(str, range(200)):
        assert balancer._chooser is not None
        with balancer.pick(key) as quick, balancer.pick(key, cost=2.0) as long:
            assert (quick.endpoint, quick.reason) == (long.endpoint, long.reason)
            assert quick.endpoint.id not in names[:4]
            moved += quick.reason is Reason.FALLBACK
            assert balancer._ledger.cells[quick.endpoint.id].in_flight == 2

    assert 20 < moved < 120
    assert all(cell.in_flight == 0 for cell in balancer._ledger.cells.values())
