"""The values that cross the contract: ``Reason``, ``Delta``, ``Outcome``, ``Observer``."""

from __future__ import annotations

import enum

import pytest
from hypothesis import given
from models import delta_of
from strategies import memberships

from balancers import Balancer, Delta, Endpoint, Observer, Outcome, Reason, RoundRobin


def test_reasons_are_ordered_by_gravity():
    """PANIC > OVERFLOW > FALLBACK > NO_KEY > NORMAL, and NORMAL alone is falsy."""
    order = [Reason.PANIC, Reason.OVERFLOW, Reason.FALLBACK, Reason.NO_KEY, Reason.NORMAL]
    assert sorted(Reason, reverse=True) == order
    assert max(Reason.NO_KEY, Reason.OVERFLOW) is Reason.OVERFLOW
    assert [reason for reason in Reason if not reason] == [Reason.NORMAL]


def test_outcomes():
    """There are three outcomes, and none is a number."""
    assert [outcome.name for outcome in Outcome] == ["SUCCESS", "FAILURE", "CANCELLED"]
    assert not any(isinstance(outcome, enum.IntEnum | int | str) for outcome in Outcome)


def test_an_empty_delta_is_false():
    """A delta is true if it says anything."""
    assert not Delta()
    for change in ({"added": ("a",)}, {"removed": ("a",)}, {"changed": ("a",)}):
        assert Delta(**change)


@given(memberships(), memberships())
def test_delta_is_the_difference(before, after):
    """``update`` returns who was added, removed and changed, in the stated order."""
    balancer = RoundRobin(before)
    assert balancer.update(after) == delta_of(before, after)
    assert balancer.update(after) == Delta()
    assert balancer.update(before) == delta_of(after, before)


def test_order_alone_is_no_change():
    """A reorder is adopted, and is no change to report."""
    balancer = RoundRobin(["a", "b"])
    assert not balancer.update(["b", "a"])
    assert [endpoint.id for endpoint in balancer.endpoints] == ["b", "a"]


def test_metadata_is_a_change():
    """Any field that differs makes an endpoint changed."""
    balancer = RoundRobin([Endpoint("a", metadata={"build": 1}), "b"])
    delta = balancer.update([Endpoint("a", metadata={"build": 2}), Endpoint("b")])
    assert delta == Delta(changed=("a",))


def test_observer_methods_do_nothing_by_default():
    """Whoever subclasses ``Observer`` overrides what is wanted, and nothing else."""

    class Quiet(Observer):
        pass

    balancer = RoundRobin(["a"], observer=Quiet())
    with balancer.pick():
        pass
    balancer.update(["b"])


@pytest.mark.parametrize("thing", [RoundRobin(["a"]), RoundRobin([])])
def test_policies_are_balancers(thing):
    """A policy passes ``isinstance(…, Balancer)``."""
    assert isinstance(thing, Balancer)
    assert not isinstance(object(), Balancer)
