"""PrefixAffinity: who the candidates are, who of them takes a prompt, what is remembered."""

from __future__ import annotations

from fractions import Fraction
from itertools import takewhile
from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers import (
    Endpoint,
    HealthRegistry,
    NoEligibleEndpointError,
    Outcome,
    PrefixAffinity,
    Reason,
)
from balancers.health import Admin
from balancers.structures import HashRing
from balancers.structures.prefix import PrefixCuts

names = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=9, unique=True)
prompts = st.lists(st.integers(0, 2), max_size=40).map(tuple) | st.integers(1, 40).map(
    lambda length: (7,) * length
)
"""Block ids from few, so that prompts begin alike."""


def wanted(count: int, blocks: int) -> list[int]:
    """Return the cuts a prompt is placed by: 2, the longest powers of two, all of it."""
    if blocks <= 2:
        return [blocks]
    powers = [1 << i for i in range(2, 50) if 1 << i < blocks]
    return [2, *powers[::-1][: max(0, count - 2)], blocks][:count]


def slow_candidates(ids: list[str], prompt: tuple[int, ...], count: int) -> list[str]:
    """Return who a prompt is placed on, each cut taking the first on its ring that is free."""
    ring = HashRing(ids)
    anchors = [PrefixCuts(prompt[:cut], 1, 0).digests[-1] for cut in wanted(count, len(prompt))]
    found: list[str] = []
    for anchor in anchors + anchors[:1] * (count - len(anchors)):
        found += [name for name in ring.successors(anchor, len(ids)) if name not in found][:1]
    return found


@given(ids=names, prompt=prompts, count=st.integers(1, 6), data=st.data())
@settings(max_examples=60)
def test_a_prompt_has_the_same_candidates_in_every_process(ids, prompt, count, data):
    """Candidates follow from members, seed and prompt; the order of the members is irrelevant."""
    other = data.draw(st.permutations(ids))
    expected = slow_candidates(ids, prompt, count)

    assert PrefixAffinity(ids, candidates=count).placed(prompt) == expected
    assert PrefixAffinity(other, candidates=count, rng=Random(9)).placed(prompt) == expected
    assert len(expected) == min(count, len(ids))


@given(ids=names, some=st.lists(prompts, min_size=1, max_size=12), data=st.data())
@settings(max_examples=60)
def test_only_the_prompts_of_an_endpoint_that_leaves_get_another_candidate(ids, some, data):
    """A prompt without it keeps its candidates in order; one with it loses it and gains one."""
    gone = data.draw(st.sampled_from(ids))
    balancer = PrefixAffinity(ids)
    before = [balancer.placed(prompt) for prompt in some]
    balancer.update([name for name in ids if name != gone])

    for prompt, had in zip(some, before, strict=True):
        has = balancer.placed(prompt)
        if gone not in had:
            assert has == had
        else:
            assert set(had) - set(has) == {gone}
            assert len(has) == min(4, len(ids) - 1)
    balancer.update(ids)
    assert [balancer.placed(prompt) for prompt in some] == before


steps = st.lists(
    st.tuples(
        st.sampled_from(["pick", "pick", "pick", "done", "failed", "responded"]),
        st.integers(0, 50),
        prompts,
        st.sampled_from([1.0, 0.5, 7.0]),
        st.sampled_from(["", "", "a", "bc"]),
    ),
    max_size=40,
)


