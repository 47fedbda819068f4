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
    O(1) a pick and no lock: one random number with equal weights, two with unequal ones (up to
    four times as many while others are out), a logarithm for each candidate that holds requests.
    An answer costs a logarithm and, where it is good news, an exponential. An update is O(n).

Source:
    Finagle's P2CPeakEwma for the rule; projection on read and failures as peaks after linkerd's
    load biaser.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from math import exp, floor, inf, log
from types import TracebackType
from typing import ClassVar, Unpack

from balancers.core.choices import Candidates, ChoicePolicy
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.timed import TimedPick, TimedPolicy, Timely
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome
from balancers.structures.ewma import LEAST, PeakEwmaCell, checked_decay

__all__ = ["PeakEwma"]

FAILURE_LATENCY = 5.0
"""Seconds a failure counts as, at least: linkerd's penalty."""

FAILURE_FACTOR = 10.0
"""And at least this many times the mean estimate of other endpoints."""

LONGEST_RETRY = 300.0
"""Seconds up to which a server's ``retry_after`` is believed."""

_SAMPLE = 64  # endpoints such a mean is taken over
_PENDING = 50.0  # logarithm of a factor more than any; only the load tells two such apart


class _PeakPick(TimedPick):
    """A timed lease that knows the estimate it is to teach."""

    __slots__ = ("_peak",)

    _peak: PeakEwmaCell
    _policy: PeakEwma

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cell = self._cell
        calm = cell.calm
        if error is not None or cell.costly or (calm is None and cell.entry is not None):
            super().__exit__(kind, error, trace)
            return
        # TimedPick.__exit__ and PeakEwma._learn_at, written out for the usual request.
        try:
            cell.open.remove(self._serial)
        except KeyError:
            return
        if cell.after is not None:
            cell.after(self)
        self._serial = -1
        if calm is not None:
            calm.good += 1
        now = cell.ledger.clock()
        latency = now - self._started
        if latency < 0.0:
            latency = 0.0
        peak = self._peak
        decay = peak.decay
        state = peak._state
        if state is not None and latency < state[0]:
            value, stamp = state
            keep = exp((stamp - now) / decay)
            latency = value * keep + latency * (1.0 - keep)
        peak._state = latency, now
        peak.rank = log(latency or LEAST) + now / decay


class _Places:
    """The candidates and their estimates, for two choices.

    Args:
        candidates: The candidates.
        peak: Returns the estimate of a cell.
        before: Those of before, whose lists are kept where the same places are drawn.

    Attributes:
        pairs: Number of ordered pairs; 0 where weights differ and ``sampler`` draws.
        weights: Where they differ, what loads are divided by.
        idle: The logarithms of 1/weight.
        barred: For each place, whether it is of no candidate; empty where all are.
    """

    __slots__ = (
        "aliases",
        "barred",
        "cells",
        "cuts",
        "ground",
        "idle",
        "leases",
        "pairs",
        "peaks",
        "rest",
        "sampler",
        "weights",
    )

    def __init__(
        self,
        candidates: Candidates,
        peak: Callable[[Cell], PeakEwmaCell],
        before: _Places | None,
    ) -> None:
        cells = self.cells = candidates.cells
        self.rest = len(cells) - 1
        self.pairs = 0
        self.cuts: tuple[float, ...] = ()
        self.aliases: tuple[int, ...] = ()
        self.barred = b""
        ground = self.ground = candidates.ground
        sampler = self.sampler = candidates.sampler
        self.peaks: tuple[PeakEwmaCell, ...]
        self.weights: list[float] = []
        self.idle: list[float] = []
        if ground is None or sampler is None:
            self.pairs = candidates.pairs
            # With many endpoints memory takes the time: this spares a look at who loses.
            self.leases = [cell.open for cell in cells]
            self.peaks = tuple(map(peak, cells))
            return
        self.cuts, self.aliases = sampler.table.cuts, sampler.table.aliases
        self.barred = sampler.barred
        self.leases, self.weights = ground.leases, ground.values
        if before is not None and before.ground is ground:
            self.peaks, self.idle = before.peaks, before.idle
        else:
            self.peaks = tuple(map(peak, cells))
            self.idle = [log(1.0 / weight) for weight in ground.values]


