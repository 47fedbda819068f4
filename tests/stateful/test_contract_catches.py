"""The contract suite itself: each fault is found by the check that is there for it."""

from __future__ import annotations

from functools import partial

import pytest
from broken import FAULTS
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from balancers.testing import CHECKS, accounting_machine, check_policy, forks

TRAITS = {"weights": (1.0,), "seed": 3}
QUICK = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # the smallest failing run is of no interest here
)


@pytest.mark.parametrize(
    ("factory", "check"),
    FAULTS,
    ids=[
        f"{getattr(factory, '__name__', 'partial')}-{check or 'all'}" for factory, check in FAULTS
    ],
)
def test_catches(factory, check, monkeypatch):
    """A balancer with one fault fails the check that is meant for it; a correct one passes all."""
    if not check:
        check_policy(factory, **TRAITS, examples=20, cycles=1_000)
        return
    monkeypatch.setattr(forks, "PATIENCE", 1)  # a fault may be that a child never ends
    if check == "accounting":
        machine = accounting_machine(factory, **TRAITS)
        run = partial(run_state_machine_as_test, machine, settings=QUICK)
    else:
        run = partial(CHECKS[check], factory, **TRAITS)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run()
