"""Cuts of prompts and the memory of them; what PrefixAffinity takes, refuses and reports."""

from __future__ import annotations

from array import array
from itertools import pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import PrefixAffinity, Reason, Sticky
from balancers.structures.prefix import PrefixCuts, check_prompt, head_of
from balancers.structures.prefix_memory import PrefixMemory

ids = st.integers(-(1 << 65), 1 << 65) | st.binary(max_size=3)
prompts = st.lists(st.integers(0, 2) | ids, max_size=70)


@given(one=prompts, other=prompts)
def test_digests_agree_exactly_as_far_as_prompts_do(one, other):
    """At a cut both prompts have, the digests are equal if and only if the beginnings are."""
    cuts = PrefixCuts(one, 1, 0), PrefixCuts(other, 1, 0)
    a, b = (dict(zip(each.cuts, each.digests, strict=True)) for each in cuts)
    for cut in a.keys() & b.keys():
        alike = one[:cut] == other[:cut]
        # A beginning that ends where the other prompt has no cut is chained otherwise.
        regular = set(a) & set(range(cut + 1)) == set(b) & set(range(cut + 1))
        assert (a[cut] == b[cut]) == (alike and regular)


@given(length=st.integers(0, 5000))
def test_cuts_are_dense_at_first_and_eight_a_doubling_later(length):
    """Every block up to 16, every power of two, steps of at most an eighth, and the end."""
    cuts = PrefixCuts(range(length), 1, 0).cuts

    assert cuts[-1] == length
    assert list(cuts) == sorted(set(cuts))
    assert set(range(1, min(16, length) + 1)) <= set(cuts)
    assert all(1 << i in cuts for i in range(13) if 1 << i <= length)
    assert all(after - before <= max(1, before // 8) for before, after in pairwise(cuts))


@given(text=st.text(max_size=60), size=st.integers(1, 9))
def test_text_is_its_bytes_in_blocks(text, size):
    """Text and its UTF-8 bytes are one prompt, of as many blocks as they fill, begun ones too."""
    data = text.encode("utf-8", "surrogatepass")
    cuts = PrefixCuts(text, size, 3)

    assert cuts.blocks == -(-len(data) // size)
    for twin in (data, bytearray(data), memoryview(data)):
        assert PrefixCuts(twin, size, 3).digests == cuts.digests
    assert head_of(text, size, 3) == head_of(data, size, 3) == cuts.anchors(1)[0]


@given(prompt=prompts)
def test_the_head_is_the_first_anchor(prompt):
    """What outer levels place by is what the prompt's first candidate is found by."""
    assert head_of(prompt, 1, 0) == PrefixCuts(prompt, 1, 0).anchors(4)[0]
    assert head_of(tuple(prompt), 1, 0) == head_of(prompt, 1, 0)


class SlowMemory:
    """Digests in the order of their last use, and a note of when each was."""

    def __init__(self) -> None:
        self.used: dict[bytes, int] = {}

    def note(self, digests):
        for digest in reversed(digests):
            self.used.pop(digest, None)
            self.used[digest] = 1


@given(
    capacity=st.integers(2, 12),
    notes=st.lists(st.lists(st.sampled_from([b"%d" % i for i in range(20)]), unique=True)),
)
def test_memory_keeps_the_last_half_and_no_more_than_all(capacity, notes):
    """The capacity / 2 digests used last are known, and never more than capacity + a note's."""
    memory: PrefixMemory[int] = PrefixMemory(capacity)
    slow = SlowMemory()
    for number, digests in enumerate(notes):
        memory.note(digests, number)
        slow.note(digests)
        recent = list(slow.used)[::-1][: capacity // 2]
        assert all(memory.depth([digest]) for digest in recent)
        assert len(memory) <= capacity + 2 * max(map(len, notes))
        if digests and memory.depth(digests) == len(digests):
            assert memory.deepest(digests) == number
    for digests in notes:
        memory.forget(digests)
    assert len(memory) == 0


@given(known=st.lists(st.integers(0, 9)), asked=st.lists(st.integers(0, 9)))
def test_depth_counts_leading_digests(known, asked):
    """A beginning counts only if all shorter ones are known."""
    memory: PrefixMemory[str] = PrefixMemory(1000)
    memory.note([b"%d" % i for i in known], "x")

    expected = len(list(takewhile(known.__contains__, asked)))
    assert memory.depth([b"%d" % i for i in asked]) == expected
    assert memory.deepest([b"%d" % i for i in asked]) == ("x" if expected else None)


@pytest.mark.parametrize("key", [True, 1.5, ["k"], ("k",), (1.5,), [1, False], {1}, object()])
def test_what_is_no_prompt_raises(key):
    """Only text, bytes, integers and sequences of integers or bytes are prompts."""
    balancer = PrefixAffinity(["a", "b"])
    for call in (balancer.pick, balancer.explain, balancer.placed, check_prompt):
        with pytest.raises(TypeError):
            call(key)
    assert all(view.picks == 0 for view in balancer.snapshot().endpoints)


def test_every_kind_of_sequence_is_a_prompt():
    """A tuple, a list, a range and an array of the same ids are one prompt."""
    balancer = PrefixAffinity([f"e{i}" for i in range(20)])
    kinds = [tuple(range(9)), list(range(9)), range(9), array("I", range(9))]

    assert len({tuple(balancer.placed(kind)) for kind in kinds}) == 1


@pytest.mark.parametrize(
    "options",
    [
        *({name: bad} for name in ("candidates", "block_size") for bad in (0, -1, 1.5, True, "4")),
        *({"memory": bad} for bad in (0, 1, 2.0, None)),
        {"load_factor": 0.5},
        {"vnodes": 0},
        {"seed": -1},
    ],
)
def test_bad_options_are_refused(options):
    """Every option out of range raises, naming itself."""
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=name):
        PrefixAffinity(["a"], **options)


def test_reports():
    """``snapshot`` tells what waits and is remembered, ``explain`` scores the candidates."""
    balancer = PrefixAffinity([f"e{i}" for i in range(9)], candidates=2)
    prompt = tuple(range(10))
    where = balancer.placed(prompt)
    pick = balancer.pick(prompt, cost=3.0)
    views = {view.endpoint.id: view for view in balancer.snapshot().endpoints}

    assert pick.endpoint.id == where[0]
    assert pick.reason is Reason.NORMAL
    assert views[where[0]].details == {"queued": 10.0, "remembered": 10.0}
    assert balancer.snapshot().details == {"remembered": 10.0}
    told = {c.endpoint.id: c for c in balancer.explain((*prompt, 7)).candidates}
    assert told[where[0]].score == (10 + 1) * (3.0 + 1.0)
    others = {c.endpoint.id: c.score for c in told.values() if c.score is not None}
    assert len(others) == 2
    assert told[next(n for n in others if n != where[0])].why == "chosen, 11 of 11 blocks left"
    pick.responded()
    told = {c.endpoint.id: c for c in balancer.explain((*prompt, 7)).candidates}
    assert told[where[0]].why == "chosen, 1 of 11 blocks left"
    assert pick.done()
    assert balancer.explain().reason is Reason.NO_KEY


def test_empty_memberships_and_prompts():
    """A prompt of no block is a prompt; nobody is placed on an empty membership."""
    balancer = PrefixAffinity(["a"])

    assert balancer.placed(()) == balancer.placed("") == ["a"]
    assert PrefixAffinity([]).placed((1, 2)) == []
    with balancer.pick(b"") as pick:
        assert pick.endpoint.id == "a"


def test_inside_a_composite_the_prompt_reaches_the_policy():
    """What an outer level hands on is remembered like a pick of one's own."""
    outer = Sticky(["a", "b"], policy=PrefixAffinity, mode="table")
    with outer.pick("session one") as pick:
        name = pick.endpoint.id
    with outer.pick("session one") as pick:
        assert pick.endpoint.id == name
    assert sum(view.details.get("remembered", 0.0) for view in outer.snapshot().endpoints) >= 0.0