class PeakEwma(TimedPolicy, ChoicePolicy):
    """The least of peak latency × (load + cost)/weight among ``choices`` drawn by weight.

    Args:
        endpoints: The membership.
        decay: Time constant of the estimates in seconds, finite and > 0.
        choices: Candidates a pick compares, ≥ 2.
        options: What every balancer takes; see ``Policy``.

    Raises:
        ValueError: If an option is out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ("peak-ewma", "ewma")

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        decay: float = 10.0,
        choices: int = 2,
        **options: Unpack[Options],
    ) -> None:
        self._decay = checked_decay(decay)
        self._places: _Places | None = None
        self._places_before: _Places | None = None  # the last there were
        super().__init__(endpoints, choices=choices, **options)

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease the best of the candidates. O(choices²), without a lock."""
        quick = self._places
        if quick is None or key is not None or exclude or cost != 1.0 or self._abandoned:
            return self._pick(key, exclude, cost)
        now = self._clock()
        registry = self._registry
        if registry is not None and now >= registry.deadline:
            return self._pick(key, exclude, cost)
        pairs = quick.pairs
        if pairs:
            # Candidates.draw and _values for two equal weights and unit costs, written out.
            leases, peaks, rest = quick.leases, quick.peaks, quick.rest
            draw = floor(self._rng.random() * pairs)
            second = draw % rest
            first = draw // rest
            if second >= first:
                second += 1
            peak, rival = peaks[first], peaks[second]
            mine, theirs = peak.rank, rival.rank
            if mine == inf or theirs == inf or self._ledger.costly:
                cell, other = quick.cells[first], quick.cells[second]
                shares = [cell.load + 1.0, other.load + 1.0]
                mine, theirs = self._weighed((cell, other), shares, now)
            else:
                if load := len(leases[first]):
                    mine += log(load + 1.0)
                if load := len(leases[second]):
                    theirs += log(load + 1.0)
            if theirs < mine:
                first, peak = second, rival
        else:
            first = self._better(quick, now)
            peak = quick.peaks[first]
        cell = quick.cells[first]
        pick = _PeakPick()
        pick.endpoint = cell.endpoint
        pick._policy = self
        pick._peak = peak
        pick._started = now
        pick._cell = cell
        pick._serial = serial = next(cell.serials)
        cell.open.add(serial)
        return pick

    def _timely(self, view: View) -> Timely | None:
        candidates: Candidates = view.state
        ours = type(self)._learn_at is PeakEwma._learn_at  # which leases write out
        if ours and self._choices == 2 and candidates.pairs:
            before = self._places_before
            self._places = self._places_before = _Places(candidates, self._peak, before)
        return None

    def _better(self, quick: _Places, now: float) -> int:
        """Return the place of the better of two drawn by weight, for unit costs."""
        # DistinctSampler.draw_indices, ChoicePolicy._best and _values, written out.
        random, cuts, aliases = self._rng.random, quick.cuts, quick.aliases
        point = random() * len(cuts)
        first = int(point)
        if point >= cuts[first]:
            first = aliases[first]
        point = random() * len(cuts)
        second = int(point)
        if point >= cuts[second]:
            second = aliases[second]
        barred = quick.barred
        if second == first or (barred and (barred[first] or barred[second])):
            assert quick.sampler is not None
            first, second = quick.sampler.draw_pair(self._rng, first, second)
        mine, theirs = quick.peaks[first].rank, quick.peaks[second].rank
        if mine == inf or theirs == inf or self._ledger.costly:
            cell, other = quick.cells[first], quick.cells[second]
            shares = [
                (cell.load + 1.0) / quick.weights[first],
                (other.load + 1.0) / quick.weights[second],
            ]
            mine, theirs = self._weighed((cell, other), shares, now)
        else:
            # The quotient first: what is equal must stay so in the logarithm.
            load = len(quick.leases[first])
            mine += log((load + 1.0) / quick.weights[first]) if load else quick.idle[first]
            load = len(quick.leases[second])
            theirs += log((load + 1.0) / quick.weights[second]) if load else quick.idle[second]
        # The heavier one tends to come first, so that a tie needs a draw of its own.
        return second if theirs < mine or (theirs == mine and random() >= 0.5) else first

    def _publish(self, view: View) -> None:
        self._places = None
        super()._publish(view)

    def _restart(self) -> None:
        super()._restart()
        self._places = self._places_before = None

    def _values(self, cells: Sequence[Cell], candidates: Candidates, cost: float) -> list[float]:
        if candidates.uniform:
            shares = [cell.load + cost for cell in cells]
        else:
            weights = candidates.weights
            shares = [(cell.load + cost) / weights[cell] for cell in cells]
        return self._weighed(cells, shares, self._ledger.clock())

    def _weighed(self, cells: Sequence[Cell], shares: list[float], now: float) -> list[float]:
        """Return latency × share of each, in the logarithm; the unknown are taken for the mean."""
        # In the logarithm, in which all estimates fade alike: see FadingEwma.rank.
        ranks = [self._peak(cell).rank for cell in cells]
        known = [rank for rank in ranks if rank < inf]
        prior = sum(known) / len(known) if known else now / self._decay
        return [
            (prior + (_PENDING if cell.open else 0.0) if rank == inf else rank) + log(share)
            for cell, rank, share in zip(cells, ranks, shares, strict=True)
        ]

    def _learn_at(
        self,
        now: float,
        cell: Cell,
        outcome: Outcome,
        latency: float,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        if outcome is Outcome.CANCELLED:
            return
        if outcome is Outcome.FAILURE:
            usual = FAILURE_FACTOR * self._usual(cell, now)
            latency = max(latency, FAILURE_LATENCY, usual)
        if retry_after is not None:
            latency = max(latency, min(retry_after, LONGEST_RETRY))
        self._peak(cell).observe(latency, now)

    def _usual(self, cell: Cell, now: float) -> float:
        """Return the mean estimate of others than the cell, 0 if none is known."""
        others = (self._peak(other).read(now) for other in self._view.cells[:_SAMPLE])
        known = [latency for latency in others if latency is not None]
        mine = self._peak(cell).read(now)
        if mine in known:
            known.remove(mine)
        return sum(known) / len(known) if known else 0.0

    def _peak(self, cell: Cell) -> PeakEwmaCell:
        return cell.fact(PeakEwmaCell, self._new_peak)

    def _new_peak(self) -> PeakEwmaCell:
        return PeakEwmaCell(self._decay)

    def _latency(self, cell: Cell) -> float | None:
        return self._peak(cell).read(self._ledger.clock())

    def _score(self, cell: Cell, cost: float) -> float | None:
        candidates: Candidates | None = self._view.state
        weight = None if candidates is None else candidates.weight(cell)
        if weight is None:
            return None
        now = self._ledger.clock()
        latency = self._peak(cell).read(now)
        if latency is None:
            latency = (self._usual(cell, now) or 1.0) * (exp(_PENDING) if cell.open else 1.0)
        return latency * (cell.load + cost) / weight
