"""Who is cheapest now: endpoints by cost × (load + 1)/weight, learnt as the answers come in.

Four ways lead to a pick, in this order:

1. A *trial*: an endpoint left alone because it was slow or failing is tried again once it has been
   left for long enough, whatever its score (``_due_for_trial``).
2. The *remembered* best: the least score of all that have answered, from a heap. As in
   ``LoadHeap`` a score that has risen is noticed when its turn comes.
3. The *fresh*: a few drawn from those that have not answered yet and hold no request, taken for
   typical of the pool. One request each until they answer.
4. If all of these are in use or over their share: the best of a few of any, then of all.

Nobody takes more than a capped share (``ShareCap``): who has run out of tokens is left out until its
bucket is full, but for the case that nobody is left.

Invariants (``_check``):

1. ``gauge.entry`` is the one live entry of a gauge in ``best``, None while it is barred or
   unknown; other entries are left over, and never more than the gauges plus ``_SLACK``.
2. A live entry's score is at most the gauge's true score, unless a load fell without ``settle``.
3. ``fresh`` holds the unknown that hold no request, at ``gauge.spot``; spot is -1 elsewhere.
4. ``_trials`` holds at least one entry for each gauge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sized
from heapq import heapify, heappop, heappush, heapreplace
from math import floor, inf
from typing import Generic, TypeVar, cast

from balancers.structures.cost_estimate import CostEstimate, PoolEstimate
from balancers.structures.share_cap import Bucket, ShareCap

__all__ = ["Gauge", "ScoreBoard"]

Item = TypeVar("Item", bound=Hashable)

BURST = 8.0
"""Tokens a bucket holds: picks an endpoint may get beyond its capped share."""

TRIAL_AGE = 20.0
"""Seconds without a request after which the worst of endpoints is tried again."""

TRIAL_PICKS = 50
"""And picks, for each endpoint of the pool, that must have gone to others meanwhile."""

_SLACK = 64


class Gauge(Bucket, Generic[Item]):
    """One endpoint on the board.

    Attributes:
        item: Whom it stands for.
        open: Its open leases: something with a length.
        estimate: What is known of it.
        score: Cost of a request over weight, in seconds; meaningless while it is unknown.
        known: Whether it has answered.
        held: Until when it asked to be left alone; 0 if it did not.
    """

    __slots__ = (
        "entry",
        "estimate",
        "held",
        "index",
        "item",
        "known",
        "open",
        "score",
        "spot",
    )

    def __init__(
        self, item: Item, index: int, leases: Sized, estimate: CostEstimate, weight: float
    ) -> None:
        super().__init__(weight, BURST, 0.0)
        self.item = item
        self.index = index
        self.open = leases
        self.estimate = estimate
        self.score = 0.0
        self.known = False
        self.held = 0.0
        self.entry: tuple[float, int, Gauge[Item]] | None = None
        self.spot = -1

    def refiled(self, score: float) -> tuple[float, int, Gauge[Item]]:
        """Return its entry for a heap, filed under a score."""
        entry = self.entry = score, self.index, self
        return entry

    def copy(self) -> Gauge[Item]:
        """Return another gauge of the same standing, filed nowhere."""
        twin: Gauge[Item] = Gauge(self.item, self.index, self.open, self.estimate, self.weight)
        twin.tokens, twin.mark = self.tokens, self.mark
        twin.barred, twin.counted = self.barred, self.counted
        twin.score, twin.known = self.score, self.known
        twin.held, twin.spot = self.held, self.spot
        return twin


class ScoreBoard(Generic[Item]):
    """The endpoints, and the search for the cheapest; not safe for use by two threads at once.

    Args:
        share_cap: κ: no endpoint takes more than κ times its share, a burst of 8 aside; > 1.
        choices: Candidates drawn from the fresh, ≥ 1.
        decay: Memory of the estimates in seconds, > 0.
        load: Returns the load of an item where other costs than 1 are in play.

    Attributes:
        overdrawn: Picks beyond the capped share, because nobody else was left.
        costly: Whether other costs than 1 are in play; set by the owner.
        best: The heap of the remembered: (score, index, gauge).
        fresh: Those that have not answered yet and hold no request.
        next_trial: When to look for somebody to be tried again, seconds.
        floor: No fresh endpoint's value is below this; kept up to date while there are any.

    The last four are public for an owner that writes out the usual case of ``choose`` and
    ``settle`` to save the calls.
    """

    __slots__ = (
        "_all",
        "_choices",
        "_heaviest",
        "_load",
        "_serial",
        "_trials",
        "best",
        "cap",
        "costly",
        "floor",
        "fresh",
        "gauges",
        "next_trial",
        "overdrawn",
        "pool",
    )

    def __init__(
        self, share_cap: float, choices: int, decay: float, load: Callable[[Item], float]
    ) -> None:
        self.cap = ShareCap(share_cap, BURST)
        self.pool = PoolEstimate(decay)
        self.gauges: dict[Item, Gauge[Item]] = {}
        self.costly = False
        self.overdrawn = 0
        self._choices = choices
        self._load = load
        self._serial = 0
        self._all: list[Gauge[Item]] = []
        self.best: list[tuple[float, int, Gauge[Item]]] = []
        self.fresh: list[Gauge[Item]] = []
        self._trials: list[tuple[float, int, Gauge[Item]]] = []
        self.next_trial = inf
        self.floor = 0.0
        self._heaviest = 1.0

    # -- membership ------------------------------------------------------------------------

    def reconcile(
        self,
        weights: Mapping[Item, float],
        facts: Callable[[Item], tuple[Sized, CostEstimate]],
        now: float,
    ) -> None:
        """Take over a new membership; who stays keeps tokens and standing. O(n).

        Args:
            weights: The weight of each item, > 0.
            facts: Returns a new item's open leases and what is known of it.
            now: Seconds.
        """
        for item in [item for item in self.gauges if item not in weights]:
            self._drop(self.gauges.pop(item))
        for item, weight in weights.items():
            gauge = self.gauges.get(item)
            if gauge is None:
                self._add(item, weight, facts(item), now)
            elif gauge.weight != weight:
                gauge.weight = weight
                if gauge.known:
                    gauge.score = gauge.estimate.cost / weight
                    if gauge.entry is not None:
                        self._file(gauge)
        self._all = list(self.gauges.values())
        self._heaviest = max(weights.values(), default=1.0)
        self.settle_floor()
        self.cap.share_among(self._all)
        self._tidy()

    def _add(
        self, item: Item, weight: float, facts: tuple[Sized, CostEstimate], now: float
    ) -> None:
        leases, estimate = facts
        self._serial += 1
        gauge = self.gauges[item] = Gauge(item, self._serial, leases, estimate, weight)
        gauge.mark = self.cap.credit
        gauge.counted = estimate.errors < 0.5
        if not estimate.samples:
            estimate.at = now
        self._schedule(gauge, now + TRIAL_AGE)
        if estimate.samples:
            gauge.known = True
            gauge.score = estimate.cost / weight
            self._file(gauge)
        elif not leases:
            self.freshen(gauge)

    def _drop(self, gauge: Gauge[Item]) -> None:
        gauge.entry = None
        gauge.barred = False  # the bucket that comes back full is nobody's
        if gauge.spot >= 0:
            self._take_from_fresh(gauge)

    # -- choosing --------------------------------------------------------------------------

    def choose(
        self,
        now: float,
        random: Callable[[], float],
        cost: float = 1.0,
        exclude: Collection[Item] = (),
    ) -> Gauge[Item] | None:
        """Return whom to pick, charged to its share; None if ``exclude`` leaves nobody.

        The caller opens the lease, so that ``gauge.open`` grows.

        Runtime complexity: O(log n) amortised; O(len(exclude) log n) more; O(n) where everybody
        left is over its share.
        """
        cap = self.cap
        if cap.credit >= cap.due:
            self.readmit()
        gauge = None
        if now >= self.next_trial:
            gauge = self._due_for_trial(now, exclude)
        if gauge is None:
            gauge = self._remembered(random, cost) if not exclude else None
            if exclude:
                gauge = self._remembered_of_others(random, cost, exclude)
            if self.fresh:
                gauge = self._or_fresh(gauge, random, cost, exclude)
            if gauge is None:
                gauge = self._last_resort(random, cost, exclude)
                if gauge is None:
                    return None
        if gauge.spot >= 0:
            self._take_from_fresh(gauge)
        if cap.spend(gauge, gauge.index):
            gauge.entry = None
        return gauge

    def value(self, gauge: Gauge[Item], cost: float = 1.0) -> float:
        """Return what is compared, in seconds, the lowest being best; unknowns are typical."""
        base = gauge.score if gauge.known else self.pool.typical / gauge.weight
        if self.costly or cost != 1.0:
            return base * (self._load(gauge.item) + cost)
        return base * (len(gauge.open) + 1.0)

    def _remembered(self, random: Callable[[], float], cost: float) -> Gauge[Item] | None:
        best = self.best
        while best:
            entry = best[0]
            gauge = entry[2]
            if gauge.entry is not entry:
                heappop(best)
                continue
            # The heap is in order for unit costs; whoever it finds for those is the candidate.
            if self.costly:
                score = gauge.score * (self._load(gauge.item) + 1.0)
            else:
                score = gauge.score * (len(gauge.open) + 1.0)
            if score > entry[0]:
                entry = gauge.entry = score, gauge.index, gauge
                heapreplace(best, entry)
                continue
            if len(best) > 1 and (best[1][0] == score or (len(best) > 2 and best[2][0] == score)):
                return self._tied(entry[0], random)
            return gauge
        return None

    def _tied(self, score: float, random: Callable[[], float]) -> Gauge[Item] | None:
        """Return one of those filed under the least score, which several are. O(as many)."""
        best = self.best
        found = []
        stack = [0]
        while stack:  # equal keys are a subtree at the root
            place = stack.pop()
            if place < len(best) and best[place][0] == score:
                gauge = best[place][2]
                if gauge.entry is best[place] and self._unit_score(gauge) <= score:
                    found.append(gauge)
                stack += (2 * place + 1, 2 * place + 2)
        found.sort(key=_index)  # the heap's order tells of the past
        return found[floor(random() * len(found))]

    def _unit_score(self, gauge: Gauge[Item]) -> float:
        load = self._load(gauge.item) if self.costly else len(gauge.open)
        return gauge.score * (load + 1.0)

    def _remembered_of_others(
        self, random: Callable[[], float], cost: float, exclude: Collection[Item]
    ) -> Gauge[Item] | None:
        aside = []
        for item in exclude:
            gauge = self.gauges.get(item)
            if gauge is not None and gauge.entry is not None:
                aside.append(gauge)
                gauge.entry = None
        found = self._remembered(random, cost)
        for gauge in aside:
            self._file(gauge)
        return found

    def _or_fresh(
        self,
        gauge: Gauge[Item] | None,
        random: Callable[[], float],
        cost: float,
        exclude: Collection[Item],
    ) -> Gauge[Item] | None:
        """Return the gauge, or one of the fresh that is as good."""
        fresh = self.fresh
        if exclude:
            fresh = [one for one in fresh if one.item not in exclude]
            if not fresh:
                return gauge
        drawn = [fresh[floor(random() * len(fresh))] for _ in range(self._choices)]
        values = [self.value(one, cost) for one in drawn]
        least = min(values)
        if gauge is None or least <= self.value(gauge, cost):
            return drawn[values.index(least)]
        return gauge

    def _last_resort(
        self, random: Callable[[], float], cost: float, exclude: Collection[Item]
    ) -> Gauge[Item] | None:
        """Return the best there is when everybody good is in use or over its share."""
        everybody = self._all
        drawn = [everybody[floor(random() * len(everybody))] for _ in range(self._choices)]
        for among in (drawn, everybody):
            there = [gauge for gauge in among if gauge.item not in exclude]
            willing = [gauge for gauge in there if not gauge.barred and not gauge.held]
            if willing:
                return self._least(willing, random, cost)
        if not there:
            return None
        tokens = self.cap.tokens
        able = [gauge for gauge in there if not gauge.barred]
        able = able or [gauge for gauge in there if tokens(gauge) > 0.0]
        if not able:
            self.overdrawn += 1
            most = max(map(tokens, there))
            able = [gauge for gauge in there if tokens(gauge) == most]
        return self._least(able, random, cost)

    def _least(
        self, among: list[Gauge[Item]], random: Callable[[], float], cost: float
    ) -> Gauge[Item]:
        values = [self.value(gauge, cost) for gauge in among]
        least = min(values)
        tied = [gauge for gauge, value in zip(among, values, strict=True) if value == least]
        return tied[floor(random() * len(tied))] if len(tied) > 1 else tied[0]

    def _due_for_trial(self, now: float, exclude: Collection[Item]) -> Gauge[Item] | None:
        """Return an endpoint whose time has come to be tried again, if there is one.

        One that costs c times the typical endpoint waits for 1 - 1/c of the whole time: the
        worse, the longer, but never longer than the whole, nor less than a quarter. So does one
        that nobody has heard of yet. Looks at one endpoint a call.
        """
        gauge = self._trials[0][2]
        if self.gauges.get(gauge.item) is not gauge:
            heappop(self._trials)
            self.next_trial = self._trials[0][0] if self._trials else inf
            return None
        wait = 0.25
        if gauge.known and gauge.estimate.cost > 0.0:
            wait = max(wait, 1.0 - self.pool.typical / gauge.estimate.cost)
        due = gauge.held or gauge.estimate.at + wait * TRIAL_AGE
        if due <= now:
            turns = (self.cap.credit - gauge.mark) / self.cap.rate  # picks since its last one
            ready = not gauge.barred and not gauge.open
            if ready and (gauge.held or turns > wait * TRIAL_PICKS * len(self._all)):
                gauge.held = 0.0
                self._reschedule(gauge, now + TRIAL_AGE / 4)
                return None if gauge.item in exclude else gauge
            due = now + TRIAL_AGE / 20
        self._reschedule(gauge, due)
        return None

    def _reschedule(self, gauge: Gauge[Item], due: float) -> None:
        """Look at the first of the trials again at ``due``."""
        heapreplace(self._trials, (due, gauge.index, gauge))
        self.next_trial = self._trials[0][0]

    def _schedule(self, gauge: Gauge[Item], due: float) -> None:
        heappush(self._trials, (due, gauge.index, gauge))
        self.next_trial = self._trials[0][0]

    def copy(self) -> ScoreBoard[Item]:
        """Return a board that chooses what this one would, by the same numbers. O(n).

        What is known of the endpoints is shared: choosing does not change it.
        """
        twin: ScoreBoard[Item] = ScoreBoard(
            self.cap.cap, self._choices, self.pool.decay, self._load
        )
        twin.pool = self.pool
        twin.costly = self.costly
        twin.floor, twin._heaviest = self.floor, self._heaviest
        copies = {id(gauge): gauge.copy() for gauge in self._all}
        twin._all = list(copies.values())
        twin.gauges = {gauge.item: gauge for gauge in twin._all}
        twin.fresh = [copies[id(gauge)] for gauge in self.fresh]
        twin.best = [
            copies[id(gauge)].refiled(score)
            for score, _, gauge in [e for e in self.best if e[2].entry is e]
        ]
        heapify(twin.best)
        twin._trials = [
            (due, index, copies[id(gauge)])
            for due, index, gauge in self._trials
            if id(gauge) in copies
        ]
        heapify(twin._trials)
        twin.next_trial = twin._trials[0][0] if twin._trials else inf
        twin.cap.take_over(self.cap, copies)
        return twin

    # -- learning --------------------------------------------------------------------------

    def settle(
        self, item: Item, now: float, latency: float, success: bool | None, hold: float = 0.0
    ) -> None:
        """Take note that a lease of the item has ended; strangers are ignored.

        Args:
            item: Whose lease it was; it is no longer among ``gauge.open``.
            now: Seconds.
            latency: Seconds the answer took.
            success: Whether it was one; None says nothing about the endpoint.
            hold: Seconds the server asked to be left alone.

        Runtime complexity: O(log n) amortised, O(n) when an endpoint begins or ceases to fail
        most of the time.
        """
        gauge = self.gauges.get(item)
        if gauge is None:
            return
        if success is not None:
            estimate = gauge.estimate
            estimate.learn(now, latency, success, self.pool)
            gauge.known = True
            gauge.score = estimate.cost / gauge.weight
            if (estimate.errors < 0.5) is not gauge.counted:
                gauge.counted = not gauge.counted
                self.cap.share_among(self._all)
            if self.fresh:
                self.settle_floor()
        if not gauge.known:
            if not gauge.open and gauge.spot < 0 and not gauge.barred:
                self.freshen(gauge)
            return
        if hold:
            gauge.held = now + hold
            gauge.entry = None
            self._schedule(gauge, gauge.held)
        if gauge.barred or gauge.held:
            return
        if self.costly:
            score = gauge.score * (self._load(gauge.item) + 1.0)
        else:
            score = gauge.score * (len(gauge.open) + 1.0)
        entry = gauge.entry
        if entry is None or score < entry[0]:
            entry = gauge.entry = score, gauge.index, gauge
            heappush(self.best, entry)
            self.tidy_if_needed()

    def settle_floor(self) -> None:
        """Bring ``floor`` up to date. O(1)."""
        self.floor = self.pool.typical / self._heaviest

    def readmit(self) -> None:
        """Let those whose buckets are full again take part. O(log n) each."""
        gauges = self.gauges
        for bucket in self.cap.refilled():
            gauge = cast("Gauge[Item]", bucket)
            if gauges.get(gauge.item) is not gauge:
                continue
            if gauge.known:
                if not gauge.held:
                    self._file(gauge)
            elif not gauge.open and gauge.spot < 0:
                self._freshen(gauge)

    def _file(self, gauge: Gauge[Item]) -> None:
        load = self._load(gauge.item) if self.costly else len(gauge.open)
        entry = gauge.entry = gauge.score * (load + 1.0), gauge.index, gauge
        heappush(self.best, entry)

    def tidy_if_needed(self) -> None:
        """Drop what is left over in the heaps, once it is more than what lives. O(1), amortised."""
        if len(self.best) > 2 * len(self._all) + _SLACK:
            self._tidy()

    def _tidy(self) -> None:
        """Drop what is left over in the heaps. O(n)."""
        self.best = [entry for entry in self.best if entry[2].entry is entry]
        heapify(self.best)
        gauges = self.gauges
        self._trials = [e for e in self._trials if gauges.get(e[2].item) is e[2]]
        heapify(self._trials)

    def freshen(self, gauge: Gauge[Item]) -> None:
        gauge.spot = len(self.fresh)
        self.fresh.append(gauge)

    def _take_from_fresh(self, gauge: Gauge[Item]) -> None:
        last = self.fresh.pop()
        if last is not gauge:
            self.fresh[gauge.spot] = last
            last.spot = gauge.spot
        gauge.spot = -1

    def _check(self) -> None:
        live = sum(1 for entry in self.best if entry[2].entry is entry)
        filed = [gauge for gauge in self._all if gauge.entry is not None]
        assert live == len(filed)
        assert self._all == list(self.gauges.values())
        for gauge in filed:
            assert gauge.known
            assert not gauge.barred
            assert gauge.entry is not None
            assert gauge.entry[0] <= self._unit_score(gauge) * (1.0 + 1e-9)
        for spot, gauge in enumerate(self.fresh):
            assert gauge.spot == spot
            assert not gauge.known
        assert {id(entry[2]) for entry in self._trials} >= {id(gauge) for gauge in self._all}


def _index(gauge: Gauge[Item]) -> int:
    return gauge.index
