"""The optimal schedule: nobody ever strays a whole pick from its share (Tijdeman 1980).

Guarantees: let lag = (share of the picks so far) - (picks so far), n >= 2 ids of positive weight,
D = 1/(2n-2). With fixed weights and no ``exclude``, from any phase, |lag| <= 1 - D after every pick,
which is the best possible for all weights at once; so any window is within 2(1 - D). With the
members fixed and their weights changing at will, lag stays within [-(1 - D), 1 - D + H(n-1)],
H(k) = 1 + 1/2 + ... + 1/k, which is below H(n) + 1. (If the number of positive weights changes, n is the
largest there was.)

The rule: number the picks t = 1, 2, ... Job c (from 0) of an id with share p is *released* at the first
t with ``p*t - c >= D`` and *due* at the real time ``(c + 1 - D)/p``: waiting beyond it means a lag
above 1 - D. Each pick takes the released job due first. An id that brought a lag along from before
a change counts it on top of ``p*t``. Only after a change can somebody be overdue (lag after the
last pick above 1 - D); while anybody is, the pick goes to the overdue id of the largest lag.

Why the bound under change: let A(k) be the largest mean lag of any k ids after a pick. If nobody
was overdue, A(k) <= 1 - D + 1/k. Otherwise, if the picked id is among those k, their sum did not
grow; if not, each of them was at most its lag before, so A(k) <= A'(k+1) + 1/k with A'(n) = 0. By
induction A(k) <= 1 - D + 1/k + ... + 1/(n-1). Below: no job is taken before its release, and an
overdue id has lag > 1 - D >= D.

Ties: jobs due at exactly the same real time, and overdue ids of exactly the same lag, go in the
order given. So with equal weights phase 0 repeats the order given, and every id is equally often
at every place of a cycle only over random phases.

Cost: O(log n) a pick; building and changing O(n log n). While somebody is overdue see
:mod:`balancers.structures.rising`. Source: R. Tijdeman, "The chairman assignment problem",
Discrete Mathematics 32 (1980).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from heapq import heapify, heappop, heappush, nsmallest

from balancers.structures.lags import carry_lags
from balancers.structures.rising import RisingMax
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["ChairmanSchedule"]

MAX_PHASE = 2**32
LAYOUT_LIMIT = 65_536

# Jobs an id may do between two changes before the fixed-point due times lose exactness.
JOB_BITS = 64


class ChairmanSchedule:
    """Weighted round robin with the least possible deviation, as an endless sequence of ids.

    Example::

        schedule = ChairmanSchedule({"a": 5, "b": 1, "c": 1})
        [schedule.next() for _ in range(7)]  # a b a a a c a

    Args:
        weights: A mapping id -> weight, or an iterable of ids (weight 1 each). Any finite numbers
            >= 0, taken exactly as they are; weight 0 is never picked. May be all zero or empty.
        phase: 0 <= phase <= 2**32: the step of the schedule to start from. Built directly, in
            O(n log n): everything due by then is done, and so are, of the other released jobs,
            those due first, as many as make up ``phase`` picks.

    Raises:
        InvalidEndpointError: For a duplicate id or a bad weight.
        TypeError: For wrong types.
        ValueError: For a phase out of range.

    All arithmetic is on integers. Lags are counted in ``1/unit``, where unit is a multiple of
    (2n-2) times the sum of the weights as integers. The pending job of each id is one integer, its
    *key*: the due time in fixed point, with the id's position in the low bits. See
    :meth:`_begin` for why comparing keys is exact.

    Invariants:
        1. Each id of positive weight has exactly one pending key, in exactly one of ``_ready``
           (released), ``_future[t]`` (released at step t > ``_step``) and ``_overdue``.
        2. ``_future`` has no empty list.
        3. ``key >> _shift`` is the last step after which the job may still be undone.
        4. The lags sum to 0, or to less than 0 by less than n units a rounded change.
        5. ``_overdue`` is None unless somebody is in it.
    """

    __slots__ = (
        "_bounded",
        "_first",
        "_future",
        "_ids",
        "_late_keys",
        "_mask",
        "_overdue",
        "_plan",
        "_rates",
        "_ready",
        "_rows",
        "_shift",
        "_start",
        "_step",
        "_unit",
        "_weights",
        "_whole",
    )

    def __init__(
        self, weights: Mapping[str, float] | Iterable[str], *, phase: int = 0
    ) -> None:
        if isinstance(phase, bool) or not isinstance(phase, int):
            raise TypeError(f"phase must be an int, not {type(phase).__name__}: {phase!r}")
        if not 0 <= phase <= MAX_PHASE:
            raise ValueError(f"phase must be within 0..2**32, not {phase}")
        self._weights = as_weights(weights)
        ids, whole, base = _positive(self._weights)
        self._begin(ids, whole, [0] * len(ids), base, bounded=True)
        if phase and ids:
            self._enter(phase)

    # -- the sequence -----------------------------------------------------------------------------

    def next(self, exclude: Collection[str] = ()) -> str:
        """Return the id of the next pick.

        Args:
            exclude: Ids this pick must not go to. It goes to the rule's choice among the rest and
                is charged to it: the overdue id of the largest lag, else the released job due first, else
                the job released next. The guarantees are about runs of picks without it.

        Raises:
            LookupError: Every weight is 0, or every id of positive weight is excluded. Nothing
                has changed.
            TypeError: ``exclude`` is a bare ``str``.

        Runtime complexity: O(log n); with ``exclude`` O(len(exclude) + log n), or O(n) where no job of
        the rest is released.
        """
        if exclude or self._overdue is not None:
            return self._next_carefully(exclude)
        step = self._step + 1
        ready = self._ready
        future = self._future
        if step in future:
            for key in future.pop(step):
                heappush(ready, key)
        if not ready:
            return self._next_carefully(exclude)
        key = heappop(ready)
        shift = self._shift
        if key >> shift < step - 1:
            heappush(ready, key)
            return self._next_carefully(exclude)
        # From here on the same as ``_take``, which would cost a call.
        self._step = step
        gap, stride, id_ = self._rows[key & self._mask]
        release = (key + gap) >> shift
        if release <= step:
            heappush(ready, key + stride)
        elif release in future:
            future[release].append(key + stride)
        else:
            future[release] = [key + stride]
        return id_

    def _next_carefully(self, exclude: Collection[str]) -> str:
        """:meth:`next` where somebody is excluded, overdue, or nobody is released."""
        if isinstance(exclude, str):
            raise TypeError(f"exclude is a collection of ids, not the bare str {exclude!r}")
        excluded = frozenset(exclude)
        step = self._step + 1
        for key in self._future.pop(step, ()):
            heappush(self._ready, key)
        self._collect_overdue(step - 1)
        chosen = self._pop_overdue(excluded, step - 1)
        if chosen is None:
            chosen = self._pop_ready(excluded)
        if chosen is None:
            chosen = self._pop_future(excluded)
        if chosen is None:
            if not self._ids:
                raise LookupError("nothing to pick: no id has a positive weight")
            raise LookupError("nothing to pick: every id of positive weight is excluded")
        self._bounded = self._bounded and not excluded
        return self._take(chosen, step)

    def _take(self, key: int, step: int) -> str:
        self._step = step
        gap, stride, id_ = self._rows[key & self._mask]
        release = (key + gap) >> self._shift
        if release <= step:
            heappush(self._ready, key + stride)
        else:
            self._future.setdefault(release, []).append(key + stride)
        return id_

    def _collect_overdue(self, now: int) -> None:
        """Move the ready keys that are overdue after step ``now`` to ``_overdue``."""
        ready = self._ready
        while ready and ready[0] >> self._shift < now:
            key = heappop(ready)
            index = key & self._mask
            if self._overdue is None:
                self._overdue = RisingMax()
            done = self._jobs_done(key)
            offset = self._start[index] - done * self._unit
            self._overdue.push(index, offset, self._rates[index], now)
            self._late_keys[index] = key

    def _pop_overdue(self, excluded: frozenset[str], now: int) -> int | None:
        overdue = self._overdue
        if overdue is None:
            return None
        chosen = None
        aside = []
        while chosen is None and overdue:
            index = overdue.pop(now)
            key = self._late_keys.pop(index)
            if self._ids[index] in excluded:
                aside.append(key)
            else:
                chosen = key
        if not overdue:
            self._overdue = None
        for key in aside:
            # They are still overdue, and go back by the way they came.
            heappush(self._ready, key)
        if aside:
            self._collect_overdue(now)
        return chosen

    def _pop_ready(self, excluded: frozenset[str]) -> int | None:
        chosen = None
        aside = []
        while chosen is None and self._ready:
            key = heappop(self._ready)
            if self._ids[key & self._mask] in excluded:
                aside.append(key)
            else:
                chosen = key
        for key in aside:
            heappush(self._ready, key)
        return chosen

    def _pop_future(self, excluded: frozenset[str]) -> int | None:
        for release in sorted(self._future):
            bucket = self._future[release]
            for key in sorted(bucket):
                if self._ids[key & self._mask] not in excluded:
                    bucket.remove(key)
                    if not bucket:
                        del self._future[release]
                    return key
        return None

    # -- changes ----------------------------------------------------------------------------------

    def update(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        """Change the members and weights to exactly ``weights``; takes effect at the next pick.

        Survivors keep their lag. The lag of ids that leave (or whose weight becomes 0) is poured
        over the survivors: a positive sum raises the lowest lags, a negative one lowers the
        highest. Ids that join (or come back from weight 0) start at lag 0. Lags are exact, or
        rounded down by less than 2**-128 where their denominators have grown too long; after
        rounding the lower bound of the guarantees stays exact for n >= 3, and for n = 2 holds up to
        the sum of the roundings.

        Weights in the same proportions change nothing.

        Raises:
            InvalidEndpointError, TypeError: As the constructor; nothing has changed then.

        Runtime complexity: O(n log n).
        """
        checked = as_weights(weights)
        ids, whole, base = _positive(checked)
        if ids != self._ids or whole != self._whole:
            before = dict(zip(self._ids, self._numerators(), strict=True))
            lags, unit = carry_lags(before, self._unit, ids, base)
            self._begin(ids, whole, lags, unit, bounded=not any(lags))
        self._weights = checked

    def advance(self, steps: int) -> None:
        """Move on as ``steps`` calls of :meth:`next` would.

        For whoever served picks from :meth:`layout` and now wants to change something.

        Raises:
            LookupError: ``steps`` > 0 and every weight is 0.
            ValueError: ``steps`` < 0.

        Runtime complexity: O(n log n + W) for any number of steps if nothing happened since
        :meth:`layout` (W is :attr:`period`); otherwise that of the calls.
        """
        if steps < 0:
            raise ValueError(f"steps must be >= 0, not {steps}")
        if self._plan is None or self._plan[0] != self._step:
            for _ in range(steps):
                self.next()
            return
        _, lead_in, cycle = self._plan
        rounds, rest = divmod(max(0, steps - len(lead_in)), len(cycle))
        served = Counter(lead_in[:steps])
        served.update(cycle[:rest])
        lags = [
            lag + rate * steps - (served[id_] + rounds * weight) * self._unit
            for id_, weight, lag, rate in zip(
                self._ids, self._whole, self._numerators(), self._rates, strict=True
            )
        ]
        self._begin(self._ids, self._whole, lags, self._unit, bounded=self._bounded)

    # -- questions --------------------------------------------------------------------------------

    @property
    def period(self) -> int:
        """The sum of the weights as the smallest integers in their proportions; 0 if all are 0."""
        return sum(self._whole)

    def lags(self) -> dict[str, Fraction]:
        """Return every id's lag after the last pick, exactly; ids of weight 0 have lag 0.

        Runtime complexity: O(n).
        """
        known = dict(zip(self._ids, self._numerators(), strict=True))
        return {id_: Fraction(known.get(id_, 0), self._unit) for id_ in self._weights}

    def layout(
        self, limit: int = LAYOUT_LIMIT
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Return the coming picks as ``(lead_in, cycle)``: lead_in once, then cycle for ever.

        The lags decide all that follows, and a block of W picks (W is :attr:`period`) that gives
        every id its integer weight leaves the lags as they were; so once one block does, all
        do. From phase 0 that is the first block and lead_in is empty. From another phase it is at
        latest the second: at the next multiple of W every feasible schedule has all lags at 0.
        After a change of weights up to :data:`MAX_LEAD_IN` blocks are tried.

        The schedule itself does not move: see :meth:`advance`.

        Returns:
            None if W is 0 or above ``limit``, or no block repeats.

        Runtime complexity: O(W log n) times the number of blocks, about 0.5 µs a pick.
        """
        period = self.period
        if not 0 < period <= limit:
            return None
        fork: ChairmanSchedule = object.__new__(type(self))
        fork._weights = self._weights
        fork._begin(self._ids, self._whole, self._numerators(), self._unit, bounded=False)
        quota = dict(zip(self._ids, self._whole, strict=True))
        step = fork.next
        lead_in: list[str] = []
        for _ in range(MAX_LEAD_IN + 1):
            block = [step() for _ in range(period)]
            if Counter(block) == quota:
                self._plan = (self._step, tuple(lead_in), tuple(block))
                return self._plan[1:]
            lead_in += block
        return None

    # -- the inside -------------------------------------------------------------------------------

    def _begin(
        self, ids: list[str], whole: list[int], lags: list[int], unit: int, *, bounded: bool
    ) -> None:
        """Start counting steps at 0 with these lags, in ``1/unit``.

        With rate a = unit * p, job c is due at the rational x = (c*unit + unit - D*unit - lag) / a.
        The key holds x times 2**k, rounded up once at the start and once a job, plus the id's
        position times 2**64. For fewer than 2**64 jobs the rounding stays below one position, so
        equal due times compare by position; and k is chosen so that all of it stays below
        1 / (4 * a * b) for any two rates, which is less than any distance between different due
        times, and between a due time or release and the next step. So comparing keys compares
        exact due times, and shifting them right gives exact steps.

        ``bounded`` says that the lags are those of some phase, where nobody is ever overdue.
        """
        total = sum(whole)
        margin = unit // _twice_the_others(len(ids))  # D
        rates = [unit // total * weight for weight in whole]
        position_bits = len(ids).bit_length()
        k = JOB_BITS + 2 + position_bits + 2 * max(rates, default=0).bit_length()
        self._ids = ids
        self._whole = whole
        self._rates = rates
        self._start = lags
        self._unit = unit
        self._step = 0
        self._shift = k + position_bits
        self._mask = (1 << position_bits) - 1
        self._rows = []
        self._first = []
        self._ready = []
        self._future: dict[int, list[int]] = {}
        self._overdue: RisingMax | None = None
        self._late_keys: dict[int, int] = {}
        self._plan: tuple[int, tuple[str, ...], tuple[str, ...]] | None = None
        self._bounded = bounded
        for index, (id_, rate, lag) in enumerate(zip(ids, rates, lags, strict=True)):
            due = _ceil_div(unit - margin - lag << k, rate) + (index << JOB_BITS)
            stride = _ceil_div(unit << k, rate)
            # From a job's due time to the release of the next: 2D more, rounded up to a step.
            gap = _ceil_div(2 * margin + rate - 1 << k, rate)
            key = due << position_bits | index
            self._first.append(key)
            self._rows.append((gap << position_bits, stride << position_bits, id_))
            release = _ceil_div(margin - lag, rate)
            if release <= 1:
                self._ready.append(key)
            else:
                self._future.setdefault(release, []).append(key)
        heapify(self._ready)

    def _enter(self, phase: int) -> None:
        """From phase 0, go to step ``phase``."""
        ids, whole, unit = self._ids, self._whole, self._unit
        margin = unit // _twice_the_others(len(ids))
        # Jobs j = 1, 2, ... with j < phase * p + D had to be done by now.
        entitled = [rate * phase for rate in self._rates]
        done = [_ceil_div(due + margin, unit) - 1 for due in entitled]
        owed = phase - sum(done)
        lags = [due - jobs * unit for due, jobs in zip(entitled, done, strict=True)]
        self._begin(ids, whole, lags, unit, bounded=True)
        released = (key for index, key in enumerate(self._first) if lags[index] >= margin)
        for key in nsmallest(owed, released):
            lags[key & self._mask] -= unit
        self._begin(ids, whole, lags, unit, bounded=True)

    def _pending(self) -> list[int]:
        """All pending keys, by position."""
        keys = [*self._ready, *self._late_keys.values()]
        for bucket in self._future.values():
            keys += bucket
        return sorted(keys, key=self._mask.__and__)

    def _jobs_done(self, key: int) -> int:
        index = key & self._mask
        return (key - self._first[index]) // self._rows[index][1]

    def _numerators(self) -> list[int]:
        """The lags after the last pick, in ``1/unit``, by position."""
        return [
            lag + rate * self._step - self._jobs_done(key) * self._unit
            for lag, rate, key in zip(self._start, self._rates, self._pending(), strict=True)
        ]

    def _check(self) -> None:
        """Assert the invariants."""
        keys = self._pending()
        assert [key & self._mask for key in keys] == list(range(len(self._ids)))
        assert all(self._future.values())
        assert self._overdue is None or sorted(self._overdue) == sorted(self._late_keys)
        assert self._overdue is None or len(self._overdue) > 0
        margin = Fraction(1, _twice_the_others(len(self._ids)))
        lags = [Fraction(lag, self._unit) for lag in self._numerators()]
        assert -Fraction(1, 2**64) < sum(lags) <= 0
        assert sum(map(self._jobs_done, keys)) == self._step
        for key, lag, rate in zip(keys, lags, self._rates, strict=True):
            due = self._step + (1 - margin - lag) * self._unit / rate
            assert key >> self._shift == due.numerator // due.denominator
            release = self._step - ((lag - margin) * self._unit // rate)
            if key in self._ready:
                assert release <= self._step + 1
            assert release <= self._step or key in self._future.get(release, self._ready)
            if self._bounded:
                assert abs(lag) <= 1 - margin or len(self._ids) == 1


MAX_LEAD_IN = 3


def _positive(weights: Mapping[str, float]) -> tuple[list[str], list[int], int]:
    """The ids of positive weight, their weights as integers, and what a unit is a multiple of."""
    ids = [id_ for id_, weight in weights.items() if weight > 0]
    whole = exact_integers(weights[id_] for id_ in ids)
    return ids, whole, max(1, sum(whole)) * _twice_the_others(len(ids))


def _twice_the_others(n: int) -> int:
    """1/D for n ids. One id alone gets D = 1/2, by which it is picked at every step."""
    return max(2, 2 * n - 2)


def _ceil_div(top: int, bottom: int) -> int:
    return -(-top // bottom)
