"""The slow half of a balancer: who is in, who may be picked, and what is built of it.

Everything here runs on ``update`` and on health changes, never on a pick. A view is prepared
aside, where it may fail and change nothing, and then published by one assignment, which must
not fail. Three rules hold for the file:

1. ``_control`` is taken to change or copy the whole membership, and by nothing else; a pick
   or a settlement never waits for it.
2. Locks are taken in one order: ``_control`` before the registry's own.
3. No observer, callback or warning runs while a lock is held.

Balancers nest. The outermost one, the root, owns the ledger, the clock, the rng and the
registry's attachment; a balancer inside it *adopts* these, except what it was given itself,
and is prepared and published as a part of its parent.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypedDict

from balancers.core.checks import check_observer, checked_fraction, difference
from balancers.core.fork import enrol
from balancers.core.hooks import tell_registry
from balancers.core.ledger import Cell, Classify, Errand, Ledger, contained
from balancers.core.view import View, view_of
from balancers.endpoint import Endpoint, EndpointLike, as_endpoints
from balancers.protocol import Clock, Delta, Observer, Unsubscribe

if TYPE_CHECKING:
    from balancers.core.lease import Hook
    from balancers.health.registry import HealthRegistry

__all__ = ["Chooser", "Membership", "Options"]

Chooser: TypeAlias = Callable[[Any], Cell | None]
"""From a key, or None, to the cell of an endpoint."""


LEAVE = 0.05
"""Seconds after which who holds a private lock is taken to be this very thread."""


def _comes_free(lock: Lock) -> bool:
    """Whether a lock is given back soon: another thread's pick takes microseconds."""
    if lock.locked():
        if not lock.acquire(timeout=LEAVE):
            return False
        lock.release()
    return True


class Options(TypedDict, total=False):
    """What every balancer takes beside its endpoints; see ``Policy``."""

    health: HealthRegistry | None
    clock: Clock | None
    rng: Random | None
    observer: Observer | None
    classify: Classify | None
    panic_threshold: float


