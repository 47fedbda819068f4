"""``Waiting``: the half of a ``Limit`` in which requests wait for room.

Guarantees:
    First come, first served, among those who can use the place; at most ``queue`` wait. Nobody
    waits while there is room for them, whichever thread made it and whatever it was doing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Collection, Iterable
from threading import Event, Lock
from typing import Unpack

from balancers.compose.bell import Bell
from balancers.compose.composite import PolicyFactory
from balancers.compose.limit.ticket import Ticket
from balancers.compose.solo import Solo
from balancers.core.checks import checked_exclude
from balancers.core.lease import Pick
from balancers.core.membership import Options
from balancers.core.numbers import checked_seconds, checked_whole
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.errors import NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import Reason

__all__ = ["Waiting"]


class Waiting(Solo):
    """A balancer that may have no room, and a queue before it.

    Args:
        endpoints: The membership.
        policy: Makes the balancer below.
        queue: How many may wait, ≥ 0.
        options: What every balancer takes; see ``Policy``.

    Invariants (under ``_lock``):

        1. Whoever waits could not be served when last looked at, and all that has made room
           since has left word: ``_has_news()`` or ``_freed`` is true.
        2. Whoever lets go of the lock calls ``_catch_up``, which never waits for it.
        3. Nobody is told of anything, nor handed a pick, while the lock is held.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        queue: int,
        **options: Unpack[Options],
    ) -> None:
        self._longest = checked_whole("queue", queue, 0)
        self._lock = Lock()
        self._waiting: dict[Ticket, None] = {}
        self._granted: deque[Ticket] = deque()  # served, and yet to be told
        self._refused = False  # whether somebody was sent away since room was last made
        self._freed = False  # whether room was made that nobody waiting has been offered
        self._told = True  # whether who was sent away has been told of the room made since
        self._post = Bell()
        super().__init__(endpoints, policy=policy, **options)

    # -- what the level says of itself -----------------------------------------------------

    @abstractmethod
    def _enter(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Check, choose and charge; needs the lock."""

    @abstractmethod
    def _is_spent(self) -> bool:
        """Whether there is no room for anybody."""

    @abstractmethod
    def _has_news(self) -> bool:
        """Whether ``_take_note`` has something to do."""

    @abstractmethod
    def _take_note(self) -> None:
        """Take note of the leases that have ended, setting ``_freed``; needs the lock."""

    # -- room ------------------------------------------------------------------------------

    def _tell_listeners(self) -> None:
        # A membership or a health that has changed may have room for those who wait.
        super()._make_up()
        self._made_room()

    def _made_room(self) -> None:
        self._freed = self._refused = True
        self._catch_up()

    def _make_up(self) -> None:
        self._catch_up()
        super()._make_up()

    def _private_locks(self) -> list[Lock]:
        return [self._lock, *super()._private_locks()]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._lock = Lock()
        self._post = Bell()
        self._waiting = {}  # whoever waits, waits in the parent
        self._granted.clear()

    def _catch_up(self) -> None:
        """Give on the room that leases have left, unless whoever holds the lock will."""
        while (self._freed or self._has_news()) and self._lock.acquire(blocking=False):
            try:
                self._take_note()
                if self._freed:
                    self._freed = False
                    self._granted.extend(self._grant_waiting())
                    if self._refused:
                        self._refused = self._told = False
            finally:
                self._lock.release()
            if self._granted or not self._told:
                self._post.ring(self._deliver)

    def _deliver(self) -> None:
        """Hand out what was granted, and tell those sent away that there is room."""
        while self._granted:
            try:
                ticket = self._granted.popleft()
            except IndexError:  # another thread took the last one
                break
            if self._watched and ticket.pick is not None:
                self._announce(ticket.pick)
            ticket._answer()
        if not self._told:
            self._told = True
            super()._made_room()

    # -- the queue -------------------------------------------------------------------------

    def enqueue(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Ticket:
        """Ask for a pick that may come later; does not wait.

        Returns:
            A ticket, with its pick if there was room.

        Raises:
            NoEligibleEndpointError: There is no room, and the queue is full.
            NoEndpointError: The membership is empty.
            RuntimeError: This is not the outermost level of its tree, so cannot pick for it.
        """
        if self._parent is not None:
            raise RuntimeError("ask the outermost balancer: an inner one cannot pick for it")
        exclude = checked_exclude(exclude)
        ticket = Ticket(self, key, exclude, cost)
        try:
            ticket.pick = self.pick(key, exclude=exclude, cost=cost)
        except NoEligibleEndpointError as error:
            try:
                with self._lock:
                    self._queue_up(ticket, error)
            finally:
                self._catch_up()
            if self._watched and ticket.pick is not None:
                self._announce(ticket.pick)
        return ticket

    def acquire(
        self,
        key: Key | None = None,
        *,
        exclude: Collection[str] = (),
        cost: float = 1.0,
        timeout: float | None = None,
    ) -> Pick:
        """Lease one endpoint, waiting on this thread for room if need be.

        Args:
            key: As in ``pick``.
            exclude: As in ``pick``.
            cost: As in ``pick``.
            timeout: Seconds to wait at most, ≥ 0; None: as long as it takes.

        Raises:
            NoEligibleEndpointError: The queue is full, or the time is up.
            NoEndpointError: The membership is empty.
        """
        if timeout is not None:
            timeout = checked_seconds("timeout", timeout)
        ticket = self.enqueue(key, exclude=exclude, cost=cost)
        done = Event()
        ticket.then(done.set)
        try:
            done.wait(timeout)
        except BaseException:  # a signal's: nobody is left to use the pick
            ticket.abandon()
            raise
        if ticket.cancel():
            raise NoEligibleEndpointError(f"no room within {timeout} s")
        assert ticket.pick is not None
        return ticket.pick

    def _queue_up(self, ticket: Ticket, error: NoEligibleEndpointError) -> None:
        """Serve a ticket, or have it wait; needs the lock."""
        # Once more, so that nothing settled in between is missed.
        if self._serve(ticket):
            return
        if len(self._waiting) >= self._longest:
            text = f"{error}, and {self._longest} wait already"
            raise NoEligibleEndpointError(text, retry_after=error.retry_after) from None
        self._waiting[ticket] = None

    def _serve(self, ticket: Ticket) -> bool:
        """Try to grant a ticket; needs the lock."""
        now = self._ledger.clock() if self._dated else None
        view = self._view
        try:
            ticket.pick = self._enter(
                view, ticket.key, ticket.exclude, ticket.cost, Reason.NORMAL, now
            )
        except (NoEligibleEndpointError, NoEndpointError):
            return False
        return True

    def _grant_waiting(self) -> list[Ticket]:
        """Serve whoever can be served, first come first; needs the lock."""
        granted: list[Ticket] = []
        for ticket in list(self._waiting):
            if self._is_spent():
                break
            if self._serve(ticket):
                del self._waiting[ticket]
                granted.append(ticket)
            elif ticket.key is None and not ticket.exclude:
                break  # who takes anybody got nobody
        return granted

    def _give_up(self, ticket: Ticket) -> bool:
        try:
            with self._lock:
                if ticket not in self._waiting:
                    return False
                del self._waiting[ticket]
                return True
        finally:
            self._catch_up()

    def _check(self) -> None:
        super()._check()
        self._catch_up()
        with self._lock:
            assert len(self._waiting) <= self._longest
            assert not self._has_news()
