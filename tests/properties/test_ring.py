"""HashRing against a ring written out in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import pytest
from hash_models import CIRCLE, arcs_of, hoeffding, ring_points, ring_walk, whole
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import keys

from balancers.errors import InvalidEndpointError
from balancers.hashing import hash128
from balancers.structures import HashRing, ring_patch
from balancers.structures import ring as ring_module
from balancers.structures.ring_size import overload_chance

vnodes_ = st.integers(1, 9)
seeds = st.sampled_from([0, 1, 2**32 - 1])
POPULATION = [f"key-{i}" for i in range(300)]


def owners(ring: HashRing) -> dict[str, str]:
    """Return the owner of each of a few hundred keys."""
    return {key: ring.owner(key) for key in POPULATION}


@given(whole(), vnodes_, seeds, keys)
@example({"a": 1}, 1, 0, "k")
def test_placement(weights: dict[str, int], vnodes: int, seed: int, key):
    """A key goes clockwise to the first point; its successors are the ids met next."""
    ring = HashRing(weights, vnodes, seed)
    ring._check()
    points = ring_points(weights, vnodes, seed)
    position = hash128(key, seed) >> 64
    expected = ring_walk(points, position) if points else []
    assert ring.successors(key, 99) == expected
    if points:
        assert ring.owner(key) == ring.ids[ring.locate(key)] == expected[0]
        assert ring.successors(key, 2) == expected[:2]


@settings(max_examples=40)
@given(whole(1), vnodes_, st.integers(0, CIRCLE - 1))
def test_every_position_around_a_point(weights: dict[str, int], vnodes: int, low: int):
    """The table agrees with the points just before, at and after each point, and at the ends."""
    if not weights:
        return
    ring = HashRing(weights, vnodes)
    points = ring_points(weights, vnodes, 0)
    around = {(point + step) % CIRCLE for point, _ in points for step in (-1, 0, 1)}
    for position in around | {0, CIRCLE - 1}:
        rank = ring._rank(position << 64 | low)
        assert ring.ids[ring._owners[rank]] == ring_walk(points, position)[0]
        code = ring._table[(position << 64) >> ring._shift]
        if code < ring._limit:
            assert ring.ids[code] == ring_walk(points, position)[0]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 3)), unique_by=lambda m: m[0]))
def test_order_is_irrelevant(members: list[tuple[str, int]]):
    """The ring of a membership does not depend on the order in which it is given."""
    ring, backwards = HashRing(dict(members), 5), HashRing(dict(reversed(members)), 5)
    assert ring == backwards
    assert ring.to_json() == backwards.to_json()
    if members:
        assert owners(ring) == owners(backwards)


@pytest.fixture(scope="module")
def always_patched() -> Iterator[None]:
    """Let every update edit the ring in use, however much changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring_module, "_PATCHED", 0)
        yield


@given(st.lists(whole(), min_size=2, max_size=6), vnodes_, seeds)
def test_updated_is_a_fresh_ring(
    always_patched: None, memberships: list[dict[str, int]], vnodes: int, seed: int
):
    """However a ring came to its members, it places as one built of them, and the old one stays."""
    ring = HashRing(memberships[0], vnodes, seed)
    for before, after in pairwise(memberships):
        changed = ring.updated(after)
        changed._check()
        ring._check()
        assert dict(ring.weights) == before
        fresh = HashRing(after, vnodes, seed)
        assert changed == fresh
        assert changed.arcs() == {id_: fresh.arcs()[id_] for id_ in changed.ids}
        for key in POPULATION[:20]:
            assert changed.successors(key, 9) == fresh.successors(key, 9)
        ring = changed


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 4)), max_size=12), seeds)
def test_updated_one_by_one(changes: list[tuple[int, int]], seed: int):
    """Many single changes, each within what is patched anyway, leave a sound ring."""
    weights = {f"n{i}": 1 for i in range(30)}
    ring = HashRing(weights, 40, seed)
    for member, weight in changes:
        weights = dict(weights)
        if weight:
            weights[f"n{member}"] = weight
        else:
            weights.pop(f"n{member}", None)
        ring = ring.updated(weights)
        ring._check()


