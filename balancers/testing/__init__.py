"""A kit for testing with balancers, and for testing balancers.

Doubles to inject: ``ManualClock``, ``ScriptedRandom``, ``RecordingObserver``.

The contract, as a suite that holds any balancer to it, yours and ours alike::

    from balancers.testing import check_policy

    def test_my_policy() -> None:
        check_policy(MyPolicy)

``contract(MyPolicy)`` gives the same checks by name, one test each; every check can also be
called alone. What a balancer does otherwise by design is said by ``Traits``, for instance
``check_policy(MyPolicy, weights=(1.0,))`` where unequal weights are refused.

Only the accounting machine needs Hypothesis (``pip install 'balancers[testing]'``).
"""

from balancers.testing.binomial import FALSE_ALARM, binomial_range
from balancers.testing.choice import (
    check_determinism,
    check_exclude,
    check_explain,
    check_fair_ties,
    check_zero_weight,
)
from balancers.testing.collector import check_finalizers
from balancers.testing.doubles import Event, ManualClock, RecordingObserver, ScriptedRandom
from balancers.testing.errors import check_errors, check_observers, check_shape
from balancers.testing.forks import check_fork
from balancers.testing.leases import (
    check_abandonment,
    check_identity,
    check_late_settlement,
    check_outcomes,
)
from balancers.testing.placement import check_placement
from balancers.testing.subject import Factory, Traits
from balancers.testing.suite import (
    CHECKS,
    accounting_machine,
    check_accounting,
    check_policy,
    contract,
)
from balancers.testing.threads import check_thread_conservation

__all__ = [
    "CHECKS",
    "FALSE_ALARM",
    "Event",
    "Factory",
    "ManualClock",
    "RecordingObserver",
    "ScriptedRandom",
    "Traits",
    "accounting_machine",
    "binomial_range",
    "check_abandonment",
    "check_accounting",
    "check_determinism",
    "check_errors",
    "check_exclude",
    "check_explain",
    "check_fair_ties",
    "check_finalizers",
    "check_fork",
    "check_identity",
    "check_late_settlement",
    "check_observers",
    "check_outcomes",
    "check_placement",
    "check_policy",
    "check_shape",
    "check_thread_conservation",
    "check_zero_weight",
    "contract",
]
