"""``snapshot``: a frozen picture, also as JSON."""

from __future__ import annotations

import dataclasses
import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import endpoints

from balancers import Endpoint, HealthState, RoundRobin, Snapshot
from balancers.protocol import EndpointView

numbers = st.floats(allow_nan=False, allow_infinity=False)
details = st.dictionaries(st.text(max_size=5), numbers, max_size=3)

views = st.builds(
    EndpointView,
    endpoint=endpoints(),
    in_flight=st.integers(0, 10**9),
    load=numbers,
    state=st.sampled_from(HealthState),
    latency=st.none() | numbers,
    picks=st.integers(0, 10**15),
    details=details,
)


@given(st.text(), st.lists(views, max_size=4), details)
def test_json_round_trip(policy, found, extra):
    """Every number and name comes back from the JSON as it went in; metadata stays out."""
    snapshot = Snapshot(policy, tuple(found), MappingProxyType(extra))
    told = json.loads(snapshot.to_json())
    assert told["policy"] == policy
    assert told["details"] == extra
    assert len(told["endpoints"]) == len(found)
    for entry, view in zip(told["endpoints"], found, strict=True):
        assert "metadata" not in entry
        assert entry["id"] == view.endpoint.id
        for name in ("weight", "region", "zone", "priority"):
            assert entry[name] == getattr(view.endpoint, name)
        for name in ("in_flight", "load", "latency", "picks", "details"):
            assert entry[name] == getattr(view, name)
        assert HealthState(entry["state"]) is view.state


def test_metadata_of_any_kind_is_no_obstacle():
    """Metadata that JSON cannot hold does not keep a snapshot from being written."""
    balancer = RoundRobin([Endpoint("a", metadata={"socket": object()})])
    assert json.loads(balancer.snapshot().to_json())["endpoints"][0]["id"] == "a"


def test_frozen_and_past():
    """A snapshot cannot be changed, and does not follow what happens later."""
    balancer = RoundRobin(["a"])
    before = balancer.snapshot()
    lease = balancer.pick()
    assert [view.in_flight for view in before.endpoints] == [0]
    assert [view.in_flight for view in balancer.snapshot().endpoints] == [1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.policy = "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.endpoints[0].in_flight = 7
    lease.done()


def test_without_health_everyone_is_unknown():
    """No registry, no opinion."""
    states = {view.state for view in RoundRobin(["a", "b"]).snapshot().endpoints}
    assert states == {HealthState.UNKNOWN}


def test_empty():
    """An empty membership has an empty snapshot."""
    snapshot = RoundRobin([]).snapshot()
    assert snapshot.endpoints == ()
    assert snapshot.policy == "RoundRobin"
