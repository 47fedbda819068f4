"""RendezvousHash against scores computed to 80 digits, and the law of its movements."""

from __future__ import annotations

from collections import Counter
from math import fsum

import pytest
from hash_models import hoeffding, member_ids, rendezvous_scores, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import keys

from balancers.structures import RendezvousHash
from balancers.structures import rendezvous as rendezvous_module
from balancers.structures import rendezvous_vector as vector_module
from balancers.structures.movement import rendezvous_flows

wild = st.dictionaries(
    member_ids,
    st.sampled_from([0.0, 1.0, 1.0, 1.0, 2.0, 0.1, 1e-300, 1e300, 1 + 2**-52]),
    max_size=8,
)
loose = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(1e-6, 1e6), max_size=8)
POPULATION = [f"key-{i}" for i in range(100)]


@given(wild, keys, st.sampled_from([0, 3]))
def test_placement(weights: dict[str, float], key, seed: int):
    """The members stand in order of their exact scores; the smallest owns the key."""
    structure = RendezvousHash(weights, seed)
    expected = [id_ for _, id_ in rendezvous_scores(weights, key, seed)]
    assert structure.successors(key, 99) == expected
    if expected:
        assert structure.owner(key) == structure.ids[structure.locate(key)] == expected[0]


@settings(max_examples=30)
@given(st.data())
def test_scores_too_near_to_trust(data):
    """With every score declared too near for floats, the exact comparison gives the same order."""
    weights = data.draw(st.one_of(whole(), loose))
    plain = RendezvousHash(weights)
    expected = [plain.successors(key, 99) for key in POPULATION[:20]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendezvous_module, "NEAR", 1e300)
        assert [plain.successors(key, 99) for key in POPULATION[:20]] == expected
        if any(weights.values()):
            assert [plain.owner(key) for key in POPULATION[:20]] == [e[0] for e in expected]


@pytest.mark.parametrize("near", [1e-12, 0.5], ids=["as it is", "nearly all too near"])
@settings(max_examples=25)
@given(
    st.lists(st.sampled_from([1.0, 1.0, 2.0, 1e-9, 0.3, 1e9]), min_size=1, max_size=60),
    st.booleans(),
)
def test_arrays_agree(near: float, weights: list[float], equal: bool):
    """With NumPy the owner is the same as without, for any weights."""
    pytest.importorskip("numpy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendezvous_module, "FEWEST", 1)
        patch.setattr(vector_module, "NEAR", near)
        members = {f"n{i}": 1.0 if equal else weight for i, weight in enumerate(weights)}
        quick = RendezvousHash(members)
        assert quick._vector is not None
    slow = RendezvousHash(members)
    assert slow._vector is None
    for key in POPULATION[:30]:
        assert quick.owner(key) == slow.owner(key)


def test_arrays_agree_at_a_thousand():
    """With NumPy a thousand members place as by 80 digits, equal and weighted."""
    pytest.importorskip("numpy")
    for weights in ({f"n{i}": 1 for i in range(1000)}, {f"n{i}": 1 + i / 7 for i in range(1000)}):
        structure = RendezvousHash(weights)
        assert structure._vector is not None
        for key in POPULATION[:2]:
            assert structure.owner(key) == rendezvous_scores(weights, key, 0)[0][1]


@given(whole(1), st.sampled_from("abcdef"), st.floats(0.1, 9), st.floats(1.1, 5))
def test_a_change_moves_only_what_it_must(
    weights: dict[str, int], id_: str, weight: float, factor: float
):
    """Keys move only to a newcomer, only from a leaver, and with a weight only its way."""
    without = {**{other: float(w) for other, w in weights.items() if other != id_}, "anchor": 2.0}
    lighter = RendezvousHash(without)
    middle = RendezvousHash({**without, id_: weight})
    heavier = RendezvousHash({**without, id_: weight * factor})
    for key in POPULATION:
        owner = middle.owner(key)
        if owner != id_:
            assert lighter.owner(key) == owner
        assert heavier.owner(key) in (owner, id_)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.1, 9)), unique_by=lambda m: m[0]))
def test_order_is_irrelevant(members: list[tuple[str, float]]):
    """The placement does not depend on the order in which the members are given."""
    one, other = RendezvousHash(dict(members)), RendezvousHash(dict(reversed(members)))
    assert one == other
    if members:
        assert one.owners(POPULATION) == other.owners(POPULATION)


@given(loose, loose)
def test_flows_add_up(before: dict[str, float], after: dict[str, float]):
    """What leaves and what stays is a member's share before; what comes and stays, after.

    A key stays with i with chance w_i / Σ_k max(w_k, w'_k · w_i / w'_i), computed apart.
    """
    if not before or not after:
        return
    flows = rendezvous_flows(before, after)
    assert all(part >= -1e-15 for part in flows.values())
    total, new_total = fsum(before.values()), fsum(after.values())
    members = {**before, **after}
    for i in members:
        w, v = before.get(i, 0.0), after.get(i, 0.0)
        stays = 0.0
        if w and v:
            rivals = (max(before.get(k, 0.0), after.get(k, 0.0) * w / v) for k in members)
            stays = w / fsum(rivals)
        leaves = fsum(part for (source, _), part in flows.items() if source == i)
        comes = fsum(part for (_, target), part in flows.items() if target == i)
        assert leaves + stays == pytest.approx(w / total, abs=1e-9)
        assert comes + stays == pytest.approx(v / new_total, abs=1e-9)


@given(loose.filter(bool), st.floats(1e-3, 1e3))
def test_scaling_moves_nothing(weights: dict[str, float], factor: float):
    """Multiplying all weights by one number moves no key."""
    scaled = {id_: weight * factor for id_, weight in weights.items()}
    assert RendezvousHash(weights).moved(RendezvousHash(scaled)).fraction <= 1e-12


def test_movement_and_shares_match_sampling():
    """40 000 keys move, and stay, as the closed form says; false alarm 1e-9."""
    before = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 3.0}
    after = {"a": 2.0, "b": 2.0, "c": 1.5, "e": 1.0, "d": 1.0}
    old, new = RendezvousHash(before), RendezvousHash(after)
    sample = [f"key-{i}" for i in range(40_000)]
    meets = Counter(zip(old.owners(sample), new.owners(sample), strict=True))
    movement = old.moved(new)
    bound = hoeffding(40_000, 30)
    for source in before:
        for target in after:
            if source != target:
                part = movement.table.get((source, target), 0.0)
                assert abs(meets[source, target] / 40_000 - part) <= bound
                if not part:
                    assert not meets[source, target]
    for id_, share in old.shares().items():
        found = sum(n for (source, _), n in meets.items() if source == id_)
        assert abs(found / 40_000 - share) <= bound


def test_moved_between_strangers():
    """All keys move if no member stays; nothing compares across seeds, classes or emptiness."""
    one = RendezvousHash(["a"])
    assert one.moved(RendezvousHash(["b"])).table == {("a", "b"): 1.0}
    with pytest.raises(ValueError, match="the seeds differ: 0 and 1"):
        one.moved(RendezvousHash(["a"], seed=1))
    with pytest.raises(TypeError, match="expected a RendezvousHash, got str"):
        one.moved("a")  # type: ignore[arg-type]
    with pytest.raises(LookupError, match="nobody owns a key"):
        one.moved(RendezvousHash([]))
