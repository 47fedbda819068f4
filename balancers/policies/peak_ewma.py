"""Peak EWMA: power of two choices over the worst latency lately seen times the load.

Guarantees:
    An endpoint's estimate is at least its last latency, and at least each earlier one decayed by
    exp(-age/decay); reading it changes nothing. A failure counts as a slow answer and never
    improves it. With equal estimates the choices are those of ``PowerOfTwoChoices``, draw for
    draw. An endpoint nobody has heard from takes one request at a time until it answers, as
    long as a drawn rival is better known or less loaded.

Use when:
    Latency differs between endpoints or jumps (garbage collection, cold caches), and bad news
    should count at once.

Avoid when:
    Service times have a heavy tail: one slow *request* makes its endpoint look slow for
    ``decay`` seconds, and medians suffer. Or when speeds differ so much that two slow candidates
    must not be drawn together (see ``PowerOfTwoChoices``). ``Adaptive`` handles both.

Cost:
    O(1) a pick, one random number and no lock; one exponential a candidate; O(n) an update.

Source:
    Finagle's P2CPeakEwma for the rule; projection on read and failures as peaks after linkerd's
    load biaser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp, floor
from typing import Unpack

from balancers.core.choices import Candidates, ChoicePolicy
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.timed import TimedPolicy, Timely
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.protocol import Outcome
from balancers.structures.ewma import Ewma, PeakEwmaCell, checked_decay

__all__ = ["PeakEwma"]

FAILURE_LATENCY = 5.0
LONGEST_RETRY = 300.0
