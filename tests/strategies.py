"""Hypothesis strategies for what balancers are given; append yours."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from balancers import Endpoint

__all__ = ["endpoints", "ids", "keys", "memberships", "weights"]

ids = st.text(min_size=1, max_size=8)
"""Any text that is not empty, lone surrogates left out."""

small_ids = st.sampled_from("abcdefgh")
"""Few enough that memberships overlap."""

weights = st.floats(min_value=0.0, max_value=1e12, allow_nan=False)

keys = st.one_of(
    st.text(), st.binary(), st.integers(), st.characters(categories=["Cs"]), st.just("")
)
"""Every kind of key, lone surrogates and integers of any size included."""

metadata = st.dictionaries(
    st.text(max_size=4),
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.lists(st.integers()),
    max_size=3,
)


@st.composite
def endpoints(draw: st.DrawFn, names: st.SearchStrategy[str] = ids) -> Endpoint:
    """One endpoint with any legal value in every field."""
    places = st.none() | st.text(max_size=4)
    return Endpoint(
        draw(names),
        weight=draw(weights),
        region=draw(places),
        zone=draw(places),
        priority=draw(st.integers(0, 3)),
        hash_key=draw(st.none() | ids),
        metadata=draw(metadata),
    )


def memberships(
    names: st.SearchStrategy[str] = small_ids, *, max_size: int = 8
) -> st.SearchStrategy[list[Endpoint]]:
    """Lists of endpoints of distinct ids, empty ones included."""
    one: st.SearchStrategy[Any] = st.builds(
        Endpoint, names, weight=st.sampled_from((0.0, 0.5, 1.0, 2.0)), priority=st.integers(0, 1)
    )
    return st.lists(one, max_size=max_size, unique_by=lambda endpoint: endpoint.id)
