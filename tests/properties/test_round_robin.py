"""``RoundRobin``: counts of any two endpoints, in any window, differ by at most one."""

from __future__ import annotations

import random
import threading
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import Endpoint, RoundRobin
from balancers.testing import FALSE_ALARM, RecordingObserver, ScriptedRandom, binomial_range
from balancers.testing.threads import switching

sizes = st.integers(1, 12)
phases = st.none() | st.integers(0, 40)


def names(n):
    """N ids."""
    return [f"e{i}" for i in range(n)]


def turn(balancer, **arguments):
    """One pick, settled: its id."""
    with balancer.pick(**arguments) as pick:
        return pick.endpoint.id


def assert_even(sequence, members):
    """Every window of the sequence has counts that differ by at most one.

    Enough to look at windows of n: each must be a permutation of the members.
    """
    n = len(members)
    for start in range(len(sequence) - n + 1):
        assert sorted(sequence[start : start + n]) == sorted(members), sequence
    first = Counter(sequence[:n])
    assert not first or max(first.values()) == 1


def all_windows_even(sequence, members):
    """The same said slowly: every window of every length."""
    for start in range(len(sequence)):
        counts = dict.fromkeys(members, 0)
        for name in sequence[start:]:
            counts[name] += 1
            if max(counts.values()) - min(counts.values()) > 1:
                return False
    return True


@given(sizes, phases, st.integers(0, 60), st.integers())
def test_any_window(n, phase, picks, seed):
    """In every window of every length, counts of any two endpoints differ by at most one."""
    balancer = RoundRobin(names(n), phase=phase, rng=random.Random(seed))
    sequence = [turn(balancer) for _ in range(picks)]
    assert all_windows_even(sequence, names(n))
    assert_even(sequence, names(n))


@given(sizes, st.integers(0, 1_000))
def test_phase(n, phase):
    """Phase p starts at position p modulo n, 0 at the first endpoint given."""
    balancer = RoundRobin(names(n), phase=phase)
    assert [turn(balancer) for _ in range(n)] == [f"e{(phase + i) % n}" for i in range(n)]


@pytest.mark.parametrize(
    ("phase", "error"), [(-1, ValueError), (True, TypeError), (1.0, TypeError), ("0", TypeError)]
)
def test_bad_phase(phase, error):
    """A phase is an int of 0 or more."""
    with pytest.raises(error, match="phase"):
        RoundRobin(["a"], phase=phase)


def test_a_phase_of_any_size():
    """A phase beyond any machine word, or digits that print, works as its remainder does."""
    balancer = RoundRobin(names(7), phase=10**5_000)
    expected = f"e{10**5_000 % 7}"
    assert balancer.explain().chosen.id == expected
    assert turn(balancer) == expected


def test_random_start_is_uniform():
    """The start is uniform by the injected rng; false alarm 1e-9 over all endpoints."""
    n, trials = 7, 20_000
    rng = random.Random(11)
    counts = Counter(turn(RoundRobin(names(n), rng=rng)) for _ in range(trials))
    low, high = binomial_range(trials, Fraction(1, n), FALSE_ALARM / n)
    assert all(low <= counts[name] <= high for name in names(n)), counts


def test_starts_without_an_rng_differ():
    """Instances that draw their own start do not all begin at one endpoint.

    False alarm: twelve balancers over 64 endpoints agree with a chance of 64⁻¹¹, below 1e-19.
    """
    assert len({turn(RoundRobin(names(64))) for _ in range(12)}) > 1


# Changes that leave the eligible set as it is: the window goes on over them.
changes = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["same", "reorder", "weights", "metadata"])),
    max_size=12,
)


@given(sizes, phases, changes, st.randoms(use_true_random=False))
def test_windows_go_on_over_updates(n, phase, script, chance):
    """Updates that keep the set (reorders, weights, metadata, none) do not break a window."""
    members = [Endpoint(name) for name in names(n)]
    balancer = RoundRobin(members, phase=phase, rng=random.Random(3))
    sequence = []
    for picks, change in script:
        sequence += [turn(balancer) for _ in range(picks)]
        if change == "reorder":
            chance.shuffle(members)
        elif change == "weights":
            members = [Endpoint(e.id, weight=chance.choice([0.1, 1, 7])) for e in members]
        elif change == "metadata":
            members = [Endpoint(e.id, metadata={"at": len(sequence)}) for e in members]
        balancer.update(members)
        balancer.snapshot()
        balancer.explain()
    assert all_windows_even(sequence, names(n))


@given(sizes, st.integers(0, 30), st.randoms(use_true_random=False), st.booleans())
def test_every_way_of_asking_takes_a_turn(n, picks, chance, observed):
    """Plain picks, picks with a key or a cost, observed ones: all take turns of one rotation."""
    observer = RecordingObserver() if observed else None
    balancer = RoundRobin(names(n), rng=random.Random(5), observer=observer)
    ways = [{}, {"key": "k"}, {"cost": 2.0}, {"exclude": []}, {"exclude": ["departed"]}]
    sequence = []
    for _ in range(picks):
        told = balancer.explain().chosen.id
        sequence.append(turn(balancer, **chance.choice(ways)))
        assert sequence[-1] == told
    assert all_windows_even(sequence, names(n))


