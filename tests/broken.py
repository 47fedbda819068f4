"""Balancers with one fault each, and the check of the contract suite that must find it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from balancers import Delta, Endpoint, Outcome, Pick, RoundRobin
from balancers.core import Cell, Policy, View
from balancers.endpoint import as_endpoints
from balancers.errors import NoEligibleEndpointError
from balancers.policies import JumpHash, Rendezvous

__all__ = ["FAULTS"]


class Chance(Policy):
    """Correct: a cell at random. The faults below differ from it by one thing."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        able = [cell for cell in view.cells if cell.endpoint.id not in exclude]
        return rng.choice(able) if able else None


class FirstInTheList(Chance):
    """Breaks ties by list order."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        able = [cell for cell in view.cells if cell.endpoint.id not in exclude]
        return min(able, key=lambda cell: cell.in_flight, default=None)


class SlightlyUnfair(Chance):
    """Gives the last of the list a quarter more than its share."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        able = [cell for cell in view.cells if cell.endpoint.id not in exclude]
        return rng.choice([*able * 4, able[-1]]) if able else None


class IgnoresExclude(Chance):
    """Excludes the first id named, and no other."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        first = sorted(exclude)[:1]
        able = [cell for cell in view.cells if cell.endpoint.id not in first]
        return rng.choice(able) if able else None


class GlobalChance(Chance):
    """Draws from the global generator."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        return super()._choose(view, key, exclude, cost, random)  # type: ignore[arg-type]


class AddressOrder(Chance):
    """Lets the order of a set decide."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        able = {cell for cell in view.cells if cell.endpoint.id not in exclude}
        return rng.choice(list(able)) if able else None


class PicksDrained(Chance):
    """Gives new picks to weight 0."""

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        able = [e.id for e in view.roster if e.id not in exclude]
        return self._ledger.cells[rng.choice(able)] if able else None


class CuriousExplain(RoundRobin):
    """Takes a turn to explain whose turn it is."""

    def _peek(self, view, key, exclude, cost, rng) -> Cell | None:
        return self._choose(view, key, exclude, cost, rng)


class WrongExplain(Chance):
    """Explains another draw than the pick's."""

    def _peek(self, view, key, exclude, cost, rng) -> Cell | None:
        rng.random()
        return self._choose(view, key, exclude, cost, rng)


class ForgetsMembers(Chance):
    """Starts everybody afresh at each update."""

    def update(self, endpoints) -> Delta:
        roster = as_endpoints(endpoints)
        names = {endpoint.id for endpoint in self.endpoints}
        super().update([])
        super().update(roster)
        return Delta(tuple(e.id for e in roster if e.id not in names))


class PositionLedger(Chance):
    """Keeps load by position: a reorder hands it to the neighbour."""

    def update(self, endpoints) -> Delta:
        before = [self._ledger.cells[e.id] for e in self.endpoints]
        delta = super().update(endpoints)
        after = [self._ledger.cells[e.id] for e in self.endpoints]
        for old, new in zip(before, after, strict=False):
            new.open |= old.open
        return delta


class RevivesCells(Chance):
    """Gives an id that comes back its old cell."""

    def __init__(self, endpoints, **options: Any) -> None:
        self.graves: dict[str, Cell] = {}
        super().__init__(endpoints, **options)

    def _install(self, roster) -> None:
        self.graves |= self._ledger.cells
        self._ledger.cells = dict(self.graves)
        super()._install(roster)


class PartialUpdate(Chance):
    """Lets go of the members before it has seen the new ones."""

    def update(self, endpoints) -> Delta:
        if not isinstance(endpoints, list | tuple):
            super().update([])
        return super().update(endpoints)


class ForgivesErrors(Chance):
    """Takes any cost."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        return super().pick(key, exclude=exclude, cost=cost if cost in (1.0, 2.0) else 1.0)


class ChangesOnErrors(RoundRobin):
    """Takes the turn before it looks at the arguments."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        if self._view.state is not None and (cost != 1.0 or not isinstance(exclude, tuple)):
            self._view.state.next()
        return super().pick(key, exclude=exclude, cost=cost)


class SettlesTwice(Chance):
    """Says True to everyone who settles."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        class Twice(Pick):
            __slots__ = ()

            def done(self, *args: Any, **kwargs: Any) -> bool:
                super().done(*args, **kwargs)
                return True

        plain = super().pick(key, exclude=exclude, cost=cost)
        twice = Twice()
        twice.endpoint, twice._cell, twice._serial = plain.endpoint, plain._cell, plain._serial
        plain._serial = -1
        return twice


class LosesCosts(Chance):
    """Counts every lease as a load of 1."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        pick = super().pick(key, exclude=exclude, cost=cost)
        pick._cell.costs.pop(pick._serial, None)
        return pick


class NeverDrains(Chance):
    """Leaves dropped leases open."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        kept, self._ledger.abandoned[:] = list(self._ledger.abandoned), []
        try:
            return super().pick(key, exclude=exclude, cost=cost)
        finally:
            self._ledger.abandoned.extend(kept)


class DrainsAfter(Chance):
    """Settles what was dropped only after it has picked."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        kept, self._ledger.abandoned[:] = list(self._ledger.abandoned), []
        pick = super().pick(key, exclude=exclude, cost=cost)
        self._ledger.abandoned.extend(kept)
        self._ledger.drain()
        return pick


