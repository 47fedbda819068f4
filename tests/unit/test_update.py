"""``update``: the whole set, all or nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import delta_of
from strategies import memberships

from balancers import Endpoint, InvalidEndpointError, RoundRobin
from balancers.core import Policy
from balancers.testing import RecordingObserver


@given(st.lists(memberships(), min_size=1, max_size=12), st.data())
def test_sequences(updates, data):
    """Over any sequence of updates deltas add up, and open leases stay with their stay."""
    balancer = RoundRobin(updates[0])
    open_by_stay = {endpoint.id: [] for endpoint in updates[0]}
    for before, after in pairwise(updates):
        able = [e.id for e in before if e.weight > 0]
        for _ in range(data.draw(st.integers(0, 3)) if able else 0):
            pick = balancer.pick()
            open_by_stay[pick.endpoint.id].append(pick)
        gone = {e.id for e in before} - {e.id for e in after}
        late = [pick for name in gone for pick in open_by_stay.pop(name)]
        assert balancer.update(iter(after)) == delta_of(before, after)
        assert balancer.endpoints == tuple(after)
        for endpoint in after:
            open_by_stay.setdefault(endpoint.id, [])
        for pick in late:
            assert pick.done()
        found = {view.endpoint.id: view.in_flight for view in balancer.snapshot().endpoints}
        assert found == {name: len(picks) for name, picks in open_by_stay.items()}
    for picks in open_by_stay.values():
        for pick in picks:
            assert pick.done()


class Picky(Policy):
    """Refuses some memberships early, some late."""

    def _admit(self, roster):
        if any(endpoint.id == "early" for endpoint in roster):
            raise InvalidEndpointError("early")

    def _build(self, view):
        if any(endpoint.id == "late" for endpoint in view.roster):
            raise ZeroDivisionError
        return len(view.cells)

    def _choose(self, view, key, exclude, cost, rng):
        assert view.state == len(view.cells)
        return view.cells[0]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["x", "early"], InvalidEndpointError),
        (["x", "late"], ZeroDivisionError),
        (["x", "x"], InvalidEndpointError),
        ([Endpoint("a", weight=9), "x", 7], TypeError),
    ],
)
def test_failing_changes_nothing(wrong, error):
    """An update that fails, at whatever point, leaves members, cells, weights and callbacks."""
    observer = RecordingObserver()
    balancer = Picky(["a", "b"], observer=observer)
    lease = balancer.pick()
    calls = []
    balancer.changed(lambda: calls.append(1))
    before = balancer.snapshot(), balancer.endpoints, dict(balancer._ledger.cells)
    for _ in range(2):
        with pytest.raises(error):
            balancer.update(wrong)
        assert (balancer.snapshot(), balancer.endpoints, dict(balancer._ledger.cells)) == before
        assert lease.endpoint == balancer.endpoints[0] == Endpoint("a")
    assert calls == observer.deltas == []
    balancer.pick().done()
    assert balancer.update(["a"]).removed == ("b",)
    assert lease.done()
    with pytest.raises(error):
        Picky(wrong)


def test_an_update_in_an_iterator():
    """An iterable that itself updates the balancer is read before anything is locked."""
    balancer = RoundRobin(["a"])

    def endpoints():
        yield "b"
        balancer.update(["c"])
        yield "d"

    delta = balancer.update(endpoints())
    assert delta.removed == ("c",)
    assert [endpoint.id for endpoint in balancer.endpoints] == ["b", "d"]


def test_metadata_that_compares_itself():
    """Comparing metadata is somebody else's code: it runs under no lock of ours."""
    balancer = RoundRobin(["a"])

    compared = []

    class Curious:
        def __eq__(self, other):
            compared.append(balancer._control.locked())
            return True

        __hash__ = None

    for _ in range(2):
        balancer.update([Endpoint("a", metadata={"x": Curious()})])
    assert compared
    assert not any(compared)


def test_large_memberships_are_quick_enough_to_test():
    """Ten thousand endpoints come, change, and go in one update each."""
    names = [f"host-{i}" for i in range(10_000)]
    balancer = RoundRobin(names)
    assert len(balancer.update(Endpoint(name, weight=2) for name in names).changed) == 10_000
    assert len(balancer.update(names[:1]).removed) == 9_999