def carried(order, before, after):
    """Model: survivors in the order of their coming turns, then joiners in the order given."""
    staying = [name for name in order if name in after]
    return staying + [name for name in after if name not in before]


members_lists = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=7, unique=True)


@given(st.lists(st.tuples(members_lists, st.integers(0, 9)), min_size=1, max_size=8), phases)
def test_the_rotation_is_carried(script, phase):
    """Across a change of the set the turns go on where they stood; joiners come last."""
    first = script[0][0]
    balancer = RoundRobin(first, phase=phase, rng=random.Random(8))
    start = first.index(balancer.explain().chosen.id)
    order, before = first[start:] + first[:start], first
    for after, picks in script:
        balancer.update(after)
        if set(after) != set(before):
            order = carried(order, before, after)
        before = after
        for _ in range(picks):
            assert turn(balancer) == order[0]
            order = order[1:] + order[:1]


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), max_size=8))
def test_weight_zero_leaves_the_rotation(steps):
    """Between updates the picks rotate over those of positive weight, and nobody else."""
    balancer = RoundRobin([Endpoint(name) for name in "abcd"], rng=random.Random(2))
    for weights in steps:
        named = zip("abcd", weights, strict=True)
        balancer.update(Endpoint(name, weight=weight) for name, weight in named)
        able = [name for name, weight in zip("abcd", weights, strict=True) if weight]
        if able:
            assert all_windows_even([turn(balancer) for _ in range(9)], able)


def test_nobody_waits_longer_for_churn():
    """An endpoint that stays gets its turn within as many picks as there are endpoints.

    Whatever joins and leaves around it, at every pick.
    """
    chance = random.Random(4)
    balancer = RoundRobin(["stay", "a", "b", "c"], rng=random.Random(1))
    since = 0
    for _ in range(2_000):
        since = 0 if turn(balancer) == "stay" else since + 1
        assert since <= 5
        others = chance.sample("abcdefgh", 4)
        members = ["stay", *others]
        chance.shuffle(members)
        balancer.update(members)


def test_after_an_empty_time_it_starts_anew():
    """A rotation that had nobody left starts at a fresh draw, or at the phase given."""
    rng = ScriptedRandom([0.0, 0.5])
    balancer = RoundRobin(list("abcd"), rng=rng)
    assert turn(balancer) == "a"
    balancer.update([])
    balancer.update(list("abcd"))
    assert turn(balancer) == "c"
    fixed = RoundRobin(list("abcd"), phase=1)
    turn(fixed)
    fixed.update([])
    fixed.update(list("abcd"))
    assert turn(fixed) == "b"


@given(sizes, st.data())
def test_a_failed_pick_takes_no_turn(n, data):
    """Where nobody may be picked the rotation stays where it is."""
    balancer = RoundRobin(names(n), phase=data.draw(st.integers(0, n)))
    for _ in range(data.draw(st.integers(0, 5))):
        turn(balancer)
    before = balancer.explain().chosen
    with pytest.raises(Exception, match="exclude"):
        balancer.pick(exclude=[*names(n), "departed"])
    assert balancer.explain().chosen == before


@given(st.integers(2, 9), st.data())
def test_exclude_gives_the_next_that_may(n, data):
    """A pick with ``exclude`` gets the first in turn that is not excluded, and goes on there."""
    balancer = RoundRobin(names(n), phase=0)
    at = 0
    for _ in range(10):
        out = data.draw(st.sets(st.sampled_from(names(n)), max_size=n - 1))
        while f"e{at % n}" in out:
            at += 1
        assert turn(balancer, exclude=out) == f"e{at % n}"
        at += 1


def test_turns_taken_between_build_and_publication_count():
    """A turn taken while an update that keeps the set is half way is not given twice."""
    sequence = []

    class Between(RoundRobin):
        ready = False

        def _publish(self, view):
            if self.ready:
                sequence.append(turn(self))
            super()._publish(view)

    members = names(5)
    balancer = Between(members)
    balancer.ready = True
    for _ in range(23):
        members = members[1:] + members[:1]
        balancer.update(members)
        sequence.append(turn(balancer))
    assert len(sequence) == 46
    assert all_windows_even(sequence, members)


def test_threads_share_one_rotation():
    """However threads interleave, n·k picks over a constant set are exactly k for each.

    Also while reorders and reweights are applied, which keep the set.
    """
    members = names(7)
    balancer = RoundRobin(members)
    done = threading.Event()
    taken: list[Counter[str]] = [Counter() for _ in range(7)]

    def work(mine):
        for _ in range(3_000):
            mine[turn(balancer)] += 1

    def churn():
        chance = random.Random(9)
        while not done.is_set():
            chance.shuffle(members)
            balancer.update(Endpoint(name, weight=chance.choice([1, 2])) for name in members)

    with switching():
        threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
        changer = threading.Thread(target=churn)
        for thread in [*threads, changer]:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        changer.join()
    assert sum(taken, Counter()) == dict.fromkeys(members, 3_000)


def test_windows_say_the_same():
    """The two ways of stating evenness agree on sequences that are and are not even."""
    assert all_windows_even("abcabc", "abc")
    assert not all_windows_even("abcacb", "abc")
    assert not all_windows_even("aab", "ab")
    assert all(a != b for a, b in pairwise("abab"))
