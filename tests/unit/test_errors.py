"""The errors: their tree, and what they carry."""

from __future__ import annotations

import pickle

import pytest

from balancers import (
    BalancerError,
    Endpoint,
    InvalidEndpointError,
    NoEligibleEndpointError,
    NoEndpointError,
    RoundRobin,
)


def test_tree():
    """One base catches all; a bad membership is a ValueError too; the two "nobody" differ."""
    for error in (NoEndpointError, NoEligibleEndpointError, InvalidEndpointError):
        assert issubclass(error, BalancerError)
    assert issubclass(InvalidEndpointError, ValueError)
    assert not issubclass(NoEligibleEndpointError, NoEndpointError)
    assert not issubclass(NoEndpointError, NoEligibleEndpointError)


def test_retry_after():
    """``retry_after`` is seconds or None."""
    assert NoEligibleEndpointError("nobody").retry_after is None
    assert NoEligibleEndpointError("nobody", retry_after=2.5).retry_after == 2.5


def test_pickles():
    """An error crosses processes."""
    error = pickle.loads(pickle.dumps(NoEligibleEndpointError("nobody", retry_after=2.5)))
    assert str(error) == "nobody"
    assert error.retry_after == 2.5


def test_empty_is_not_drained():
    """An empty membership, a drained one and one excluded away raise, each saying which."""
    balancer = RoundRobin([])
    with pytest.raises(NoEndpointError, match="empty"):
        balancer.pick()
    balancer.update([Endpoint("a", weight=0)])
    with pytest.raises(NoEligibleEndpointError, match="eligible") as caught:
        balancer.pick()
    assert caught.value.retry_after is None
    balancer.update(["a"])
    with pytest.raises(NoEligibleEndpointError, match="exclude"):
        balancer.pick(exclude=["a"])


def test_odd_excludes_do_not_hide_the_error():
    """Ids of any hashable type may be excluded; "nobody is left" is still said."""
    with pytest.raises(NoEligibleEndpointError):
        RoundRobin(["a"]).pick(exclude={"a", None, 3, ("b",)})