@given(whole(1, 2), whole(1, 2), st.integers(2, 5))
def test_equal_points_go_to_the_smaller_id(
    always_patched: None, before: dict, after: dict, spread: int
):
    """Where points coincide the smaller id owns the arc, in built and in updated rings alike."""
    real = ring_module.points_of

    def crowded(id_: str, count: int, seed: int):
        points = real(id_, count, seed)
        for at, point in enumerate(points):
            points[at] = (point % spread) * (CIRCLE // spread)
        return points

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring_module, "points_of", crowded)
        patch.setattr(ring_patch, "points_of", crowded)
        ring = HashRing(before, 4)
        ring._check()
        ring = ring.updated(after)
        ring._check()
        assert ring.arcs() == {id_: HashRing(after, 4).arcs()[id_] for id_ in ring.ids}


def test_updated_outgrows_its_table(always_patched: None):
    """A ring whose points double one member at a time gets a new table when codes run out."""
    weights = {f"n{i:03}": 1 for i in range(160)}
    ring = HashRing(weights, 5)
    assert ring._table.typecode == "B"
    for id_ in list(weights):
        weights[id_] = 2
        ring = ring.updated(weights)
    ring._check()


@given(whole(1, 3), st.sampled_from("abcdef"), st.integers(1, 4))
def test_a_change_moves_only_what_it_must(weights: dict[str, int], id_: str, weight: int):
    """Keys move only to a newcomer, only from a leaver, and with a weight only its way."""
    weights = {**weights, "anchor": 2}
    without = {other: w for other, w in weights.items() if other != id_}
    lighter, heavier = HashRing(without, 8), HashRing({**without, id_: weight}, 8)
    for key, owner in owners(heavier).items():
        if owner != id_:
            assert lighter.owner(key) == owner
    more = owners(HashRing({**without, id_: weight + 2}, 8))
    for key, owner in owners(heavier).items():
        assert more[key] in (owner, id_)


@given(whole(), vnodes_)
def test_shares_are_the_arcs(weights: dict[str, int], vnodes: int):
    """Shares are the exact arc lengths; they sum to 1, and weight 0 owns nothing."""
    ring = HashRing(weights, vnodes)
    points = ring_points(weights, vnodes, 0)
    expected: Counter[str] = Counter()
    if points:
        for owner, _, length in arcs_of(points, points):
            expected[owner] += length
    assert ring.arcs() == {id_: expected[id_] for id_ in ring.ids}
    assert ring.shares() == {id_: float(Fraction(expected[id_], CIRCLE)) for id_ in ring.ids}
    assert sum(ring.arcs().values()) == (CIRCLE if points else 0)


@given(whole(), whole(), vnodes_)
def test_moved_is_exact(before: dict[str, int], after: dict[str, int], vnodes: int):
    """The movement is the length of the arcs whose owner differs, from whom to whom."""
    old, new = HashRing(before, vnodes), HashRing(after, vnodes)
    points = ring_points(before, vnodes, 0), ring_points(after, vnodes, 0)
    if not all(points):
        with pytest.raises(LookupError, match="owns no keys"):
            old.moved(new)
        return
    flows: Counter[tuple[str, str]] = Counter()
    for source, target, length in arcs_of(*points):
        flows[source, target] += length
    expected = {pair: n for pair, n in flows.items() if pair[0] != pair[1]}
    movement = old.moved(new)
    assert movement.table == {p: float(Fraction(n, CIRCLE)) for p, n in expected.items()}
    assert movement.fraction == float(Fraction(sum(expected.values()), CIRCLE))
    assert movement.error == 0.0
    assert list(movement.table) == sorted(movement.table)


