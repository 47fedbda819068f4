"""The queues behind :class:`~balancers.structures.chairman_paced.PacedSchedule`.

Due times and releases are those of the schedule of before, by its E; who is out, and what D is now,
is looked at when a key comes up. So a change of who is in moves no keys but of whom it is about.
"""

from __future__ import annotations

from collections.abc import Collection
from heapq import heapify, heappop, heappush
from itertools import chain

from balancers.structures.chairman_jobs import ChairmanJobs, twice_the_others

__all__ = ["TIME_BITS", "PacedQueue"]

TIME_BITS = 128


class PacedQueue:
    """The pending keys of those in, the time, and the next pick.

    Args:
        jobs: The jobs of the schedule; read, not changed.
        ready: Its pending keys, as a heap, but for those in ``future``.
        future: The others, all released after ``step``, by release.
        step: Its step.

    Invariants:
        1. Each id has one pending key, unless it is in ``_out``: that of its first job, by
           ``_entered`` or by the jobs, plus one stride for each pick. It is in exactly one
           of ``_ready`` (a heap by due time), ``_future`` and ``_overdue``. In ``_future[t]`` it
           is released at ``t``, rounded up, by E; by D, which is larger, then or later.
        2. ``_gone`` are keys in ``_ready`` or ``_future`` that stand for nobody.
        3. Lags are counted in ``1/_one``. ``_rate`` and ``_offsets`` are the sums, over those in,
           of the rates and of :meth:`_offset`.
        4. ``_now`` is the time of the last pick, in steps of 2**-TIME_BITS, rounded down, so that
           lags are never held for larger than they are.
        5. ``_turn`` is one turn of those in, ``_slack`` more steps than releases by D are later
           than those by E, and ``_behind`` says whether the lags sum to more than 0.
        6. ``_entered[i]`` is (key, offset) of the first job of an id since it came back.
    """

    __slots__ = (
        "_behind",
        "_entered",
        "_future",
        "_gone",
        "_jobs",
        "_now",
        "_offsets",
        "_one",
        "_opened",
        "_out",
        "_overdue",
        "_places",
        "_rate",
        "_ready",
        "_recent",
        "_slack",
        "_slowest",
        "_turn",
    )

    def __init__(
        self, jobs: ChairmanJobs, ready: list[int], future: dict[int, list[int]], step: int
    ) -> None:
        self._jobs = jobs
        self._one = jobs.unit << TIME_BITS
        self._places = {id_: place for place, id_ in enumerate(jobs.ids)}
        self._out: set[int] = set()
        self._gone: set[int] = set()
        self._overdue: dict[int, int] = {}
        self._future = future
        self._ready = ready
        self._slowest = min(jobs.rates)
        self._rate = jobs.unit
        self._offsets = -self._one * step
        self._entered: dict[int, tuple[int, int]] = {}
        self._now = step << TIME_BITS
        self._opened = step  # releases up to this step are in ``_ready``
        self._recent: list[tuple[int, int]] = []  # (key, time before) of the last run's picks
        self._retime()

    def __len__(self) -> int:
        """How many are in."""
        return len(self._places) - len(self._out)

    @property
    def balance(self) -> int:
        """The sum of the lags of those in after the last pick; unit as of ``numerators``."""
        return self._offsets + self._rate * self._now

    def _retime(self) -> None:
        """Take note of who is in, and of the time: invariant 5."""
        jobs, others = self._jobs, twice_the_others(len(self))
        self._turn = self._one // self._rate if self._rate else 0
        self._slack = (jobs.unit // others - jobs.margin) // self._slowest + 2
        self._behind = self.balance > 0

    def _pick(self, excluded: Collection[str], log: list[tuple[int, int]]) -> str:
        if excluded or self._overdue or self._behind or not self._rate:
            return self._pick_carefully(excluded, log)
        before = self._now
        time = before + self._turn
        step = time >> TIME_BITS
        ready, jobs = self._ready, self._jobs
        self._open(step + 1)
        while ready and ready[0] in self._gone:
            self._gone.discard(heappop(ready))
        if not ready:
            return self._pick_carefully(excluded, log)
        key = ready[0]
        shift = jobs.shift
        gap, stride, id_ = jobs.rows[key & jobs.mask]
        # Perhaps overdue, or perhaps not released yet?
        if (
            key >> shift <= before >> TIME_BITS
            or (key + gap - stride >> shift) + self._slack > step
        ):
            return self._pick_carefully(excluded, log)
        heappop(ready)
        self._now = time
        self._offsets -= self._one
        log.append((key, before))
        self._wait(key + stride, (key + gap) >> shift)
        return id_

    def _pick_carefully(self, excluded: Collection[str], log: list[tuple[int, int]]) -> str:
        jobs = self._jobs
        if not self._rate:
            raise LookupError("nothing to pick: everybody is out")
        before = self._now
        # One turn of those in, unless they are behind together: then time waits.
        time = before + self._turn
        if self._behind:
            time = max(before, min(time, (self._one - self._offsets) // self._rate))
        self._open((time >> TIME_BITS) + 1)
        self._collect_overdue()
        key = self._pop_overdue(excluded)
        if key is None:
            key = self._pop_ready(excluded, time)
        if key is None:
            key = self._pop_next(excluded)
            if not excluded:
                time = max(time, self._release(key))
        gap, stride, id_ = jobs.rows[key & jobs.mask]
        self._now = time
        self._offsets -= self._one
        self._behind = self.balance > 0
        log.append((key, before))
        self._wait(key + stride, (key + gap) >> jobs.shift)
        return id_

    def _wait(self, key: int, release: int) -> None:
        """Let a key wait for its release by E; it may still be there, for nobody."""
        if key in self._gone:
            self._gone.discard(key)
        elif release <= self._opened:
            heappush(self._ready, key)
        elif release in self._future:
            self._future[release].append(key)
        else:
            self._future[release] = [key]

    def _open(self, last: int) -> None:
        """Put what is released at ``last`` or before into ``_ready``."""
        future = self._future
        steps: Collection[int] = range(self._opened + 1, last + 1)
        if len(steps) > 8:
            steps = [release for release in future if release <= last]
        for release in steps:
            if release in future:
                for key in future.pop(release):
                    self._put(key)
        self._opened = max(self._opened, last)

    def _put(self, key: int) -> None:
        """Let a key wait by its due time; it may still be there, for nobody."""
        if key in self._gone:
            self._gone.discard(key)
        else:
            heappush(self._ready, key)

    def _recall(self) -> None:
        """Put the overdue back: they are looked for at each pick."""
        for key in self._overdue.values():
            self._put(key)
        self._overdue.clear()

    def _keys_of(self, places: Collection[int]) -> list[int]:
        """Return the pending keys of some ids; nobody being in ``_overdue``. O(n)."""
        mask, gone = self._jobs.mask, self._gone
        found = [key for key in self._ready if key & mask in places]
        found += [key for bucket in self._future.values() for key in bucket if key & mask in places]
        return [key for key in found if key not in gone]

    def _offset(self, key: int) -> int:
        """Return the lag less what the rate adds with time, while ``key`` pends."""
        jobs = self._jobs
        place = key & jobs.mask
        entered = self._entered.get(place)
        first, offset = entered or (jobs.first[place], jobs.lags[place] << TIME_BITS)
        if key == first:
            return offset
        return offset - (key - first) // jobs.rows[place][1] * self._one

    def _lag(self, key: int) -> int:
        """Return the lag after the last pick, while ``key`` pends."""
        return self._offset(key) + self._jobs.rates[key & self._jobs.mask] * self._now

    def _release(self, key: int) -> int:
        """Return the first time at which the lag is D or more."""
        twice = twice_the_others(len(self))
        rate = self._jobs.rates[key & self._jobs.mask]
        return -((self._offset(key) * twice - self._one) // (rate * twice))

    def _collect_overdue(self) -> None:
        jobs, ready = self._jobs, self._ready
        limit = jobs.unit - jobs.margin << TIME_BITS
        while ready and ready[0] >> jobs.shift <= self._now >> TIME_BITS:
            key = ready[0]
            if key not in self._gone:
                if self._lag(key) <= limit:
                    break
                self._overdue[key & jobs.mask] = key
            self._gone.discard(heappop(ready))

    def _pop_overdue(self, excluded: Collection[str]) -> int | None:
        """Remove and return the key of the largest lag, of the overdue not excluded."""
        ids = self._jobs.ids
        rest = [
            (self._lag(key), -place)
            for place, key in self._overdue.items()
            if ids[place] not in excluded
        ]
        return self._overdue.pop(-max(rest)[1]) if rest else None

    def _pop_ready(self, excluded: Collection[str], time: int) -> int | None:
        """Remove and return the key due first, of the released not excluded."""
        jobs, ready, gone = self._jobs, self._ready, self._gone
        aside = []
        chosen = None
        while ready:
            key = heappop(ready)
            if key in gone:
                gone.discard(key)
                continue
            if excluded and jobs.ids[key & jobs.mask] in excluded:
                aside.append(key)
                continue
            release = self._release(key)
            if release <= time:
                chosen = key
                break
            gap, stride, _ = jobs.rows[key & jobs.mask]
            tick = key + gap - stride >> jobs.shift
            if tick <= self._opened:
                aside.append(key)
            else:
                self._future.setdefault(tick, []).append(key)
        for key in aside:
            heappush(ready, key)
        return chosen

    def _pop_next(self, excluded: Collection[str]) -> int:
        """Remove and return the key released next, of those not excluded; ties: due first."""
        self._recall()
        self._open(max(self._future, default=self._opened))
        ids, mask = self._jobs.ids, self._jobs.mask
        rest = [
            (self._release(key), key) for key in self._pending() if ids[key & mask] not in excluded
        ]
        if not rest:
            raise LookupError("nothing to pick: everybody is out or excluded")
        key = min(rest)[1]
        self._ready.remove(key)
        heapify(self._ready)
        return key

    def _pending(self) -> list[int]:
        """Return the keys of those in."""
        keys = [*self._ready, *self._overdue.values(), *chain(*self._future.values())]
        return [key for key in keys if key not in self._gone]

    def _check(self) -> None:
        """Assert the invariants."""
        jobs = self._jobs
        keys = self._pending()
        places = sorted(key & jobs.mask for key in keys)
        assert places == [p for p in range(len(jobs.ids)) if p not in self._out]
        there = [*self._ready, *chain(*self._future.values())]
        assert self._gone <= set(there)
        assert len(there) == len(set(there))
        assert self._behind == (self.balance > 0)
        assert self._rate == sum(jobs.rates[place] for place in places)
        assert 0 <= self._offsets - sum(map(self._offset, keys)) < self._one >> 64
        for tick, bucket in self._future.items():
            assert tick > self._opened
            for key in bucket:
                gap, stride, _ = jobs.rows[key & jobs.mask]
                assert key in self._gone or tick == key + gap - stride >> jobs.shift
        for key in keys:
            place = key & jobs.mask
            first = self._entered.get(place, (jobs.first[place],))[0]
            assert (key - first) % jobs.rows[place][1] == 0
