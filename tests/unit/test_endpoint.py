"""``Endpoint``: a frozen value, checked when it is made."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import endpoints, ids, weights

from balancers import BalancerError, Endpoint, InvalidEndpointError
from balancers.endpoint import as_endpoints


@given(endpoints())
def test_survives_pickle_and_copy(endpoint):
    """A pickled, copied or deep-copied endpoint equals the original in every field."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(endpoint, protocol)) == endpoint
    assert copy.copy(endpoint) == endpoint
    assert copy.deepcopy(endpoint) == endpoint


@given(endpoints(), weights)
def test_replace_changes_one_field(endpoint, weight):
    """``dataclasses.replace`` gives a new endpoint that differs in that field alone."""
    changed = dataclasses.replace(endpoint, weight=weight)
    assert changed.weight == weight
    assert dataclasses.replace(changed, weight=endpoint.weight) == endpoint


@given(endpoints(), endpoints())
def test_equal_means_every_field(one, other):
    """Endpoints are equal when all their fields are, and then hash alike."""
    fields = [field.name for field in dataclasses.fields(Endpoint)]
    alike = all(getattr(one, name) == getattr(other, name) for name in fields)
    assert (one == other) is alike
    if alike:
        assert hash(one) == hash(other)


@given(endpoints())
def test_hash_is_by_id_alone(endpoint):
    """A reweighted endpoint is found under the same hash, and is not the same endpoint."""
    heavier = dataclasses.replace(endpoint, weight=endpoint.weight + 1e13)
    assert hash(heavier) == hash(endpoint) == hash(endpoint.id)
    assert heavier != endpoint
    assert len({heavier, endpoint}) == 2


@given(ids)
def test_defaults(name):
    """A bare endpoint has weight 1, tier 0, no place, and is placed by its id."""
    endpoint = Endpoint(name)
    assert (endpoint.weight, endpoint.priority, endpoint.hash_key) == (1.0, 0, name)
    assert endpoint.region is endpoint.zone is None
    assert dict(endpoint.metadata) == {}
    assert as_endpoints([name]) == (endpoint,)


@given(st.one_of(st.floats(max_value=-5e-324), st.sampled_from([float("nan"), float("inf")])))
def test_weight_out_of_range(weight):
    """A negative, NaN or infinite weight raises, naming the endpoint and the weight."""
    with pytest.raises(InvalidEndpointError, match="endpoint 'a': weight") as caught:
        Endpoint("a", weight=weight)
    assert repr(weight) in str(caught.value)


@given(st.integers(min_value=0, max_value=2**1023))
def test_integer_weight_becomes_a_float(weight):
    """An integer weight is the nearest float."""
    found = Endpoint("a", weight=weight).weight
    assert type(found) is float
    assert found == float(weight)


def test_weight_beyond_floats_is_refused():
    """An integer that no float can hold is infinite, not an OverflowError."""
    with pytest.raises(InvalidEndpointError):
        Endpoint("a", weight=10**400)


def test_negative_zero_is_zero():
    """-0.0 is the weight 0, without its sign."""
    assert str(Endpoint("a", weight=-0.0).weight) == "0.0"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"id": ""}, InvalidEndpointError),
        ({"id": 7}, TypeError),
        ({"id": b"a"}, TypeError),
        ({"id": None}, TypeError),
        ({"id": "a", "weight": True}, TypeError),
        ({"id": "a", "weight": "1"}, TypeError),
        ({"id": "a", "weight": None}, TypeError),
        ({"id": "a", "region": 3}, TypeError),
        ({"id": "a", "zone": b"z"}, TypeError),
        ({"id": "a", "hash_key": 5}, TypeError),
        ({"id": "a", "priority": -1}, InvalidEndpointError),
        ({"id": "a", "priority": True}, TypeError),
        ({"id": "a", "priority": 1.0}, TypeError),
        ({"id": "a", "metadata": [1]}, TypeError),
        ({"id": "a", "metadata": None}, TypeError),
    ],
)
def test_bad_fields(arguments, error):
    """A field of the wrong type is a TypeError, one out of range an InvalidEndpointError."""
    with pytest.raises(error):
        Endpoint(**arguments)


def test_positional_fields_are_refused():
    """Only the id goes without a name."""
    with pytest.raises(TypeError):
        Endpoint("a", 2.0)


def test_frozen():
    """No field can be set, and no field added."""
    endpoint = Endpoint("a")
    for name in ("id", "weight", "metadata"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(endpoint, name, 1)
    with pytest.raises((AttributeError, TypeError)):
        endpoint.colour = "red"


def test_metadata_is_copied_and_read_only():
    """The caller's later changes do not show, and nobody can write through the endpoint."""
    mine = {"version": 1}
    endpoint = Endpoint("a", metadata=mine)
    mine["version"] = 2
    assert endpoint.metadata["version"] == 1
    with pytest.raises(TypeError):
        endpoint.metadata["version"] = 3


@pytest.mark.parametrize("bad", ["ab", b"ab", bytearray(b"ab"), [1], [None], [Endpoint], 5, None])
def test_bad_memberships(bad):
    """What is no iterable of endpoints and ids is a TypeError; text is not taken for ids."""
    with pytest.raises(TypeError):
        as_endpoints(bad)


@given(st.lists(ids, min_size=1, unique=True), st.data())
def test_duplicates_raise(names, data):
    """An id that occurs twice raises and is named, however its second endpoint looks."""
    twice = data.draw(st.sampled_from(names))
    mixed = [*names, Endpoint(twice, weight=data.draw(weights))]
    with pytest.raises(InvalidEndpointError) as caught:
        as_endpoints(data.draw(st.permutations(mixed)))
    assert repr(twice) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, BalancerError)
