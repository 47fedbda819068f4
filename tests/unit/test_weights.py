"""Ids and weights as the structures take them."""

from fractions import Fraction
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.errors import InvalidEndpointError
from balancers.structures.weights import as_weights, exact_integers


def test_a_mapping_keeps_its_order_and_becomes_floats():
    """A mapping is copied in order; ints become floats and -0.0 becomes 0.0."""
    source = {"b": 2, "a": -0.0, "c": 0.5}
    weights = as_weights(source)
    assert list(weights.items()) == [("b", 2.0), ("a", 0.0), ("c", 0.5)]
    assert repr(list(weights.values())) == "[2.0, 0.0, 0.5]"
    assert weights is not source


def test_ids_alone_weigh_one():
    """An iterable of ids, empty or used up once, gives weight 1.0 to each."""
    assert as_weights(iter(["x", "y"])) == {"x": 1.0, "y": 1.0}
    assert as_weights([]) == as_weights({}) == {}


@pytest.mark.parametrize(
    ("bad", "error", "named"),
    [
        (["a", "b", "a"], InvalidEndpointError, "'a'"),
        ({"a": -1e-9}, InvalidEndpointError, "-1e-09"),
        ({"a": -3}, InvalidEndpointError, "-3"),
        ({"a": float("nan")}, InvalidEndpointError, "nan"),
        ({"a": float("inf")}, InvalidEndpointError, "inf"),
        ({"a": 10**400}, InvalidEndpointError, "'a'"),
        ({"a": True}, TypeError, "bool"),
        ({"a": "1"}, TypeError, "str"),
        ({"a": None}, TypeError, "NoneType"),
        ({b"a": 1.0}, TypeError, "bytes"),
        ([1, 2], TypeError, "int"),
        ("abc", TypeError, "'abc'"),
        (b"abc", TypeError, "b'abc'"),
    ],
)
def test_bad_weights_raise_and_name_the_value(bad, error, named):
    """Whatever is not ids and finite weights >= 0 raises, naming what is wrong."""
    with pytest.raises(error, match=named):
        as_weights(bad)


@given(st.lists(st.floats(min_value=0, allow_infinity=False), max_size=12))
def test_exact_integers_keep_the_proportions(weights):
    """The integers are in exactly the proportions of the floats, and the smallest such."""
    whole = exact_integers(weights)
    total, exact = sum(whole), [Fraction(weight) for weight in weights]
    assert [top * sum(exact) for top in whole] == [total * weight for weight in exact]
    assert gcd(*whole) <= 1
    assert any(whole) == any(weights)
