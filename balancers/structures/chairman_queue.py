"""The pending jobs of the chairman rule, queued so that the next pick is quick to find.

One key for each id (:mod:`balancers.structures.chairman_jobs`) moves between three queues. A job
not yet released waits in a dict by its release, which is a whole step, so letting jobs in costs one
look-up a pick. A released job waits in a heap by due time. A job that is overdue, which only a
change or an ``exclude`` can bring about, rises by its lag in a
:class:`~balancers.structures.rising.RisingMax`.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heapify, heappop, heappush

from balancers.structures.chairman_jobs import ChairmanJobs
from balancers.structures.rising import RisingMax

__all__ = ["ChairmanQueue"]


class ChairmanQueue:
    """The rule over fixed weights; "step" is the number of picks since :meth:`_begin`.

    Invariants:
        1. Each id of positive weight has exactly one pending key, in exactly one of ``_ready``
           (a heap: released at the next step or before), ``_future[t]`` (released at t > step)
           and ``_overdue_keys`` (its lag is then a line in ``_overdue``).
        2. ``_future`` has no empty list; ``_overdue`` is None when nobody is in it.
        3. ``key >> _shift`` is the last step after which the job may still be undone.
        4. The lags sum to 0, or are short of it by less than n units for each rounded change.
        5. If ``_regular``, the lags are those of some phase, and nobody will ever be overdue.
        6. ``_mask``, ``_shift`` and ``_rows`` are those of ``_jobs``.
    """

    __slots__ = (
        "_future",
        "_jobs",
        "_mask",
        "_overdue",
        "_overdue_keys",
        "_ready",
        "_regular",
        "_rows",
        "_shift",
        "_step",
    )

    def __init__(self, jobs: ChairmanJobs, *, regular: bool) -> None:
        self._begin(jobs, regular=regular)

    def _begin(self, jobs: ChairmanJobs, *, regular: bool) -> None:
        """Count steps from 0 again, with these jobs pending."""
        self._jobs = jobs
        self._mask = jobs.mask
        self._shift = jobs.shift
        self._rows = jobs.rows
        self._regular = regular
        self._step = 0
        self._ready = []
        self._future: dict[int, list[int]] = {}
        self._overdue: RisingMax | None = None
        self._overdue_keys: dict[int, int] = {}
        for key, release in zip(jobs.first, jobs.releases, strict=True):
            if release <= 1:
                self._ready.append(key)
            else:
                self._future.setdefault(release, []).append(key)
        heapify(self._ready)

    def next(self, exclude: Collection[str] = ()) -> str:
        """Return the id of the next pick.

        Args:
            exclude: Ids this pick must not go to. It goes to the rule's choice among the rest and
                is charged to it: the overdue id of the largest lag, else the released job due
                first, else the job released next. The guarantees are about picks without it.

        Raises:
            LookupError: Every weight is 0, or every id of positive weight is excluded; no pick
                has happened then.
            TypeError: ``exclude`` is a bare ``str``.

        Runtime complexity: O(log n); with ``exclude`` O(len(exclude) + log n), or O(n) where no job
        of the rest is released.
        """
        if exclude or self._overdue is not None:
            return self._next_carefully(exclude)
        step = self._step + 1
        ready = self._ready
        future = self._future
        if step in future:
            for key in future.pop(step):
                heappush(ready, key)
        try:
            key = heappop(ready)
        except IndexError:
            return self._next_carefully(exclude)
        shift = self._shift
        if not self._regular and key >> shift < step - 1:  # overdue
            heappush(ready, key)
            return self._next_carefully(exclude)
        # From here on the same as ``_take``, without the price of a call.
        self._step = step
        gap, stride, id_ = self._rows[key & self._mask]
        release = (key + gap) >> shift
        if release in future:
            future[release].append(key + stride)
        elif release > step:
            future[release] = [key + stride]
        else:
            heappush(ready, key + stride)
        return id_

    def run(self, count: int) -> list[str]:
        """Return the ids of the next ``count`` picks, a tenth cheaper than as many :meth:`next`.

        Raises:
            LookupError: Every weight is 0 and ``count`` > 0.
            ValueError: ``count`` < 0.

        Runtime complexity: O(log n) a pick.
        """
        if count < 0:
            raise ValueError(f"count must be >= 0, not {count}")
        if not self._regular or not self._rows:
            return [self.next() for _ in range(count)]
        ready, future, rows = self._ready, self._future, self._rows
        mask, shift = self._mask, self._shift
        picks: list[str] = []
        start = self._step + 1
        for step in range(start, start + count):
            # As in ``next``; nobody is overdue, and somebody is always released.
            if step in future:
                for key in future.pop(step):
                    heappush(ready, key)
            key = heappop(ready)
            gap, stride, id_ = rows[key & mask]
            release = (key + gap) >> shift
            if release in future:
                future[release].append(key + stride)
            elif release > step:
                future[release] = [key + stride]
            else:
                heappush(ready, key + stride)
            picks.append(id_)
        self._step += count
        return picks

    def _next_carefully(self, exclude: Collection[str]) -> str:
        """:meth:`next` where somebody is excluded or overdue, or nobody is released."""
        if isinstance(exclude, str):
            raise TypeError(f"exclude is a collection of ids, not the bare str {exclude!r}")
        excluded = frozenset(exclude)
        for released in self._future.pop(self._step + 1, ()):
            heappush(self._ready, released)
        self._collect_overdue()
        key = self._pop_overdue(excluded)
        if key is None:
            key = self._pop_ready(excluded)
        if key is None:
            key = self._pop_future(excluded)
        if key is None:
            why = "every id of positive weight is excluded" if self._rows else "all weights are 0"
            raise LookupError(f"nothing to pick: {why}")
        self._regular = self._regular and not excluded
        return self._take(key)

    def _take(self, key: int) -> str:
        """Count a pick for the id of ``key``, which is in no queue any more."""
        self._step += 1
        gap, stride, id_ = self._rows[key & self._mask]
        release = (key + gap) >> self._shift
        if release > self._step:
            self._future.setdefault(release, []).append(key + stride)
        else:
            heappush(self._ready, key + stride)
        return id_

    def _collect_overdue(self) -> None:
        """Move the ready keys that are overdue to ``_overdue``."""
        ready = self._ready
        while ready and ready[0] >> self._shift < self._step:
            key = heappop(ready)
            position = key & self._mask
            if self._overdue is None:
                self._overdue = RisingMax()
            self._overdue.push(
                position, self._jobs.offset(key), self._jobs.rates[position], self._step
            )
            self._overdue_keys[position] = key

    def _pop_overdue(self, excluded: frozenset[str]) -> int | None:
        """Remove and return the key of the largest lag among the overdue not excluded."""
        chosen = None
        aside = []
        while chosen is None and self._overdue_keys and self._overdue is not None:
            key = self._overdue_keys.pop(self._overdue.pop(self._step))
            if self._rows[key & self._mask][2] in excluded:
                aside.append(key)
            else:
                chosen = key
        if not self._overdue_keys:
            self._overdue = None
        for key in aside:
            heappush(self._ready, key)
        self._collect_overdue()
        return chosen

    def _pop_ready(self, excluded: frozenset[str]) -> int | None:
        """Remove and return the key due first among the released not excluded."""
        chosen = None
        aside = []
        while chosen is None and self._ready:
            key = heappop(self._ready)
            if self._rows[key & self._mask][2] in excluded:
                aside.append(key)
            else:
                chosen = key
        for key in aside:
            heappush(self._ready, key)
        return chosen

    def _pop_future(self, excluded: frozenset[str]) -> int | None:
        """Remove and return the key released next, of those not excluded; ties: due first."""
        for release in sorted(self._future):
            bucket = self._future[release]
            for key in sorted(bucket):
                if self._rows[key & self._mask][2] not in excluded:
                    bucket.remove(key)
                    if not bucket:
                        del self._future[release]
                    return key
        return None

    def _copy_queues_to(self, twin: ChairmanQueue) -> None:
        """Give ``twin`` this state, with nothing mutable shared."""
        twin._jobs = self._jobs
        twin._mask = self._mask
        twin._shift = self._shift
        twin._rows = self._rows
        twin._regular = self._regular
        twin._step = self._step
        twin._ready = self._ready[:]
        twin._future = {release: bucket[:] for release, bucket in self._future.items()}
        twin._overdue = None if self._overdue is None else self._overdue.copy()
        twin._overdue_keys = dict(self._overdue_keys)

    def _pending(self) -> list[int]:
        """Return all pending keys, by position."""
        keys = [*self._ready, *self._overdue_keys.values()]
        for bucket in self._future.values():
            keys += bucket
        return sorted(keys, key=self._mask.__and__)

    def _numerators(self) -> list[int]:
        """Return the lags after the last pick, in ``1/unit``, by position."""
        jobs = self._jobs
        step = self._step
        return [
            jobs.offset(key) + rate * step
            for rate, key in zip(jobs.rates, self._pending(), strict=True)
        ]

    def _check(self) -> None:
        """Assert the invariants."""
        jobs, step = self._jobs, self._step
        keys = self._pending()
        assert [key & jobs.mask for key in keys] == list(range(len(jobs.ids)))
        assert all(self._future.values())
        assert min(self._future, default=step + 1) > step
        assert (self._overdue is None) == (not self._overdue_keys)
        if self._overdue is not None:
            self._overdue._check()
            assert sorted(self._overdue) == sorted(self._overdue_keys)
        lags = self._numerators()
        assert -(jobs.unit >> 64) <= sum(lags) <= 0
        assert sum(map(jobs.done, keys)) == step
        ready = set(self._ready)
        for key, lag, rate in zip(keys, lags, jobs.rates, strict=True):
            # The last step t with lag + rate * (t - step) <= 1 - D, and the first with >= D.
            last = step + (jobs.unit - jobs.margin - lag) // rate
            release = step - (lag - jobs.margin) // rate
            assert key >> jobs.shift == last
            assert key not in ready or release <= step + 1
            assert release <= step + 1 or key in self._future[release]
            assert key & jobs.mask not in self._overdue_keys or last < step
            assert not self._regular or abs(lag) <= jobs.unit - jobs.margin
        assert (self._mask, self._shift, self._rows) == (jobs.mask, jobs.shift, jobs.rows)
