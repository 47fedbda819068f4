"""The contract as one suite: every check by name, and all of them in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

from balancers.testing.choice import (
    check_determinism,
    check_exclude,
    check_explain,
    check_fair_ties,
    check_zero_weight,
)
from balancers.testing.collector import check_finalizers
from balancers.testing.errors import check_errors, check_observers, check_shape
from balancers.testing.forks import check_fork
from balancers.testing.leases import (
    check_abandonment,
    check_identity,
    check_late_settlement,
    check_outcomes,
)
from balancers.testing.placement import check_placement
from balancers.testing.subject import Factory, Subject, Traits
from balancers.testing.threads import check_thread_conservation

if TYPE_CHECKING:
    from hypothesis.stateful import RuleBasedStateMachine

__all__ = ["CHECKS", "accounting_machine", "check_accounting", "check_policy", "contract"]


def accounting_machine(factory: Factory, **traits: Unpack[Traits]) -> type[RuleBasedStateMachine]:
    """Return a Hypothesis state machine that compares a balancer with a slow ledger.

    Its ``TestCase`` attribute is a test class for pytest or unittest::

        TestMine = accounting_machine(MyPolicy).TestCase

    Raises:
        ImportError: If Hypothesis is not installed.
    """
    try:
        from balancers.testing.machine import machine_of
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "hypothesis":
            raise
        raise ImportError(
            "the accounting machine needs Hypothesis: pip install 'balancers[testing]'"
        ) from None
    return machine_of(Subject(factory, traits))


def check_accounting(factory: Factory, **traits: Unpack[Traits]) -> None:
    """In-flight, load and picks equal a slow ledger's after any interleaving of calls.

    Raises:
        ImportError: If Hypothesis is not installed.
    """
    machine = accounting_machine(factory, **traits)
    from hypothesis import HealthCheck, settings
    from hypothesis.stateful import run_state_machine_as_test

    subject = Subject(factory, traits)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=subject.examples,
            stateful_step_count=subject.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


CHECKS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        check.__name__.removeprefix("check_"): check
        for check in (
            check_shape,
            check_errors,
            check_observers,
            check_exclude,
            check_zero_weight,
            check_explain,
            check_determinism,
            check_identity,
            check_late_settlement,
            check_abandonment,
            check_outcomes,
            check_finalizers,
            check_placement,
            check_fair_ties,
            check_accounting,
            check_thread_conservation,
            check_fork,
        )
    }
)
"""Every check by its name, the quick and plain ones first."""


def contract(factory: Factory, **traits: Unpack[Traits]) -> dict[str, Callable[[], Any]]:
    """Return the checks of one balancer by name, ready to be called.

    For a test a check::

        @pytest.mark.parametrize("check", contract(MyPolicy).values(), ids=contract(MyPolicy))
        def test_contract(check):
            check()
    """
    return {name: partial(check, factory, **traits) for name, check in CHECKS.items()}


def check_policy(factory: Factory, **traits: Unpack[Traits]) -> None:
    """Hold a balancer to the whole contract.

    Args:
        factory: Called with endpoints and any of the common options ``clock``, ``rng``,
            ``observer`` and ``classify``; returns a ``Balancer``.
        traits: What is known of it; see ``Traits``.

    Raises:
        AssertionError: For the first promise that is broken, saying which.
        ImportError: If Hypothesis is not installed.
    """
    for check in contract(factory, **traits).values():
        check()
