"""The chairman rule while some of its ids are out: whoever leaves or comes back moves nobody else.

A change of weights gives every id another rate a pick, and so another job. A change of *who is in*
need not: the rates are kept, and time, counted in the steps of the schedule of before, runs as much
faster as those in have to share the picks among fewer. Leaving is then one key less, coming back
one key more, and the jobs of all others stand.

Let n be the number of those in, N the most there were, lag as in
:mod:`balancers.structures.chairman`, D = 1/(2n-2), and E the D of the schedule of before, E <= D.

* A pick without ``exclude`` goes to a lag of at least D, so no lag falls below -(1 - D).
* An id is overdue above 1 - E. If nobody is, the k ids of the largest mean lag have at most
  1 - E + 1/k after the next pick, since a pick moves time by at most one turn of those in. If
  somebody is, the largest lag is served. So the proof in :mod:`balancers.structures.chairman` holds
  with E, and no lag is above 1 - E + H(N-1), whoever leaves and comes back.

Survivors keep their lag. Those who come back start at lag 0. The lags of those in then need not
sum to 0: where the leavers were ahead, the others are behind together, and time waits until
they are not; where the leavers were behind, the others are a little ahead, for good.

Source: our own, after the virtual time of fair queueing (Parekh and Gallager 1993).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify

from balancers.structures.paced_queue import TIME_BITS, PacedQueue

__all__ = ["PacedSchedule"]


class PacedSchedule(PacedQueue):
    """The rule over the jobs of a schedule, some ids of which are out.

    Args:
        jobs: The jobs of the schedule; read, not changed.
        ready: Its pending keys, as a heap, but for those in ``future``.
        future: The others, all released after ``step``, by release.
        step: Its step.

    Runtime complexity: O(n) to make, quicker than a schedule by far.
    """

    __slots__ = ()

    def __contains__(self, id_: object) -> bool:
        """Whether an id is known, in or out."""
        return id_ in self._places

    @property
    def out(self) -> int:
        """How many are out."""
        return len(self._out)

    def leave(self, ids: Collection[str]) -> None:
        """Take known ids out, from the next pick on. O(n), some tens of ns each."""
        self._recall()
        jobs = self._jobs
        leaving = {self._places[id_] for id_ in ids} - self._out
        mask = jobs.mask
        for key in self._keys_of(leaving):
            self._gone.add(key)
            self._rate -= jobs.rates[key & mask]
            self._offsets -= self._offset(key)
        self._out |= leaving
        self._retime()

    def enter(self, ids: Collection[str]) -> None:
        """Let known ids that are out come back, at lag 0. O(len(ids) log n)."""
        self._recall()
        jobs = self._jobs
        for place in sorted({self._places[id_] for id_ in ids} & self._out):
            rate = jobs.rates[place]
            offset = -rate * self._now
            key = jobs.key(place, offset, TIME_BITS)
            self._entered[place] = (key, offset)
            self._put(key)
            self._rate += rate
            self._offsets += offset
            self._out.discard(place)
        self._retime()

    def run(self, count: int) -> list[str]:
        """Return the ids of the next picks. O(log n) each."""
        self._recent.clear()
        return [self._pick((), self._recent) for _ in range(count)]

    def next(self, exclude: Collection[str] = ()) -> str:
        """Return the id of the next pick; as ``ChairmanSchedule.next``.

        Raises:
            LookupError: There is nobody.
        """
        self._recent.clear()
        return self._pick(frozenset(exclude), [])

    def retract(self, counts: Mapping[str, int]) -> None:
        """Take back picks of the last :meth:`run`, as ``ChairmanSchedule.retract``.

        More of them are taken to be of a cycle, in which time never waits.

        Runtime complexity: O(log n) each; O(n) for more than the last run.
        """
        steps = sum(counts.values())
        if not steps:
            return
        self._recall()
        jobs = self._jobs
        taken: dict[int, list[int]] = {}
        for key, _ in self._recent:
            taken.setdefault(key & jobs.mask, []).append(key)
        back = {self._places[id_]: count for id_, count in counts.items() if count}
        if all(count <= len(taken.get(place, ())) for place, count in back.items()):
            for place, count in back.items():
                keys = taken[place]
                self._gone.add(keys[-1] + jobs.rows[place][1])
                self._put(keys[-count])
            self._now = self._recent[-steps][1]
        else:
            self._rewind(back)
            self._now -= steps * self._turn
        self._offsets += steps * self._one
        self._recent.clear()
        self._retime()

    def _rewind(self, back: dict[int, int]) -> None:
        """Have pending what was so many picks ago, by place."""
        rows, mask = self._jobs.rows, self._jobs.mask
        if len(back) * 16 < len(self._places):
            for key in self._keys_of(back):
                self._gone.add(key)
                self._put(key - rows[key & mask][1] * back[key & mask])
            return
        pending = self._pending()
        self._ready = [key - rows[key & mask][1] * back.get(key & mask, 0) for key in pending]
        heapify(self._ready)
        self._gone.clear()
        self._future.clear()

    @property
    def period(self) -> int:
        """The sum of the whole weights of those in. O(n), quickly."""
        return self._rate * sum(self._jobs.whole) // self._jobs.unit

    def stands(self, balance: int) -> bool:
        """Whether the balance is still the same, but for rounding.

        If so, a block of :attr:`period` picks that gave all their :meth:`quota` has left every
        lag as it was.
        """
        return abs(self.balance - balance) <= self._one >> 64

    def quota(self) -> dict[str, int]:
        """Return the whole weights of those in. O(n)."""
        whole, out = self._jobs.whole, self._out
        return {id_: whole[place] for id_, place in self._places.items() if place not in out}

    def numerators(self) -> tuple[dict[str, int], int]:
        """Return the lags of those in after the last pick, and the unit they are in. O(n)."""
        jobs = self._jobs
        lags = {jobs.ids[key & jobs.mask]: self._lag(key) for key in self._pending()}
        return lags, self._one

    def copy(self) -> PacedSchedule:
        """Return an independent copy. O(n)."""
        twin = PacedSchedule.__new__(PacedSchedule)
        twin._jobs, twin._places = self._jobs, self._places
        twin._one, twin._entered = self._one, self._entered.copy()
        twin._out, twin._gone = self._out.copy(), self._gone.copy()
        twin._overdue = self._overdue.copy()
        twin._future = {release: keys[:] for release, keys in self._future.items()}
        twin._ready = self._ready[:]
        twin._rate, twin._offsets, twin._now = self._rate, self._offsets, self._now
        twin._opened, twin._recent = self._opened, self._recent[:]
        twin._slowest, twin._slack = self._slowest, self._slack
        twin._turn, twin._behind = self._turn, self._behind
        return twin
