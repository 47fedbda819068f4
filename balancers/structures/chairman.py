"""The optimal schedule: nobody ever strays a whole pick from its share (Tijdeman 1980).

Guarantees: let lag = (share of the picks so far) - (picks so far), n >= 2 ids of positive weight,
D = 1/(2n-2), H(k) = 1 + 1/2 + ... + 1/k.

* With fixed weights and no ``exclude``, from any phase: |lag| <= 1 - D after every pick, the least
  bound that can be kept for all weights. So any window is within 2(1 - D).
* With fixed members whose weights change at will, no ``exclude``: lag is within
  [-(1 - D), 1 - D + H(n-1)], and so below H(n) + 1. Where weights go to 0 and come back, n is the
  largest number of positive ones.

The rule: each pick takes, of the released jobs, the one due first; both words are explained in
:mod:`balancers.structures.chairman_jobs`. An id is overdue while its lag after the last pick is
above 1 - D, which can happen only after a change or an ``exclude``; while anybody is, the pick goes
to the overdue id of the largest lag.

Why the bound under change: let A(k) be the largest mean lag of any k ids after a pick, A(n) = 0,
and A'(k) the same one pick before. If nobody was overdue, A(k) <= 1 - D + 1/k. Otherwise, if the
picked id is among the k, they gained at most 1 and lost 1; if not, each of them lagged at most as
far as the picked one, so A(k) <= A'(k+1) + 1/k. By induction A(k) <= 1 - D + 1/k + ... + 1/(n-1).
Below: nothing is taken before its release, and an overdue id has lag > 1 - D >= D.

Ties: jobs due at exactly the same real time, and overdue ids of exactly the same lag, go in the
order given. Under equal weights phase 0 therefore repeats the order given for ever, as plain round
robin does: who comes first is an advantage of less than one pick, once, and a random phase makes it
equally likely for all.

Cost: O(log n) a pick, about 0.5 µs at n = 1,000 (CPython 3.11); O(n log n) to build or change.
While somebody is overdue a pick takes some microseconds, see :mod:`balancers.structures.rising`.

Use when weights stand for a while; :class:`~balancers.structures.smooth.SmoothSchedule` keeps the
smaller bound where they change all the time.

Source: R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32 (1980).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from fractions import Fraction
from heapq import heapify

from balancers.structures.chairman_jobs import ChairmanJobs, lags_at_phase, twice_the_others
from balancers.structures.chairman_paced import PacedSchedule
from balancers.structures.chairman_queue import ChairmanQueue
from balancers.structures.lags import carry_lags
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["ChairmanSchedule"]

MAX_PHASE = 2**32
LAYOUT_LIMIT = 65_536
LAYOUT_BLOCKS = 4


class ChairmanSchedule(ChairmanQueue):
    """Weighted round robin of the least possible deviation, as an endless sequence of ids.

    Example::

        schedule = ChairmanSchedule({"a": 5, "b": 1, "c": 1})
        [schedule.next() for _ in range(7)]  # a a b a a c a

    Args:
        weights: A mapping id -> weight, or an iterable of ids (weight 1 each). Any finite numbers
            >= 0, taken exactly as they are; weight 0 is never picked. May be all zero or empty.
        phase: 0 <= phase <= 2**32: the step of the schedule to start from, built directly.

    Raises:
        InvalidEndpointError: For a duplicate id or a bad weight.
        TypeError: For wrong types.
        ValueError: For a phase out of range.
    """

    __slots__ = ("_weights",)

    def __init__(self, weights: Mapping[str, float] | Iterable[str], *, phase: int = 0) -> None:
        if isinstance(phase, bool) or not isinstance(phase, int):
            raise TypeError(f"phase must be an int, not {type(phase).__name__}: {phase!r}")
        if not 0 <= phase <= MAX_PHASE:
            raise ValueError(f"phase must be within 0..2**32, not {phase}")
        self._weights = as_weights(weights)
        ids, whole, unit = _positive(self._weights)
        lags = lags_at_phase(whole, unit, phase) if phase and ids else [0] * len(ids)
        super().__init__(ChairmanJobs(ids, whole, lags, unit), regular=True)

    def update(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        """Change the members and weights to exactly ``weights``; takes effect at the next pick.

        Survivors keep their lag. The lags of ids that leave (or whose weight becomes 0) are poured
        over the survivors: a positive sum raises the lowest lags, a negative one lowers the
        highest. Ids that join (or come back from weight 0) start at lag 0. Weights in the same
        proportions change nothing.

        Lags are carried exactly, or rounded down by less than 2**-128 where denominators have grown
        too long. After rounding the lower bound stays exact for n >= 3; for n = 2 it holds up
        to the sum of the roundings, because then nobody may be released and the pick goes to
        the job released next.

        Raises:
            InvalidEndpointError, TypeError: As the constructor; nothing has changed then.

        Runtime complexity: O(n log n).
        """
        checked = as_weights(weights)
        ids, whole, base = _positive(checked)
        jobs = self._jobs
        if ids != jobs.ids or whole != jobs.whole:
            before = dict(zip(jobs.ids, self._numerators(), strict=True))
            lags, unit = carry_lags(before, jobs.unit, ids, base)
            self._begin(ChairmanJobs(ids, whole, lags, unit), regular=not any(lags))
        self._weights = checked

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights in the order given; to be read, not changed."""
        return self._weights

    @property
    def period(self) -> int:
        """The sum of the weights as the smallest integers in their proportions; 0 if all are 0."""
        return sum(self._jobs.whole)

    @property
    def balance(self) -> int:
        """The sum of the lags: 0, as far as bounds go. See ``PacedSchedule.balance``."""
        return 0

    def stands(self, balance: int) -> bool:
        """Whether the balance is still the same: always."""
        return balance == 0

    def quota(self) -> dict[str, int]:
        """Return the picks each id gets in :attr:`period` picks that leave the lags as they were.

        These are the weights as the smallest integers in their proportions, those of 0 left out.
        """
        return dict(zip(self._jobs.ids, self._jobs.whole, strict=True))

    def lags(self) -> dict[str, Fraction]:
        """Return every id's lag after the last pick, exactly; ids of weight 0 have lag 0.

        Runtime complexity: O(n log n).
        """
        known = dict(zip(self._jobs.ids, self._numerators(), strict=True))
        return {id_: Fraction(known.get(id_, 0), self._jobs.unit) for id_ in self._weights}

    def layout(self, limit: int = LAYOUT_LIMIT) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return the coming picks as ``(lead_in, cycle)``: lead_in once, then cycle for ever.

        The lags decide all that follows, and a block of W picks (W is :attr:`period`) that gives
        every id its whole weight leaves the lags as they were; so once a block does, all do. From
        phase 0 that is the first block, and lead_in is empty. From another phase it is at latest
        the second: at the next multiple of W the bound leaves no lags but 0. After a change the
        first four blocks are tried.

        The schedule itself does not move.

        Returns:
            None if W is 0 or above ``limit``, or no block repeats.

        Runtime complexity: O(W log n), about 0.3 µs a pick, times the number of blocks.
        """
        period = self.period
        if not 0 < period <= limit:
            return None
        fork = self.copy()
        quota = self.quota()
        lead_in: list[str] = []
        for _ in range(LAYOUT_BLOCKS):
            block = fork.run(period)
            if Counter(block) == quota:
                return tuple(lead_in), tuple(block)
            lead_in += block
        return None

    def retract(self, counts: Mapping[str, int]) -> None:
        """Take back picks that :meth:`next` or :meth:`run` gave and nobody used.

        For whoever asks for picks ahead of need. The schedule goes back by as many steps, to the
        lags it would have if the picks that were used were all there had been.

        Args:
            counts: How many, by id; each >= 0.

        Raises:
            ValueError: An id without positive weight, or a count below 0; nothing has changed then.

        Runtime complexity: O(n log n).
        """
        jobs = self._jobs
        for id_, count in counts.items():
            if count < 0:
                raise ValueError(f"the count of {id_!r} is {count}; counts are >= 0")
            if count and not self._weights.get(id_):
                raise ValueError(f"{id_!r} has no positive weight here, so it has no picks")
        steps = sum(counts.values())
        if not steps:
            return
        lags = [
            lag - rate * steps + counts.get(id_, 0) * jobs.unit
            for id_, lag, rate in zip(jobs.ids, self._numerators(), jobs.rates, strict=True)
        ]
        self._begin(ChairmanJobs(jobs.ids, jobs.whole, lags, jobs.unit), regular=not any(lags))

    def paced(self, unused: Mapping[str, int]) -> PacedSchedule:
        """Return the schedule as one whose ids may leave and come back at little cost.

        Args:
            unused: Picks to take back first, as in :meth:`retract`.

        Runtime complexity: O(n), quickly.
        """
        ready = [*self._ready, *self._overdue_keys.values()]
        heapify(ready)
        future = {release: keys[:] for release, keys in self._future.items()}
        paced = PacedSchedule(self._jobs, ready, future, self._step)
        paced.retract(unused)
        return paced

    @classmethod
    def resumed(
        cls, paced: PacedSchedule, weights: Mapping[str, float] | Iterable[str]
    ) -> ChairmanSchedule:
        """Return the schedule that goes on from a paced one, as after :meth:`update`.

        What the lags of those in are off 0 by together is poured over the survivors.

        Raises:
            InvalidEndpointError, TypeError: As the constructor.

        Runtime complexity: O(n log n).
        """
        schedule: ChairmanSchedule = object.__new__(cls)
        schedule._weights = as_weights(weights)
        ids, whole, base = _positive(schedule._weights)
        before, unit = paced.numerators()
        rest = {"": -sum(before.values())}  # no id is empty, or it would be one of the survivors
        lags, unit = carry_lags({**rest, **before}, unit, ids, base)
        schedule._begin(ChairmanJobs(ids, whole, lags, unit), regular=not any(lags))
        return schedule

    def copy(self) -> ChairmanSchedule:
        """Return an independent schedule in the same state.

        Runtime complexity: O(n), without comparisons.
        """
        twin: ChairmanSchedule = object.__new__(type(self))
        twin._weights = dict(self._weights)
        self._copy_queues_to(twin)
        return twin


def _positive(weights: Mapping[str, float]) -> tuple[list[str], list[int], int]:
    """Return the ids of positive weight, their weights as integers, and the smallest unit."""
    ids = [id_ for id_, weight in weights.items() if weight > 0]
    whole = exact_integers(weights[id_] for id_ in ids)
    return ids, whole, max(1, sum(whole)) * twice_the_others(len(ids))
