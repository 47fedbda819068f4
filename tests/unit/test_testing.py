"""The test kit's own parts: doubles, quantiles, and what it says when Hypothesis is missing."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
import textwrap
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import balancers.testing
from balancers import Outcome, RoundRobin
from balancers.policies import registered
from balancers.testing import (
    CHECKS,
    ManualClock,
    RecordingObserver,
    ScriptedRandom,
    binomial_range,
    check_policy,
    contract,
)


def test_manual_clock():
    """It reads the same until it is advanced, and never goes back."""
    clock = ManualClock(5.0)
    assert clock() == clock() == clock.now == 5.0
    assert clock.advance(2.5) == 7.5
    assert clock.advance(0) == clock() == 7.5
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="advance"):
            clock.advance(bad)
    assert clock() == 7.5


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1), st.integers(1, 50))
def test_scripted_random(script, n):
    """``random`` gives the script; ``randrange(n)`` gives ⌊x·n⌋ of each draw x."""
    rng = ScriptedRandom(script)
    assert [rng.random() for _ in script] == script
    assert rng.drawn == len(script)
    with pytest.raises(LookupError):
        rng.random()
    rng = ScriptedRandom(script)
    assert [rng.randrange(n) for _ in script] == [int(x * n) for x in script]


def test_a_scripted_random_copies_in_place():
    """A copy goes on from the same draw, and moving one does not move the other."""
    rng = ScriptedRandom([0.1, 0.2, 0.3])
    rng.random()
    for duplicate in (copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))):
        assert [duplicate(rng).random() for _ in range(2)] == [0.2, 0.2]
    assert rng.drawn == 1
    with pytest.raises(ValueError, match="draw"):
        ScriptedRandom([1.0])


def test_a_scripted_random_drives_a_policy():
    """A start drawn from a script is the one it says."""
    for draw, expected in ((0.0, "a"), (0.5, "c"), (0.99, "d")):
        with RoundRobin(list("abcd"), rng=ScriptedRandom([draw])).pick() as pick:
            assert pick.endpoint.id == expected


def test_recording_observer():
    """It records picks, settlements and updates in order, and holds no lease."""
    observer = RecordingObserver()
    balancer = RoundRobin(["a"], observer=observer, clock=ManualClock())
    balancer.pick().done(Outcome.FAILURE, latency=0.5)
    balancer.update(["b"])
    assert [event.kind for event in observer.events] == ["pick", "settle", "update"]
    assert observer.picks == ["a"]
    assert observer.outcomes == [("a", Outcome.FAILURE)]
    assert observer.deltas[0].added == ("b",)
    balancer.pick()
    with pytest.warns(ResourceWarning):
        balancer.snapshot()


@given(
    st.integers(0, 40),
    st.fractions(0, 1, max_denominator=12),
    st.fractions(Fraction(1, 10**9), Fraction(1, 2)),
)
def test_binomial_range_is_exact(trials, chance, alarm):
    """Outside the range lies at most the false alarm, and one step further in lies more."""

    def between(first, last):
        return sum(
            math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k)
            for k in range(first, last + 1)
        )

    low, high = binomial_range(trials, chance, alarm)
    assert between(0, low - 1) <= alarm / 2
    assert between(high + 1, trials) <= alarm / 2
    assert low == trials or between(0, low) > alarm / 2
    assert high == 0 or between(high, trials) > alarm / 2


def test_binomial_range_of_many():
    """A known range: 3,000 throws of a fair coin at 1e-9 stay within about 6.1 deviations."""
    low, high = binomial_range(3_000, Fraction(1, 2))
    assert low + high == 3_000
    assert 6.0 < (1_500 - low) / math.sqrt(750) < 6.2
    with pytest.raises(ValueError, match="chance"):
        binomial_range(10, Fraction(3, 2))


def test_the_kit_without_hypothesis():
    """All but the accounting machine works without Hypothesis, which says so in a sentence."""
    code = """
        import sys
        sys.modules["hypothesis"] = None
        from balancers import RoundRobin
        from balancers.testing import ManualClock, check_accounting, check_errors, contract
        check_errors(RoundRobin)
        assert ManualClock(1.0)() == 1.0
        assert "accounting" in contract(RoundRobin)
        try:
            check_accounting(RoundRobin)
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "balancers[testing]" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_names():
    """Everything named exists, and every check is both in the list and in the kit."""
    names = balancers.testing.__all__
    assert all(hasattr(balancers.testing, name) for name in names)
    assert {f"check_{name}" for name in CHECKS} <= set(names)
    assert list(contract(RoundRobin)) == list(CHECKS)


def test_unknown_traits_are_refused():
    """A misspelt trait would switch a check off in silence: it raises."""
    with pytest.raises(TypeError, match="orderles"):
        check_policy(RoundRobin, orderles=False)


SCRIPT = """
    import hashlib
    from ipaddress import ip_address
    from balancers.policies import registered
    from balancers.testing import Traits
    from balancers.testing.choice import trace
    from balancers.testing.subject import Subject
    for name, policy in registered().items():
        traits = dict(weights=(1.0,))
        if name == "IPHash":
            traits["keys"] = [f"10.0.0.{i}" for i in range(40)]
        if name == "Maglev":
            policy = lambda *a, **k: registered()["Maglev"](*a, table_size=251, **k)
        told = [trace(Subject(policy, traits), seed, steps=200) for seed in (5, 6, 7)]
        print(name, hashlib.sha256(repr(told).encode()).hexdigest())
"""


def test_the_same_picks_in_every_process():
    """Picks do not depend on the process: neither on string hashes nor on addresses."""
    told = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        )
        assert len(done.stdout.splitlines()) == len(registered())
        told.add(done.stdout)
    assert len(told) == 1
