"""Who is cheapest now: endpoints by cost × (load + 1)/weight, learnt as the answers come in.

Four ways lead to a pick, in this order:

1. A *trial*: an endpoint left alone because it was slow or failing, or not heard of, is tried
   once it has been left for long enough, whatever its score.
2. The *remembered* best: the least score of all that have answered, from a heap. As in
   ``LoadHeap`` a score that has risen is noticed when its turn comes. The neglected are
   preferred a little (``Turns``).
3. The *fresh*: a few drawn from those that have not answered yet and hold no request, taken for
   typical of the pool. One request each until they answer.
4. If all of these are in use or over their share: the best of a few of any, then of all.

Nobody takes more than a capped share (``ShareCap``): who has run out of tokens is left out until
its bucket is full, but for the case that nobody else is left.

Scores are logarithms, so that a load counts by adding ``log(load + 1)``.

Invariants (``_check``), beside those of the parts:

1. A gauge has an entry among the remembered unless it is barred, held or unknown.
2. ``fresh`` holds the unknown that hold no request; ``floor`` is up to date while there are any.
3. ``trials`` and ``turns`` hold a date for each gauge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sized
from math import floor, inf, log
from operator import attrgetter
from typing import Generic, TypeVar, cast

from balancers.structures.changes import Changes
from balancers.structures.cost_estimate import CostEstimate, PoolEstimate
from balancers.structures.error_rate import ErrorRate
from balancers.structures.fresh import Fresh
from balancers.structures.gauge import Gauge
from balancers.structures.remembered import Remembered
from balancers.structures.share_cap import ShareCap
from balancers.structures.ties import least_of
from balancers.structures.trials import Trials
from balancers.structures.turns import BONUS, Turns

__all__ = ["ScoreBoard"]

Item = TypeVar("Item", bound=Hashable)

_weight = attrgetter("weight")

BURST = 8.0
"""Tokens a bucket holds: picks an endpoint may get beyond its capped share."""


class ScoreBoard(Generic[Item]):
    """The endpoints, and the search for the cheapest; not safe for use by two threads at once.

    Args:
        share_cap: κ: no endpoint takes more than κ times its share, a burst of 8 aside; > 1.
        choices: Candidates drawn where a few are, ≥ 1.
        decay: Memory of the estimates in seconds, > 0.
        load: Returns the load of an item where other costs than 1 are in play.

    Attributes:
        choices: As given.
        overdrawn: Picks beyond the capped share, because nobody else was left.
        costly: Whether other costs than 1 are in play; set by the owner.
        best: The remembered; ``heap`` is their heap.
        fresh: Those that have not answered yet and hold no request.
        trials: When to try whom whatever its score.
        turns: When to prefer whom that has been neglected.
        wake_at: The credit at which to look for those who are back, or neglected.
        floor: No fresh endpoint's score is below this; kept up to date while there are any.

    Much of this is public for an owner that writes out the usual case of ``choose`` and
    ``settle`` to save the calls.
    """

    __slots__ = (
        "_all",
        "_errors",
        "_load",
        "_serial",
        "best",
        "cap",
        "choices",
        "costly",
        "floor",
        "fresh",
        "gauges",
        "heap",
        "overdrawn",
        "pool",
        "trials",
        "turns",
        "wake_at",
    )

    def __init__(
        self, share_cap: float, choices: int, decay: float, load: Callable[[Item], float]
    ) -> None:
        self.cap: ShareCap = ShareCap(share_cap, BURST)
        self.pool: PoolEstimate = PoolEstimate(decay)
        self.gauges: dict[Item, Gauge[Item]] = {}
        self.costly: bool = False
        self.overdrawn: int = 0
        self.best: Remembered[Item] = Remembered(self._log_load)
        self.heap: list[tuple[float, Gauge[Item]]] = self.best.heap
        self.fresh: Fresh[Item] = Fresh()
        self.trials: Trials[Item] = Trials()
        self.turns: Turns[Item] = Turns()
        self.wake_at: float = inf
        self.floor: float = -inf
        self._all: list[Gauge[Item]] = []
        self.choices: int = choices
        self._errors = ErrorRate()  # of the gauges' blame
        self._load = load
        self._serial = 0

    # -- membership ------------------------------------------------------------------------

    def change(
        self,
        changes: Changes[Item],
        facts: Callable[[Item], tuple[Sized, CostEstimate]],
        now: float,
    ) -> None:
        """Take over a new membership; who stays keeps tokens and standing.

        Args:
            changes: What to change; see ``compare``.
            facts: Returns a new item's open leases and what is known of it.
            now: Seconds.

        Runtime complexity: O(n) with a small constant, O(log n) for each change.
        """
        for item in changes.gone:
            gauge = self.gauges.pop(item)
            gauge.entry = None
            gauge.steady = False
            gauge.barred = False  # the bucket that comes back full is nobody's
            if gauge.spot >= 0:
                self.fresh.leave(gauge)
        for item, weight in changes.changed.items():
            gauge = self.gauges[item]
            gauge.weigh(weight)
            if gauge.entry is not None:
                self.best.file(gauge)
        for item, weight in changes.joined.items():
            self._add(item, weight, facts(item), now)
        self._all = list(self.gauges.values())
        self._count()
        self.fresh.weigh()
        self.settle_floor()
        self.best.tidy(len(self._all))
        self.trials.tidy(self.gauges)
        self.turns.tidy(self.gauges)
        self.wake_at = min(self.cap.due, self.turns.next)

    def _add(
        self, item: Item, weight: float, facts: tuple[Sized, CostEstimate], now: float
    ) -> None:
        leases, estimate = facts
        self._serial += 1
        gauge = self.gauges[item] = Gauge(item, self._serial, leases, estimate, BURST)
        gauge.mark = self.cap.credit
        gauge.counted = estimate.errors < 0.5
        gauge.known = estimate.samples > 0
        gauge.weigh(weight)
        if gauge.known:
            gauge.score = estimate.log_cost - gauge.log_weight
            self.best.file(gauge)
        else:
            estimate.at = now
            if not leases:
                self._freshen(gauge)
        self.trials.add(gauge, now)
        self.turns.add(gauge, self.cap, now)

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
        left is over its share, and O(T) where T share the least score exactly.
        """
        if self.cap.credit >= self.wake_at:
            self.wake(now)
        gauge = None
        if now >= self.trials.next:
            gauge = self.trials.due(now, self.gauges, self.pool, self.cap, exclude)
        if gauge is None:
            gauge = self.best.least(random, exclude)
            if self.fresh and (gauge is None or gauge.score + self._log_load(gauge) >= self.floor):
                gauge = self._or_fresh(gauge, random, cost, exclude)
            if gauge is None:
                gauge = self._last_resort(random, cost, exclude)
                if gauge is None:
                    return None
        if gauge.spot >= 0:
            self.fresh.leave(gauge)
        gauge.gap = now - gauge.picked
        gauge.picked = now
        if self.cap.spend(gauge):
            self.bar(gauge)
        return gauge

    def value(self, gauge: Gauge[Item], cost: float = 1.0) -> float:
        """Return the logarithm of cost × (load + cost)/weight; the unknown are typical. O(1)."""
        score = gauge.score if gauge.known else self.pool.log_latency - gauge.log_weight
        if self.costly or cost != 1.0:
            return score + log(self._load(gauge.item) + cost)
        return score + log(len(gauge.open) + 1.0)

    def _log_load(self, gauge: Gauge[Item]) -> float:
        """Return the logarithm of the load and 1 more; the bonus of those that have none."""
        load = self._load(gauge.item) if self.costly else len(gauge.open)
        return log(load + 1.0) if load else gauge.bonus

    def _or_fresh(
        self,
        gauge: Gauge[Item] | None,
        random: Callable[[], float],
        cost: float,
        exclude: Collection[Item],
    ) -> Gauge[Item] | None:
        """Return the gauge, or one of the fresh that is as good."""
        fresh: list[Gauge[Item]] = self.fresh
        if exclude:
            fresh = [one for one in fresh if one.item not in exclude]
        if not fresh:
            return gauge
        # None of them has a load, so the heaviest is cheapest; the first of those drawn is random.
        best = max(self._few(fresh, random), key=_weight)
        if gauge is None or self.value(best, cost) <= self.value(gauge, cost):
            return best
        if self.fresh.in_vain():
            self.settle_floor()
        return gauge

    def _last_resort(
        self, random: Callable[[], float], cost: float, exclude: Collection[Item]
    ) -> Gauge[Item] | None:
        """Return the best there is when everybody good is in use or over its share."""
        there: list[Gauge[Item]] = []
        for among in (self._few(self._all, random), self._all):
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

    def _few(self, among: list[Gauge[Item]], random: Callable[[], float]) -> list[Gauge[Item]]:
        size = len(among)
        return [among[floor(random() * size)] for _ in range(self.choices if size else 0)]

    def _least(
        self, among: list[Gauge[Item]], random: Callable[[], float], cost: float
    ) -> Gauge[Item]:
        return least_of(among, [self.value(gauge, cost) for gauge in among], random)

    def copy(self) -> ScoreBoard[Item]:
        """Return a board that chooses what this one would, by the same numbers. O(n).

        What is known of the endpoints is shared: choosing does not change it.
        """
        twin: ScoreBoard[Item] = ScoreBoard(self.cap.cap, self.choices, self.pool.decay, self._load)
        twin.pool, twin.costly = self.pool, self.costly
        twin.floor = self.floor
        copies = {gauge: gauge.copy() for gauge in self._all}
        twin._all = list(copies.values())
        twin.gauges = {gauge.item: gauge for gauge in twin._all}
        self.fresh.copy_to(twin.fresh, copies)
        self.best.copy_to(twin.best, copies)
        twin.trials, twin.turns = self.trials.copy(copies), self.turns.copy(copies)
        twin.wake_at = self.wake_at
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
            if gauge.steady:
                estimate.log_cost = gauge.score + gauge.log_weight
            estimate.learn(now, latency, success, self.pool, gauge.gap)
            if estimate.mean_errors != gauge.blame:
                self._errors.move(gauge.blame, estimate.mean_errors)
                self.pool.error_rate = self._errors.rate
                gauge.blame = estimate.mean_errors
            estimate.price(self.pool)
            gauge.known = True
            gauge.score = estimate.log_cost - gauge.log_weight
            gauge.steady = not estimate.errors and not gauge.blame
            if (estimate.errors < 0.5) is not gauge.counted:
                gauge.counted = not gauge.counted
                self._count()
            if self.fresh:
                self.settle_floor()
        if hold > 0.0 and gauge.known:
            gauge.held = now + hold
            gauge.entry = None
            self.trials.put(gauge, gauge.held)
        if gauge.barred or gauge.held:
            return
        if not gauge.known:
            if not gauge.open and gauge.spot < 0:
                self._freshen(gauge)
            return
        self.best.refile(gauge)
        self.best.tidy(len(self._all))

    def _count(self) -> None:
        """Take anew what is summed over all: weights, errors. O(n)."""
        self.cap.share_among(self._all)
        for gauge in self._all:
            gauge.blame = gauge.estimate.mean_errors
        self._errors.recount(gauge.blame for gauge in self._all)
        self.pool.error_rate = self._errors.rate

    def bar(self, gauge: Gauge[Item]) -> None:
        """Take note that a gauge has run out of tokens. O(1)."""
        gauge.entry = None
        gauge.bonus = 0.0
        self.wake_at = min(self.wake_at, self.cap.due)

    def wake(self, now: float) -> None:
        """Let those take part whose buckets are full again, and prefer the neglected."""
        cap = self.cap
        while cap.due <= cap.credit:
            gauge = cast("Gauge[Item]", cap.pop_full())
            # Those that have left are no longer barred.
            if gauge.barred:
                gauge.barred = False
                if gauge.known:
                    if not gauge.held:
                        self.best.file(gauge)
                elif not gauge.open and gauge.spot < 0:
                    self._freshen(gauge)
        if self.turns.next <= cap.credit:
            for gauge in self.turns.neglected(now, self.gauges, self.pool, cap):
                gauge.bonus = -BONUS
                self.best.file(gauge)
            self.best.tidy(len(self._all))
        self.wake_at = min(cap.due, self.turns.next)

    def _freshen(self, gauge: Gauge[Item]) -> None:
        self.fresh.enter(gauge)
        self.settle_floor()

    def settle_floor(self) -> None:
        """Bring ``floor`` up to date. O(1)."""
        self.floor = self.pool.log_latency - self.fresh.heaviest

    def _check(self) -> None:
        assert self._all == list(self.gauges.values())
        self.best._check(self._all)
        self.fresh._check()
        assert not self.fresh or self.floor <= self.pool.log_latency - self.fresh.heaviest + 1e-9
        self.trials._check(self.gauges)
        self.turns._check(self._all)
        assert self.wake_at <= min(self.cap.due, self.turns.next)
        self._errors._check(gauge.blame for gauge in self._all)
