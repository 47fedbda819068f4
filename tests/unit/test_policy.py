"""``Policy``: the base, its options, and a policy of one's own."""

from __future__ import annotations

import copy
import gc
import inspect
import logging
import random
import weakref

import pytest

from balancers import Endpoint, Observer, Outcome, RoundRobin
from balancers.core import Policy
from balancers.core.timed import TimedPolicy
from balancers.policies import policy_named, register, registered
from balancers.testing import ManualClock, RecordingObserver, check_policy

KEYS = {"IPHash": "10.0.0.1"}


class Shortest(Policy):
    """The shortest queue, ties at random."""

    def _choose(self, view, key, exclude, cost, rng):
        # Read once: other threads settle meanwhile.
        loads = [
            (cell.load / cell.endpoint.weight, cell)
            for cell in view.cells
            if cell.endpoint.id not in exclude
        ]
        least = min((load for load, _ in loads), default=0.0)
        tied = [cell for load, cell in loads if load == least]
        return rng.choice(tied) if tied else None


def test_a_policy_of_ones_own():
    """Under 30 lines make a policy that keeps the whole contract."""
    assert len(inspect.getsource(Shortest).splitlines()) < 30
    check_policy(Shortest, examples=20, cycles=1_000)


def test_it_chooses_by_load():
    """And it does what it says."""
    balancer = Shortest(["a", Endpoint("b", weight=2)], rng=random.Random(1))
    held = [balancer.pick() for _ in range(30)]
    views = {view.endpoint.id: view.in_flight for view in balancer.snapshot().endpoints}
    assert views == {"a": 10, "b": 20}
    for pick in held:
        pick.done()


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"clock": 5}, TypeError),
        ({"classify": "all"}, TypeError),
        ({"rng": 42}, TypeError),
        ({"rng": random}, TypeError),
        ({"observer": object()}, TypeError),
        ({"observer": Observer}, None),
        ({"panic_threshold": "half"}, TypeError),
        ({"panic_threshold": True}, TypeError),
        ({"panic_threshold": -0.1}, ValueError),
        ({"panic_threshold": 1.1}, ValueError),
        ({"panic_threshold": float("nan")}, ValueError),
        ({"colour": "red"}, TypeError),
    ],
)
def test_bad_options(policy, options, error):
    """An option that is wrong raises when the balancer is made, not when it is used."""
    if error is None:
        return
    with pytest.raises(error):
        policy(["a"], **options)


def test_an_observer_must_be_whole():
    """An observer that lacks a method is refused at once, and the method is named."""

    class Half:
        def on_pick(self, pick):
            pass

    with pytest.raises(TypeError, match="on_settle"):
        RoundRobin(["a"], observer=Half())


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
def test_a_subclass_that_learns(policy):
    """A subclass that learns hears of every lease's end, whatever short cuts the policy has.

    Not of Adaptive, whose leases have its learning written out.
    """
    if policy.__name__ == "Adaptive":
        pytest.skip("Adaptive is no base class")
    heard = []

    class Learner(policy):
        def _learn(self, pick, outcome, latency, load, retry_after):
            super()._learn(pick, outcome, latency, load, retry_after)
            heard.append((pick.endpoint.id, outcome, latency, load, retry_after))

    class TimedLearner(policy):
        def _learn_at(self, now, cell, outcome, latency, load, retry_after):
            super()._learn_at(now, cell, outcome, latency, load, retry_after)
            heard.append((cell.endpoint.id, outcome, latency, load, retry_after))

    clock = ManualClock(7.0)
    learner = TimedLearner if issubclass(policy, TimedPolicy) else Learner
    balancer = learner(["a"], clock=clock)
    key = KEYS.get(policy.__name__, "key") if policy.keyed else None
    with balancer.pick(key):
        clock.advance(2.0)
    balancer.pick(key).done(Outcome.FAILURE, latency=0.5, load=0.9, retry_after=30.0)
    assert heard == [
        ("a", Outcome.SUCCESS, 2.0, None, None),
        ("a", Outcome.FAILURE, 0.5, 0.9, 30.0),
    ]


def test_observers_are_contained(caplog):
    """What an observer raises is logged by name, and goes no further."""

    class Failing(Observer):
        def on_settle(self, pick, outcome, latency):
            raise RuntimeError("its own")

    balancer = RoundRobin(["a"], observer=Failing())
    with caplog.at_level(logging.ERROR, logger="balancers"):
        assert balancer.pick().done()
    assert "on_settle" in caplog.text
    assert "its own" in caplog.text


def test_an_observer_hears_of_changes_only():
    """An update that changes nothing is not told; each that does is told once, as returned."""
    observer = RecordingObserver()
    balancer = RoundRobin(["a"], observer=observer)
    deltas = [balancer.update(ids) for ids in (["a"], ["a", "b"], ["b", "a"], ["b"])]
    assert observer.deltas == [delta for delta in deltas if delta]
    assert len(observer.deltas) == 2


def test_changed_is_told_after_the_change():
    """A callback finds the new membership, and a pick in it succeeds."""
    balancer = RoundRobin([])
    found = []
    stop = balancer.changed(lambda: found.append(balancer.pick().done()))
    balancer.update(["a"])
    assert found == [True]
    stop()
    stop()
    balancer.update(["b"])
    assert found == [True]


def test_the_same_callback_twice():
    """Two subscriptions of one callback are two; ending one leaves the other."""
    balancer = RoundRobin(["a"])
    calls = []
    callback = lambda: calls.append(1)  # noqa: E731
    first, _ = balancer.changed(callback), balancer.changed(callback)
    first()
    first()
    balancer.update(["b"])
    assert calls == [1]


def test_a_balancer_is_freed():
    """Nothing of the library keeps a dropped balancer alive."""
    balancer = RoundRobin(["a", "b"], observer=RecordingObserver())
    with balancer.pick():
        pass
    reference = weakref.ref(balancer)
    del balancer
    gc.collect()
    assert reference() is None


def test_a_balancer_is_not_copied():
    """A copy would share half of the state: it is refused."""
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(RoundRobin(["a"]))


def test_registry_of_names():
    """A policy is found by class name and alias in any case; a taken name is refused."""
    assert policy_named("roundrobin") is policy_named("RR") is RoundRobin
    with pytest.raises(LookupError, match="RoundRobin"):
        policy_named("no such")

    class Thief(Shortest):
        aliases = ("rr",)

    with pytest.raises(ValueError, match="RoundRobin"):
        register(Thief)
    assert "Thief" not in registered()
    assert register(RoundRobin) is RoundRobin
