"""``HashPolicy``: the base of policies that place a key, and walk on where its place is taken.

The structure is laid over every endpoint of positive weight, healthy or not, by ``hash_key``.
Health, ``exclude``, slow start and load bounds never rebuild it: a candidate that may not take
the key is passed over, and the key goes to its own next one. So exactly the keys of an ejected
endpoint move, they return with it, and a retry finds the same second choice every time.

Slow start: a ramping endpoint at share r takes a key only if a second hash of (key, endpoint) is
below r. The hash does not depend on r, so while r grows each key moves once, to the endpoint.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from random import Random
from threading import Lock
from typing import Any, Unpack

from balancers.core.bound import LoadBound
from balancers.core.lease import FallbackPick, Pick, TrackedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike, as_endpoints
from balancers.errors import InvalidEndpointError
from balancers.hashing import Key, hash64, key_bytes
from balancers.protocol import Outcome, Reason
from balancers.structures.keyed import KeyedStructure
from balancers.structures.movement import Movement

__all__ = ["HashPolicy"]

_RAMP_SEED = 0x72616D70  # "ramp": a hash independent of the placement's own


class _Placement:
    """A structure and the cells of its members; None stands for a member no pick may get."""

    __slots__ = ("cells", "locate", "members", "placed", "structure", "weights")

    def __init__(
        self,
        structure: KeyedStructure,
        weights: dict[str, float],
        view: View,
        locate: Callable[[Any], int],
    ) -> None:
        self.structure = structure
        self.weights = weights  # in the order given, which is placement for some
        self.locate = locate
        self.members = view.members
        known = {e.hash_key: cell for e, cell in zip(view.roster, view.members, strict=True)}
        self.placed: tuple[Cell, ...] = tuple([known[name] for name in structure.ids])
        self.cells: tuple[Cell | None, ...] = ()
        self.admit(view)

    def admit(self, view: View) -> None:
        """Note who are candidates. O(n)."""
        able = set(view.cells)
        self.cells = tuple([cell if cell in able else None for cell in self.placed])

    def after(self, view: View) -> _Placement:
        """Return the same placement of the same members, for other candidates."""
        twin = copy.copy(self)
        twin.admit(view)
        return twin


class HashPolicy(Policy):
    """Places keys by a structure over the endpoints' hash keys.

    Args:
        endpoints: The membership.
        load_factor: c ≥ 1 bounds the leases of an endpoint to ⌈c · p · (m + 1)⌉, where p is its
            share of the eligible weight and m counts the open leases; None: no bound.
        min_load: Leases every endpoint may hold whatever the bound says, ≥ 1.
        options: What every balancer takes; see ``Policy``.
    """

    keyed = True

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        load_factor: float | None = None,
        min_load: int = 1,
        **options: Unpack[Options],
    ) -> None:
        if isinstance(min_load, bool) or not isinstance(min_load, int):
            raise TypeError(f"min_load is an int, not {min_load!r}")
        if min_load < 1:
            raise ValueError(f"min_load must be ≥ 1, not {min_load}")
        self._bound = None if load_factor is None else LoadBound(load_factor, min_load)
        super().__init__(endpoints, **options)

    @abstractmethod
    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        """Lay the structure over hash key → weight > 0, in the order given.

        Args:
            weights: The members to place.
            old: The structure in use, whose work may be kept; None the first time.
        """

    def _hashable(self, key: Any) -> Key:
        """Return what the structure is asked for; most take the key as it is."""
        return key  # type: ignore[no-any-return]

    def _drawn_key(self, bits: int) -> Any:
        """Return the key that stands for none, from 64 random bits."""
        return bits

    def _locator(self, structure: KeyedStructure) -> Callable[[Any], int]:
        """Return the quickest way from a key to its owner's position."""
        return structure.locate

    # -- questions an operator asks --------------------------------------------------------

    def shares(self) -> dict[str, float]:
        """Return the exact share of the key space of each endpoint, health aside.

        Returns:
            Id → 0..1, for the whole membership; they sum to 1 unless all weights are 0.

        Runtime complexity: that of the structure's own ``shares``.
        """
        view = self._view
        placed = view.state.structure.shares()
        return {e.id: placed.get(e.hash_key, 0.0) for e in view.roster}

    def moved(self, endpoints: Iterable[EndpointLike]) -> Movement:
        """Return what an ``update`` to these endpoints would move, changing nothing.

        Returns:
            The exact fraction of the key space that changes owner, and from whom to whom, by id;
            ids that stand for one hash key before and after are one owner.

        Raises:
            InvalidEndpointError: As ``update`` would.
            LookupError: If there is nobody of positive weight before or after.
        """
        roster = as_endpoints(endpoints)
        self._admit(roster)
        before: KeyedStructure = self._view.state.structure
        weights = {e.hash_key: e.weight for e in roster if e.weight > 0.0}
        movement = before.moved(self._structure(weights, before))
        sources = {e.hash_key: e.id for e in self._view.roster}
        targets = {e.hash_key: e.id for e in roster}
        return replace(
            movement,
            table={(sources[a], targets[b]): part for (a, b), part in movement.table.items()},
        )

    # -- the slow half ---------------------------------------------------------------------

    def _admit(self, roster: tuple[Endpoint, ...]) -> None:
        seen: dict[str, str] = {}
        for endpoint in roster:
            other = seen.setdefault(endpoint.hash_key, endpoint.id)
            if other != endpoint.id:
                raise InvalidEndpointError(
                    f"endpoints {other!r} and {endpoint.id!r} share the hash_key "
                    f"{endpoint.hash_key!r}"
                )

    def _build(self, view: View) -> _Placement:
        old: _Placement | None = self._view.state
        if old is not None and old.members is view.members and self._view.roster is view.roster:
            return old.after(view)  # health alone has changed
        weights = {e.hash_key: e.weight for e in view.roster if e.weight > 0.0}
        if old is not None and list(old.weights.items()) == list(weights.items()):
            structure = old.structure
        else:
            structure = self._structure(weights, None if old is None else old.structure)
        return _Placement(structure, weights, view, self._locator(structure))

    def _publish(self, view: View) -> None:
        bound = self._bound
        if bound is None:
            super()._publish(view)
            return
        members = self._ledger.cells
        weights = {c: e.weight for e, c in zip(view.endpoints, view.cells, strict=True)}
        with bound.lock:
            bound.set_members(members[endpoint.id] for endpoint in view.roster)
            bound.set_candidates(weights)
            super()._publish(view)

    def _learns(self) -> bool:
        return self._bound is not None or type(self)._learn is not HashPolicy._learn

    def _keyer(self) -> Callable[[Any], Key] | None:
        own = type(self)._hashable is not HashPolicy._hashable
        return self._hashable if own else None

    def _restart(self) -> None:
        self._fast = None  # the structure depends on the members alone and is kept

    def _private_locks(self) -> list[Lock]:
        return [] if self._bound is None else [self._bound.lock]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        if self._bound is not None:
            self._bound.renew_lock()

    # -- the quick half --------------------------------------------------------------------

    def _shortcut(self, view: View) -> Chooser | None:
        placement: _Placement = view.state
        cells, locate = placement.cells, placement.locate
        return lambda key: cells[locate(key)]

    def _detour(self, key: Key | None, now: float) -> Pick:
        """Walk on from an owner that is no candidate, where nothing else is out of the ordinary."""
        view = self._view
        if not (key is None or view.reason or view.ramps or view.probing):
            placement: _Placement = view.state
            place = placement.structure.first_able(self._hashable(key), placement.cells)
            cell = None if place is None else placement.cells[place]
            if cell is not None:
                pick = FallbackPick()
                pick._started = now
                pick.endpoint = cell.endpoint
                pick._cell = cell
                pick._serial = serial = next(cell.serials)
                cell.open.add(serial)
                return pick
        return self._pick(key, (), 1.0, now)

    def _grant(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        if key is None:
            key = self._drawn_key(self._rng.getrandbits(64))
            reason = max(reason, Reason.NO_KEY)
        bound = self._bound
        if bound is None:
            cell, why = self._place(view, key, exclude)
        else:
            with bound.lock:
                bound.catch_up()
                # The bound follows the membership published last, so the view must too.
                cell, why = self._place(self._view, key, exclude)
                if cell is not None:
                    bound.charge(cell)
        if cell is None:
            raise self._nobody(view, exclude)
        return self._lease(cell, cost, max(reason, why), now)

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        bound = self._bound
        if bound is not None:
            with bound.lock:
                bound.charge(cell)
        return super()._lease_on(view, cell, key, cost, reason, now)

    def _place(self, view: View, key: Key, exclude: Collection[str]) -> tuple[Cell | None, Reason]:
        """Return the first of the key's candidates that may take it, and why that one."""
        bound = self._bound
        reason = Reason.NORMAL
        waiting: Cell | None = None  # the first candidate that only its ramp holds back
        fullest: Cell | None = None
        least = 0
        for cell in self._owners(view, key):
            if cell is None or cell.endpoint.id in exclude:
                reason = Reason.FALLBACK
                continue
            if bound is not None and (excess := bound.excess(cell)) > 0:
                reason = Reason.FALLBACK
                if fullest is None or excess < least:
                    fullest, least = cell, excess
                continue
            if self._is_held_back(view, key, cell):
                reason = Reason.FALLBACK
                waiting = waiting or cell
                continue
            return cell, reason
        if waiting is not None:
            return waiting, reason
        return fullest, Reason.OVERFLOW

    def _owners(self, view: View, key: Key) -> Iterator[Cell | None]:
        placement: _Placement = view.state
        return map(
            placement.cells.__getitem__, placement.structure.walk_indices(self._hashable(key))
        )

    def _is_held_back(self, view: View, key: Key, cell: Cell) -> bool:
        share = view.ramps.get(cell.endpoint.id)
        if share is None:
            return False
        pair = key_bytes(self._hashable(key)), key_bytes(cell.endpoint.hash_key)
        draw = hash64(len(pair[0]).to_bytes(8, "little") + b"".join(pair), _RAMP_SEED)
        return draw >= share * 2.0**64

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        if key is None:
            key = self._drawn_key(rng.getrandbits(64))
        return self._place(view, key, exclude)[0]

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        path = (type(self).__name__,)
        if not view.cells:
            return None, max(reason, view.reason), path
        if view.probing:
            exclude = view.spent().union(exclude)
        if key is None:
            key = self._drawn_key(rng.getrandbits(64))
            reason = max(reason, Reason.NO_KEY)
        cell, why = self._place(view, key, exclude)
        return cell, max(reason, why, view.reason), path

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        if self._bound is not None:
            self._bound.release(pick._cell)

    def _details(self) -> dict[str, Any]:
        return {} if self._bound is None else {"open": float(self._bound.total)}

    def _check(self) -> None:
        if self._bound is not None:
            with self._bound.lock:
                self._bound._check()