class Membership(ABC):
    """Endpoints, their cells, and the view picks read; see ``Policy`` for the options."""

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        health: HealthRegistry | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
        observer: Observer | None = None,
        classify: Classify | None = None,
        panic_threshold: float = 0.5,
    ) -> None:
        for name, option in (("clock", clock), ("classify", classify)):
            if option is not None and not callable(option):
                raise TypeError(f"{name} is callable or None, not {option!r}")
        if rng is not None and not isinstance(rng, Random):
            raise TypeError(f"rng is a random.Random or None, not {rng!r}")
        if observer is not None:
            check_observer(observer)
        if health is not None:
            if clock is not None and clock != health.clock:
                raise ValueError("clock= is not the clock of the registry given as health=")
            clock = health.clock
        self._panic_threshold = checked_fraction("panic_threshold", panic_threshold)
        self._panic: bool | None = None  # an outer level's word, once there is one
        self._withheld: Mapping[str, str] = {}  # and whom it keeps from this one, and why
        self._parent: Membership | None = None
        self._given_clock = clock
        self._given_rng = rng
        self._rng = Random() if rng is None else rng
        self._observer = observer
        self._watched = observer is not None  # here or further in
        self._ledger = Ledger(time.monotonic if clock is None else clock, classify)
        self._abandoned = self._ledger.abandoned
        self._clock = self._ledger.clock
        self._registry = health
        self._attachment = (
            None
            if health is None
            else health.attach(self._refresh, nudge=self._nudge, in_flight=self._in_flight)
        )
        self._stale = False
        self._hooks: tuple[Hook, ...] = self._own_hooks()
        self._dated = bool(self._hooks)  # whether leases are dated by the clock
        self._control = Lock()
        self._listeners: dict[object, Callable[[], object]] = {}
        self._view = View()
        self._fast: Any = None
        self._chooser: Chooser | None = None
        self._install(as_endpoints(endpoints))
        enrol(self)

    # -- what a policy says of itself ------------------------------------------------------

    def _admit(self, roster: tuple[Endpoint, ...]) -> None:
        """Raise ``InvalidEndpointError`` for a membership this policy cannot take."""

    def _build(self, view: View) -> Any:
        """Return what picks find as ``view.state``; may raise, must not touch the old state."""
        return None

    def _publish(self, view: View) -> None:
        """Make the view the one that picks read; must not raise."""
        plain = self._is_plain(view)
        self._view = view
        # A short cut tells nobody of a lease's end but the registry.
        plain = plain and not self._watchers()
        self._fast = view.state if plain else None
        self._chooser = self._shortcut(view) if plain else None

    def _is_settled(self, view: View) -> bool:
        """Whether the view would be made the same again, its members being what they are."""
        return True

    def _restart(self) -> None:
        """Forget what was built before an outer level adopted this one: its cells are gone."""
        self._view = View()
        self._fast = self._chooser = None

    def _private_locks(self) -> list[Lock]:
        """Return the locks that ``_build`` and ``_publish`` take, here and further in."""
        return []

    def _renew_locks(self) -> None:
        """Replace every lock, in a forked child: the holder did not come along."""
        self._control = Lock()

    def _renew(self) -> None:
        """Redraw, in a forked child, what was drawn by an rng of the library's own."""

    def _shortcut(self, view: View) -> Chooser | None:
        """Return the quickest way to a choice from this view, or None.

        It is handed the key, checked by nobody, if the policy is keyed, and None if not. It
        returns a cell, or None where the long way is needed after all. It is used while every
        candidate is in good standing and only the registry is to be told of leases.
        """
        return None

    @abstractmethod
    def _watchers(self) -> bool:
        """Whether anybody but the registry wants to be told of leases."""

    @abstractmethod
    def _own_hooks(self) -> tuple[Hook, ...]:
        """Return who, at this level, learns from a settlement."""

    # -- the contract ----------------------------------------------------------------------

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The membership, in the order given."""
        return self._view.roster

    def update(self, endpoints: Iterable[EndpointLike]) -> Delta:
        """Replace the membership, all of it, or raise and change nothing.

        Endpoints whose id stays keep load, latency and health, in whatever order they come.

        Returns:
            What was added, removed and changed.

        Raises:
            InvalidEndpointError: For a membership that cannot be balanced over.

        Runtime complexity: O(n), plus what the policy builds; picks go on meanwhile.
        """
        if self._ledger.abandoned:
            self._ledger.drain()
        roster = as_endpoints(endpoints)
        while True:
            # Comparing metadata is somebody else's code, so it is done before the lock.
            before = self._view.roster
            delta = difference(before, roster)
            same = roster == before
            with self._controlled():
                if self._view.roster is not before:
                    continue  # another update came between
                if not same:
                    self._install(roster)
            break
        if delta:
            if self._observer is not None:
                contained("observer's on_update", self._observer.on_update, delta)
            self._tell_listeners()
        return delta

    def changed(self, callback: Callable[[], object]) -> Unsubscribe:
        """Call ``callback()`` after whatever may make a failed pick succeed.

        It runs outside every lock; an exception is logged and contained.

        Returns:
            A function that ends the subscription; calling it again does nothing.
        """
        if not callable(callback):
            raise TypeError(f"callback is callable, not {callback!r}")
        token = object()
        self._listeners[token] = callback

        def unsubscribe() -> None:
            self._listeners.pop(token, None)

        return unsubscribe

    def close(self) -> None:
        """Leave the registry; idempotent. Picks go on, without health."""
        with self._controlled():
            if self._attachment is not None:
                self._let_go()
                for cell in self._ledger.cells.values():
                    cell.enter(None)
                self._rebuild()

    # -- the mechanism ---------------------------------------------------------------------

    def _install(self, roster: tuple[Endpoint, ...]) -> None:
        """Prepare a view of the roster, then publish it; the root's part of an update."""
        ledger = self._ledger
        before = self._view.roster
        cells = ledger.plan(roster)
        self._admit(roster)
        try:
            self._hold((*before, *roster), {**ledger.cells, **cells})
            view = self._prepare(roster, cells)
        except BaseException:
            self._hold(before, ledger.cells)
            raise
        ledger.commit(cells, roster)
        self._publish(view)
        self._hold(roster, cells)

    def _hold(self, members: Iterable[Endpoint], cells: Mapping[str, Cell]) -> None:
        """Tell the registry whom we hold, and note its entries in the cells."""
        if self._attachment is None:
            return
        attachment = self._attachment
        entries = attachment.hold({endpoint.id: endpoint.weight for endpoint in members})
        before, attachment.cells = attachment.cells, cells
        for name in before.keys() - cells.keys():
            before[name].calm = None  # its late leases ask the entry, which may be dropped
        for name, cell in cells.items():
            cell.enter(entries.get(name))

    def _prepare(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        """Return a view of the roster and what is built of it, changing nothing."""
        view = view_of(
            roster, cells, self._panic_threshold, self._panic, self._withheld, self._view
        )
        view.state = self._build(view)
        return view

    @contextmanager
    def _controlled(self) -> Iterator[None]:
        """Hold ``_control``; afterwards catch up on the health changes that could not wait."""
        try:
            with self._control:
                yield
        finally:
            if self._stale:
                self._refresh()

    def _refresh(self) -> None:
        """Rebuild the view after a health change; the registry calls it, holding no lock."""
        if self._parent is not None:
            self._parent._refresh()
            return
        with self._controlled():
            self._rebuild()
        self._tell_listeners()

    def _nudge(self) -> None:
        """Rebuild on behalf of a pick or a settlement, which must not wait.

        A settlement may run in a finalizer, in the middle of a pick of its own thread: where a
        private lock stays taken, the next pick is left to rebuild.
        """
        if self._parent is not None:
            self._parent._nudge()
        elif all(map(_comes_free, self._private_locks())):
            self._catch_up_with_health()
        else:
            self._ledger.abandoned.append(Errand(self._catch_up_with_health))

    def _catch_up_with_health(self) -> None:
        """Rebuild; where ``_control`` is taken, its holder is left to do so when it is done."""
        self._stale = True
        while self._stale and self._control.acquire(blocking=False):
            try:
                self._rebuild()
            finally:
                self._control.release()
        self._tell_listeners()

    def _rebuild(self) -> None:
        self._stale = False
        self._publish(self._prepare(self._view.roster, self._ledger.cells))

    def _in_flight(self, name: str) -> int:
        cell = self._ledger.cells.get(name)
        return 0 if cell is None else cell.in_flight

    def _is_plain(self, view: View) -> bool:
        """Whether a pick from the view is a choice and a bare lease, and nothing more."""
        return bool(
            view.cells
            and not view.reason
            and not view.ramps
            and not view.probing
            and self._observer is None
            and self._is_alone()
        )

    def _is_alone(self) -> bool:
        """Whether no outer level but the registry wants to be told of leases."""
        return self._parent is None or all(h is tell_registry for h in self._parent._hooks)

    def _adopt(self, parent: Membership) -> None:
        """Become part of the parent's tree, except for what was given explicitly.

        Raises:
            ValueError: If the clock given here is not the tree's.
        """
        ledger = parent._ledger
        if self._given_clock is not None and self._given_clock is not ledger.clock:
            raise ValueError("a balancer inside another one was given a clock of its own")
        self._parent = parent
        self._ledger = ledger
        self._abandoned = ledger.abandoned
        self._clock = ledger.clock
        if self._given_rng is None:
            self._rng = parent._rng
        if self._registry is None:
            self._registry = parent._registry
        elif self._registry is parent._registry and self._attachment is not None:
            self._attachment.release()  # the root holds its members already
            self._attachment = None
        own = self._own_hooks()
        # Where a registry was given inside, it is the one to be told, and told once.
        self._hooks = own + tuple(hook for hook in parent._hooks if hook not in own)
        self._dated = bool(self._hooks)
        self._restart()

    def _registries(self) -> list[HealthRegistry]:
        """Return the registries followed here and further in."""
        return [] if self._registry is None else [self._registry]

    def _let_go(self) -> None:
        """Follow no registry any more."""
        if self._attachment is not None:
            self._attachment.release()
        self._attachment = self._registry = None

    def _draws_own(self) -> bool:
        """Whether the rng in use is the library's own, rather than injected."""
        if self._given_rng is not None:
            return False
        return self._parent is None or self._parent._draws_own()

    def __reduce__(self) -> NoReturn:
        # A copy would share the ledger and the lock, and know nothing of the other's updates.
        raise TypeError("a balancer can be neither copied nor pickled: make another one")

    def _tell_listeners(self) -> None:
        for callback in list(self._listeners.values()):
            contained("a callback of changed()", callback)