class SlowMemory:
    """What a policy knows, by whole prefixes instead of digests, and every lease ever granted."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = {name: Fraction(weight) for name, weight in weights.items()}
        self.ring = HashRing(weights)
        self.held: dict[str, set[tuple[int, ...]]] = {name: set() for name in weights}
        self.last: dict[tuple[int, ...], str] = {}
        self.open: list[dict] = []

    def known(self, name: str, prompt: tuple[int, ...]) -> list[tuple[int, ...]]:
        cuts = [prompt[:cut] for cut in PrefixCuts(prompt, 1, 0).cuts]
        return list(takewhile(self.held[name].__contains__, cuts))

    def work(self, name: str, prompt: tuple[int, ...]) -> int:
        return max(1, len(prompt) - max(map(len, self.known(name, prompt)), default=0))

    def score(self, name: str, prompt: tuple[int, ...], cost: float) -> Fraction:
        here = [lease for lease in self.open if lease["name"] == name and not lease["responded"]]
        work = self.work(name, prompt)
        load = sum((Fraction(lease["cost"]) for lease in here), Fraction(cost))
        return (sum(lease["work"] for lease in here) + work) * load / self.weights[name] ** 2

    def candidates(self, prompt: tuple[int, ...], exclude: str, count: int) -> list[str]:
        ids = sorted(self.weights)
        anchors = [PrefixCuts(prompt[:c], 1, 0).digests[-1] for c in wanted(count, len(prompt))]
        found: list[str] = []
        for anchor in anchors + anchors[:1] * (count - len(anchors)):
            order = [n for n in self.ring.successors(anchor, len(ids)) if n not in exclude]
            found += [name for name in order if name not in found][:1]
        cuts = [prompt[:cut] for cut in PrefixCuts(prompt, 1, 0).cuts]
        sent = list(takewhile(self.last.__contains__, cuts))
        best = self.last[sent[-1]] if sent else None
        if best and best not in (*found, *exclude) and self.known(best, prompt):
            found.append(best)
        return found

    def grant(self, pick, name: str, prompt: tuple[int, ...], cost: float) -> None:
        cuts = {prompt[:cut] for cut in PrefixCuts(prompt, 1, 0).cuts}
        # What comes after a gap counts as new: only leading beginnings are known.
        fresh = cuts.difference(self.known(name, prompt))
        lease = {"pick": pick, "name": name, "cost": cost, "work": self.work(name, prompt)}
        self.open.append({**lease, "fresh": fresh, "responded": False})
        self.held[name] |= cuts
        self.last.update(dict.fromkeys(cuts, name))

    def end(self, number: int, failed: bool) -> None:
        lease = self.open.pop(number % len(self.open))
        lease["pick"].done(Outcome.FAILURE if failed else Outcome.SUCCESS)
        if failed:
            self.held[lease["name"]] -= lease["fresh"]


@given(
    weights=st.dictionaries(
        st.sampled_from("abcdefg"), st.sampled_from([1.0, 2.0, 0.5]), min_size=1
    ),
    count=st.integers(1, 4),
    script=steps,
)
@settings(max_examples=60)
def test_the_pick_has_the_least_score_of_its_candidates(weights, count, script):
    """Work left after the cache hit × load, exactly, over the candidates; ties to the first."""
    members = [Endpoint(name, weight=weight) for name, weight in weights.items()]
    balancer = PrefixAffinity(members, candidates=count)
    slow = SlowMemory(weights)
    for what, number, prompt, cost, exclude in script:
        if what == "pick":
            among = slow.candidates(prompt, exclude, count)
            if not among:
                with pytest.raises(NoEligibleEndpointError):
                    balancer.pick(prompt, exclude=set(exclude), cost=cost)
                continue
            scores = [slow.score(name, prompt, cost) for name in among]
            pick = balancer.pick(prompt, exclude=set(exclude), cost=cost)
            assert pick.endpoint.id == among[scores.index(min(scores))]
            slow.grant(pick, pick.endpoint.id, prompt, cost)
        elif slow.open and what == "responded":
            lease = slow.open[number % len(slow.open)]
            lease["pick"].responded()
            lease["responded"] = True
        elif slow.open:
            slow.end(number, what == "failed")
        balancer._check()
        for view in balancer.snapshot().endpoints:
            waiting = [x for x in slow.open if x["name"] == view.endpoint.id and not x["responded"]]
            assert view.details["queued"] == sum(lease["work"] for lease in waiting)
    while slow.open:
        slow.end(0, failed=False)
    assert all(view.details["queued"] == 0.0 for view in balancer.snapshot().endpoints)


@given(
    weights=st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 100), min_size=1),
    factor=st.floats(1.0, 3.0),
    script=st.lists(
        st.tuples(st.booleans() | st.just(True), st.integers(0, 9), prompts | st.just((1,)))
    ),
)
@settings(max_examples=40)
def test_no_pick_passes_the_load_bound(weights, factor, script):
    """With ``load_factor`` every pick finds its endpoint within its cap; one always has room."""
    members = [Endpoint(name, weight=weight) for name, weight in weights.items()]
    balancer = PrefixAffinity(members, candidates=1, load_factor=factor)
    total = sum(map(Fraction, weights.values()))
    held: list = []
    for picks, number, prompt in script:
        if not picks:
            if held:
                held.pop(number % len(held)).done()
            continue
        pick = balancer.pick(prompt)
        held.append(pick)
        name = pick.endpoint.id
        cap = ceil(Fraction(factor) * Fraction(weights[name]) * len(held) / total)
        assert sum(each.endpoint.id == name for each in held) <= max(1, cap)
        assert pick.reason is not Reason.OVERFLOW
        balancer._check()
    for pick in held:
        pick.done()
    assert balancer._bound is not None
    assert balancer._bound.total == 0


@given(ids=names, some=st.lists(prompts, min_size=1, max_size=20), data=st.data())
@settings(max_examples=30)
def test_there_is_a_candidate_as_long_as_anybody_may_be_picked(ids, some, data):
    """With all but one endpoint excluded or disabled, that one takes every prompt."""
    (left, *others) = data.draw(st.permutations(ids))
    registry = HealthRegistry()
    balancer = PrefixAffinity(ids, health=registry, load_factor=data.draw(st.none() | st.just(1.0)))
    down = others[: data.draw(st.integers(0, len(others)))]
    for name in down:
        registry.set_admin(name, Admin.DISABLED)

    for prompt in some:
        with balancer.pick(prompt, exclude=set(others) - set(down)) as pick:
            assert pick.endpoint.id == left
            hidden = set(others) & set(balancer.placed(prompt))
            assert (pick.reason >= Reason.FALLBACK) == bool(hidden)
    balancer.close()


def test_a_failure_leaves_no_memory():
    """A request that failed does not make its endpoint look better; a success does."""
    balancer = PrefixAffinity(list("abc"), rng=Random(1))
    prompt = tuple(range(20))
    with balancer.pick(prompt) as pick:
        first = pick.endpoint.id
    longer = tuple(range(30))
    pick = balancer.pick(longer, exclude={first})
    failed = pick.endpoint.id
    before = {c.endpoint.id: c.score for c in balancer.explain(longer).candidates}
    pick.done(Outcome.FAILURE)
    after = {c.endpoint.id: c.score for c in balancer.explain(longer).candidates}

    assert after == {first: 10.0, **dict.fromkeys({*"abc"} - {first}, 30.0)}
    assert before[failed] == 2.0 * (30 + 1)  # all of it queued, and one more like it
    pick = balancer.pick(longer)
    assert pick.endpoint.id == first
    pick.done(Outcome.FAILURE)
    assert {c.endpoint.id: c.score for c in balancer.explain(longer).candidates} == after


def test_who_was_sent_the_longest_beginning_is_a_candidate_too():
    """Beside the ring candidates, and it counts as a fallback if that one may not take it."""
    balancer = PrefixAffinity([f"e{i}" for i in range(8)], candidates=1)
    prompt = tuple(range(20))
    (first,) = balancer.placed(prompt)
    with balancer.pick(prompt, exclude={first}) as pick:
        other = pick.endpoint.id
    longer = (*prompt, 20)
    told = balancer.explain(longer)

    assert told.chosen is not None
    assert (told.chosen.id, told.reason) == (other, Reason.NORMAL)
    scores = {c.endpoint.id: c.score for c in told.candidates if c.score is not None}
    assert scores == {first: 21.0, other: 1.0}
    with balancer.pick(longer, exclude={other}) as pick:
        assert (pick.endpoint.id, pick.reason) == (first, Reason.FALLBACK)
    unlike = tuple(range(100, 120))
    (home,) = balancer.placed(unlike)
    balancer.pick(unlike, exclude={home}).done(Outcome.FAILURE)
    # It was sent there, and nothing came of it: only the ring candidate is left.
    scored = [c.endpoint.id for c in balancer.explain(unlike).candidates if c.score is not None]
    assert scored == [home]


def test_an_endpoint_that_returns_is_taken_for_empty():
    """Leaving drops what was remembered: its cache went with it."""
    balancer = PrefixAffinity(["a", "b"])
    prompt = tuple(range(9))
    with balancer.pick(prompt, exclude={"b"}):
        pass
    balancer.update(["b"])
    balancer.update(["a", "b"])

    assert {c.score for c in balancer.explain(prompt).candidates} == {9.0}
    assert all(not v.details["remembered"] for v in balancer.snapshot().endpoints)


def test_a_ramping_endpoint_takes_its_part_of_the_conversations():
    """With no load a ramping endpoint at share r is a candidate of r of its conversations."""

    class Standing:
        admitted, enabled, probation, why, ramp = True, True, False, "", 0.25

    class Entry:
        standing = Standing()

    ids = [f"e{i}" for i in range(8)]
    balancer = PrefixAffinity(ids, candidates=1)
    talks = [(i, i + 1) for i in range(800)]
    own = [talk for talk in talks if balancer.placed(talk) == ["e3"]]
    balancer._ledger.cells["e3"].entry = Entry()
    with balancer._control:
        balancer._publish(balancer._prepare(balancer.endpoints, balancer._ledger.cells))
    chosen = [balancer.explain(talk).chosen for talk in own]
    taken = sum(endpoint is not None and endpoint.id == "e3" for endpoint in chosen)

    # Fixed keys, so the outcome is always the same; 7 standard deviations of Binomial(n, r).
    assert abs(taken - len(own) / 4) < 7 * (len(own) * 3 / 16) ** 0.5
    assert 0 < taken < len(own)
    for talk in own[:20]:  # the same answer for every turn of a conversation
        ends = [balancer.explain((*talk, *range(n))).chosen for n in range(3)]
        assert ends == [balancer.explain(talk).chosen] * 3


def test_a_beginning_that_all_share_does_not_keep_them_together():
    """1,600 prompts under way that begin alike for 40 blocks reach every one of 16 endpoints."""
    balancer = PrefixAffinity([f"e{i}" for i in range(16)], rng=Random(1))
    shared = tuple(range(40))
    held = [balancer.pick((*shared, 1000 + i)) for i in range(1600)]
    loads = [view.in_flight for view in balancer.snapshot().endpoints]

    # Ring shares of the whole prompts vary by a tenth or so; four endpoints alone would have 400.
    assert max(loads) < 2 * 100
    assert min(loads) > 40
    for pick in held:
        pick.done()