class CancelsNothing(Chance):
    """Takes every exception for a failure."""

    def __init__(self, endpoints, **options: Any) -> None:
        options["classify"] = options.get("classify") or (lambda error: Outcome.FAILURE)
        super().__init__(endpoints, **options)


class TrustsObservers(Chance):
    """Lets an observer's exception out of ``pick``."""

    def pick(self, key=None, *, exclude=(), cost=1.0) -> Pick:
        pick = super().pick(key, exclude=exclude, cost=cost)
        if self._observer is not None:
            self._observer.on_pick(pick)
        return pick


class CallsUnderLock(Chance):
    """Tells the observer of an update while it holds its lock."""

    def __init__(self, endpoints, **options: Any) -> None:
        self.lock = threading.Lock()
        super().__init__(endpoints, **options)

    def update(self, endpoints) -> Delta:
        if not self.lock.acquire(timeout=0.2):
            raise TimeoutError("deadlock")
        try:
            return super().update(endpoints)
        finally:
            self.lock.release()


class RacyCount(Chance):
    """Numbers leases by a read and a write: two threads get one number."""

    def _grant(self, view: View, key, exclude, cost, reason, now) -> Pick:
        cell = self._choose(view, key, exclude, cost, self._rng)
        if cell is None:
            raise NoEligibleEndpointError("nobody")
        pick = self._lease(cell, cost, reason, now)
        self.number = number = getattr(self, "number", 0) + 1
        time.sleep(0)  # another thread's turn
        if self.number != number:
            cell.open.discard(pick._serial)
        return pick


class SettlesUnderLock(Chance):
    """Takes one lock to choose and to learn."""

    def __init__(self, endpoints, **options: Any) -> None:
        self.own = threading.Lock()
        super().__init__(endpoints, **options)

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        with self.own:
            return super()._choose(view, key, exclude, cost, rng)

    def _learn(self, pick, outcome, latency, load, retry_after) -> None:
        with self.own:
            pass


class ModuloHash(Policy):
    """Places by the key modulo n: everything moves at every change."""

    keyed = True

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        able = sorted(view.cells, key=lambda cell: cell.endpoint.id)
        if key is None:
            key = rng.getrandbits(32)
        number = sum(str(key).encode("utf-8", "surrogatepass"))
        start = number % len(able)
        turned = able[start:] + able[:start]
        return next((cell for cell in turned if cell.endpoint.id not in exclude), None)


class ForkedTwins(RoundRobin):
    """Goes on from the parent's place in a forked child."""

    def _renew(self) -> None:
        pass


class KeepsLock(Chance):
    """Holds a lock of its own over a fork."""

    def __init__(self, endpoints, **options: Any) -> None:
        self.own = threading.Lock()
        super().__init__(endpoints, **options)

    def _choose(self, view, key, exclude, cost, rng) -> Cell | None:
        with self.own:
            return super()._choose(view, key, exclude, cost, rng)


class NoCallbacks:
    """Lacks ``changed``."""

    def __init__(self, endpoints, **options: Any) -> None:
        self.inner = Chance(endpoints, **options)

    def __getattr__(self, name: str) -> Any:
        if name == "changed":
            raise AttributeError(name)
        return getattr(self.inner, name)


class StaleViews(Chance):
    """Shows the endpoint as it was when it joined."""

    def __init__(self, endpoints, **options: Any) -> None:
        self.first: dict[str, Endpoint] = {}
        super().__init__(endpoints, **options)

    def _install(self, roster) -> None:
        super()._install(roster)
        for endpoint in roster:
            self._ledger.cells[endpoint.id].endpoint = self.first.setdefault(endpoint.id, endpoint)


FAULTS: list[tuple[Callable[..., Any], str]] = [
    (FirstInTheList, "fair_ties"),
    (SlightlyUnfair, "fair_ties"),
    (partial(RoundRobin, phase=0), "fair_ties"),
    (IgnoresExclude, "exclude"),
    (IgnoresExclude, "accounting"),
    (GlobalChance, "determinism"),
    (AddressOrder, "determinism"),
    (PicksDrained, "zero_weight"),
    (PicksDrained, "accounting"),
    (CuriousExplain, "determinism"),
    (WrongExplain, "explain"),
    (WrongExplain, "accounting"),
    (ForgetsMembers, "identity"),
    (ForgetsMembers, "accounting"),
    (PositionLedger, "identity"),
    (PositionLedger, "accounting"),
    (RevivesCells, "late_settlement"),
    (RevivesCells, "accounting"),
    (PartialUpdate, "errors"),
    (ForgivesErrors, "errors"),
    (ChangesOnErrors, "errors"),
    (SettlesTwice, "late_settlement"),
    (SettlesTwice, "accounting"),
    (SettlesTwice, "thread_conservation"),
    (LosesCosts, "accounting"),
    (NeverDrains, "abandonment"),
    (NeverDrains, "accounting"),
    (DrainsAfter, "abandonment"),
    (DrainsAfter, "accounting"),
    (CancelsNothing, "outcomes"),
    (TrustsObservers, "observers"),
    (CallsUnderLock, "observers"),
    (RacyCount, "thread_conservation"),
    (ModuloHash, "placement"),
    (JumpHash, "placement"),
    (ForkedTwins, "fork"),
    (KeepsLock, "fork"),
    (SettlesUnderLock, "finalizers"),
    (NoCallbacks, "shape"),
    (StaleViews, "identity"),
    (StaleViews, "accounting"),
    (Rendezvous, ""),
    (Chance, ""),
]
"""A factory and the check that must fail it; "": none may."""