def test_shares_match_sampling():
    """200 000 keys fall on the members in proportion to the shares; false alarm 1e-9."""
    ring = HashRing({f"n{i}": 1 + i % 3 for i in range(20)}, 40)
    count = Counter(ring.owners([f"key-{i}" for i in range(200_000)]))
    bound = hoeffding(200_000, 20)
    for id_, share in ring.shares().items():
        assert abs(count[id_] / 200_000 - share) <= bound


@pytest.mark.parametrize(
    ("n", "vnodes", "multiple"), [(10, 40, 2.225), (10, 160, 1.551), (100, 160, 1.631)]
)
def test_imbalance_keeps_the_law(n: int, vnodes: int, multiple: float):
    """No share passes the multiple that the Beta law gives a chance of 1e-9 in all."""
    assert overload_chance([(vnodes, 1 / n)] * n, multiple) <= 1e-9
    for seed in range(20):
        ring = HashRing([f"n{i}" for i in range(n)], vnodes, seed)
        assert max(ring.shares().values()) * n <= multiple


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((["a"], 0), InvalidEndpointError, "vnodes must be >= 1, got 0"),
        ((["a"], True), TypeError, "vnodes is an int, not bool"),
        ((["a"], 1.5), TypeError, "vnodes is an int, not float"),
        (({"a": 0.9}, 1), InvalidEndpointError, r"vnodes \* weight = 0.9 points"),
        (({"a": 1e-9}, 160), InvalidEndpointError, "'a' of weight 1e-09"),
        (({"a": 2.0**20}, 160), InvalidEndpointError, "at most 16777216"),
        (({"a": 1e308}, 160), InvalidEndpointError, "at most 16777216"),
        (({"a": 2.0**16, "b": 2.0**16}, 200), InvalidEndpointError, "would have 26214400 points"),
        ((["a"], 160, -1), ValueError, "seed must satisfy"),
        ((["a"], 160, 2**32), ValueError, "seed must satisfy"),
        ((["a"], 160, True), TypeError, "seed is an int, not bool"),
        ((["a", "a"],), InvalidEndpointError, "'a' is given twice"),
    ],
)
def test_bad_input_raises(arguments: tuple, error: type[Exception], words: str):
    """A value out of range raises at once, naming the value and the rule."""
    with pytest.raises(error, match=words):
        HashRing(*arguments)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"add": ["a"]}, "cannot add 'a': it is a member already"),
        ({"remove": ["z"]}, "cannot remove 'z': it is not a member"),
        ({"remove": ["a", "a"]}, "cannot remove 'a': it is not a member"),
        ({"reweight": {"z": 1.0}}, "cannot reweight 'z': it is not a member"),
        ({"remove": ["a"], "reweight": {"a": 2}}, "cannot reweight 'a': it is not a member"),
    ],
)
def test_bad_changes_raise(change: dict, words: str):
    """A change that does not fit the members raises, and the ring stays as it was."""
    ring = HashRing({"a": 1, "b": 2})
    before = ring.to_json()
    with pytest.raises(InvalidEndpointError, match=words):
        ring.with_changes(**change)
    assert ring.to_json() == before


def test_with_changes():
    """Add, remove and reweight in one step give the ring of the resulting members."""
    ring = HashRing({"a": 1, "b": 2, "c": 1}, 7)
    changed = ring.with_changes(add={"d": 3}, remove=["a"], reweight={"c": 2})
    assert changed == HashRing({"b": 2, "c": 2, "d": 3}, 7)
    assert ring.with_changes() is ring
    with pytest.raises(TypeError, match="the bare 'ab'"):
        ring.with_changes(remove="ab")


def test_rings_of_different_seeds_do_not_compare():
    """Between seeds, and between classes, a movement has no meaning and raises."""
    ring = HashRing(["a", "b"])
    with pytest.raises(ValueError, match="hash keys differently"):
        ring.moved(HashRing(["a", "b"], seed=1))
    with pytest.raises(TypeError, match="expected a HashRing, got str"):
        ring.moved("ring")  # type: ignore[arg-type]
