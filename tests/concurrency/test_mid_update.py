"""Picks in the middle of an update: the ledger is ahead of what a policy chooses by."""

from __future__ import annotations

from typing import Any

import pytest

from balancers import Endpoint, NoEligibleEndpointError, NoEndpointError
from balancers.policies import registered

KEYS = {"IPHash": "10.0.0.1"}
OPTIONS: dict[str, dict[str, Any]] = {"Maglev": {"table_size": 251}}
BOUNDED = ("RingHash", "Maglev", "Rendezvous", "PrefixAffinity")
CASES = [(name, {}) for name in registered()] + [(name, {"load_factor": 2.0}) for name in BOUNDED]


def interrupted(name: str, options: dict[str, Any]) -> Any:
    """Return a balancer that calls ``meanwhile`` just before it publishes a view."""
    policy: Any = registered()[name]

    class Interrupted(policy):
        meanwhile: Any = None

        def _publish(self, view: Any) -> None:
            if self.meanwhile is not None:
                self.meanwhile()
            super()._publish(view)

    return Interrupted(["a", "b"], **OPTIONS.get(name, {}), **options)


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("after", [["b"], ["c"], [Endpoint("a", weight=0), "b"], ["b", "a"], []])
def test_exclude_holds_in_the_middle_of_an_update(
    name: str, options: dict[str, Any], after: list[Any]
) -> None:
    """A pick during an update sees the old membership, and never returns an excluded id."""
    key = KEYS.get(name, "key")
    if name == "JumpHash":  # takes no weight 0 beside others
        after = [e for e in after if isinstance(e, str)]
    seen: list[str | None] = []
    balancer = interrupted(name, options)

    def meanwhile() -> None:
        for out in ([], ["a"], ["b"], ["a", "b"]):
            try:
                with balancer.pick(key, exclude=out, cost=2.0) as pick:
                    seen.append(pick.endpoint.id)
                    assert pick.endpoint.id not in out
            except (NoEligibleEndpointError, NoEndpointError):
                seen.append(None)
                assert {e.id for e in balancer._view.endpoints} <= set(out)
            told = balancer.explain(key, exclude=out)
            assert told.chosen is None or told.chosen.id not in out

    balancer.meanwhile = meanwhile
    balancer.update(after)
    balancer.update(["a"])  # comes back as another, where it had left
    assert len(seen) >= 4
