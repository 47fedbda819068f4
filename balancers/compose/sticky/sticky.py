"""Sticky: a client goes back to the endpoint it was served by.

Guarantees:
    A session stays with its endpoint while that may be picked, or is only drained (weight 0, or
    DRAINING, and in good health): draining takes no new sessions and keeps its own. When the
    endpoint is gone, unhealthy or, by option, over its share of the load, the session moves,
    once, to wherever the inner policy puts it. No other session moves. A token that is forged,
    stale or unreadable is a client without a session, never an error.
    ``exclude``, a spent permit of probation and a full ``Limit`` send a request elsewhere, and
    leave the session where it is.

Use when:
    Endpoints keep something of the client's that is dear to fetch again.

Avoid when:
    They do not: affinity trades even load for it. The key could be placed by hash: ``RingHash``
    needs no state and no token, but moves some sessions whenever the membership changes.

Cost:
    ``"cookie"``: an HMAC-SHA256 (about 2 µs) a pick; ``"opaque"``, ``"header"``: a look-up;
    ``"table"``: a look-up under one private lock, and memory for ``max_sessions``. A lease that
    hands out a token is tracked. O(n) an update.

Source:
    HAProxy cookies, stick tables and ``option redispatch``; nginx ``sticky``; Envoy stateful
    sessions; gRFC A55. Return after recovery: envoyproxy/envoy#18709.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from random import Random
from threading import Lock
from typing import Any, Literal, Unpack

from balancers.compose.composite import Branch, Group, PolicyFactory, Taker
from balancers.compose.solo import EVERYBODY, Solo
from balancers.compose.spread import Spread
from balancers.compose.sticky.seats import Seats
from balancers.compose.sticky.tokens import (
    Mode,
    Secret,
    handing_out,
    readable,
    tokens_for,
)
from balancers.core.bound import LoadBound
from balancers.core.lease import Pick, TrackedPick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_seconds, checked_whole
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key, key_bytes
from balancers.protocol import Candidate, Clock, Outcome, Reason
from balancers.structures.session_table import Session, SessionTable

__all__ = ["Sticky"]

Parse = Callable[[Any], tuple[Key | None, Key | None]]


class Sticky(Solo):
    """Affinity over any policy.

    The key of ``pick`` is what the client sent: its token, or in mode ``"table"`` the name of
    its session. ``Pick.affinity`` is the token to hand back, None if the one sent still holds.

    Args:
        endpoints: The membership.
        policy: Makes the balancer that places sessions, and serves whoever has none.
        mode: ``"cookie"``: a signed token that names the endpoint; ``"opaque"``: a keyed hash
            of the id; ``"header"``: the id itself, from trusted callers; ``"table"``: sessions
            are remembered here, by key.
        secret: For ``"cookie"`` and ``"opaque"``: text or bytes, best 32 random bytes. Of
            several the first signs and all verify.
        max_age: Seconds after which a signed token is stale, > 0; None: never.
        wall_clock: Seconds that mean the same in every process, ``time.time`` for one. It dates
            signed tokens: ``max_age`` needs it, and finds those written without it stale.
        idle: Seconds without use after which the table forgets a session, > 0.
        max_sessions: How many sessions the table remembers, ≥ 1.
        failback: ``"stay"`` where a session moved to, or ``"return"`` to where it came from.
        return_after: Seconds for which that endpoint must have been eligible first, ≥ 0.
        load_factor: c ≥ 1: a session leaves an endpoint that holds ⌈c · p · (m + 1)⌉ leases, p
            being its share of the eligible weight and m the leases open; None: never.
        min_load: Leases every endpoint may hold whatever ``load_factor`` says, ≥ 1.
        parse: Splits the key into the client's part and a key for the inner policy; by default
            a token is all of it, and in mode ``"table"`` both are the key.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range, or that the mode has no use for.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        mode: Mode = "cookie",
        secret: Secret | None = None,
        max_age: float | None = None,
        wall_clock: Clock | None = None,
        idle: float = 1800.0,
        max_sessions: int = 65_536,
        failback: Literal["stay", "return"] = "stay",
        return_after: float = 0.0,
        load_factor: float | None = None,
        min_load: int = 1,
        parse: Parse | None = None,
        **options: Unpack[Options],
    ) -> None:
        if failback not in ("stay", "return"):
            raise ValueError(f'failback is "stay" or "return", not {failback!r}')
        for name, given in (("wall_clock", wall_clock), ("parse", parse)):
            if given is not None and not callable(given):
                raise TypeError(f"{name} is callable or None, not {given!r}")
        self._tokens = tokens_for(mode, secret, max_age, wall_clock)
        self._wall: Clock = wall_clock or (lambda: 0.0)
        self._table: SessionTable | None = None
        if mode == "table":
            idle = checked_seconds("idle", idle, above=True)
            self._table = SessionTable(idle, checked_whole("max_sessions", max_sessions))
        self._returns = failback == "return"
        self._return_after = checked_seconds("return_after", return_after)
        checked_whole("min_load", min_load)
        self._bound = None if load_factor is None else LoadBound(load_factor, min_load)
        self._parse = parse
        self._lock = Lock()  # guards the table
        self._owed = False  # whether room was made that nobody has been told of
        super().__init__(endpoints, policy=policy, **options)

    # -- the slow half ---------------------------------------------------------------------

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        view.state = Seats(view, cells)
        return super()._groups(view, cells)

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Any:
        return view.state

    def _spread(self, plan: Any, key: Key | None) -> Spread:
        return EVERYBODY

    def _publish(self, view: View) -> None:
        seats: Seats = view.state.plan
        old = self._view.state
        seats.date(None if old is None else old.plan, self._ledger.clock())
        if self._tokens is not None:
            self._tokens.members(endpoint.id for endpoint in view.roster)
        bound = self._bound
        if bound is None:
            super()._publish(view)
            return
        with bound.lock:
            bound.set_members(seats.members.values())
            bound.set_candidates(
                {c: e.weight for e, c in zip(view.endpoints, view.cells, strict=True)}
            )
            super()._publish(view)

    def _learns(self) -> bool:
        return self._bound is not None

    def _private_locks(self) -> list[Lock]:
        return [*super()._private_locks(), *([] if self._bound is None else [self._bound.lock])]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._lock = Lock()
        if self._bound is not None:
            self._bound.renew_lock()

    def _checker(self) -> Callable[[Any], None]:
        return self._check_key

    def _check_key(self, key: Key) -> None:
        if self._parse is not None:
            return
        if self._tokens is None:
            super()._checker()(key)
        else:
            key_bytes(key)  # any key is a token, if only a bad one

    # -- the quick half --------------------------------------------------------------------

    def _taker(self, view: View) -> Taker | None:
        return None

    def _descend(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        theirs, inner = self._split(key)
        if self._table is None:
            return self._by_token(view, theirs, inner, exclude, cost, reason, now)
        if theirs is None:
            return self._counted(super()._descend(view, inner, exclude, cost, reason, now))
        name = key_bytes(self._as_key(theirs))
        at = self._ledger.clock() if now is None else now
        try:
            with self._lock:
                session = self._table.get(name, at)
                pick, session = self._serve(view, session, inner, exclude, cost, reason, now, at)
                self._table.put(name, session, at)
        finally:
            if self._owed:
                self._pass_on()
        return pick

    def _made_room(self) -> None:
        self._owed = True
        self._pass_on()

    def _pass_on(self) -> None:
        """Say that there is room, unless whoever holds the lock will: what is told may pick."""
        while self._owed and self._lock.acquire(blocking=False):
            self._owed = False
            self._lock.release()
            super()._made_room()

    def _by_token(
        self,
        view: View,
        theirs: Key | None,
        inner: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        tokens, wall = self._tokens, self._wall()
        assert tokens is not None
        text = readable(theirs)
        read = None if text is None else tokens.read(text, wall)
        before = None if read is None else read.session
        at = now
        if at is None:
            at = self._ledger.clock() if self._returns else 0.0
        pick, session = self._serve(view, before, inner, exclude, cost, reason, now, at)
        if read is None or not read.fresh or session != before:
            token = tokens.write(session, wall)
            if token != text:
                pick = handing_out(token, pick)
        return pick

    def _serve(
        self,
        view: View,
        session: Session | None,
        inner: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
        at: float,
    ) -> tuple[Pick, Session]:
        """Return a lease for a session, and where the session is from now on."""
        seats: Seats = view.state.plan
        settled = False  # whether the session stays, though this request goes elsewhere
        for name in self._wishes(seats, session, at):
            cell = seats.cell(name)
            if cell is None:
                continue
            if name in exclude or not seats.admits(cell):
                settled = settled or (session is not None and name == session.now)
                continue
            if self._is_overloaded(cell):
                seats.give_back(cell)
                continue
            pick = self._lease_on(view, cell, inner, cost, reason, now)
            if pick is not None:
                home = name if session is None or name != session.now else session.home
                return pick, Session(home, name)
            seats.give_back(cell)
            settled = True
        why = reason if session is None else max(reason, Reason.FALLBACK)
        pick = self._counted(super()._descend(view, inner, exclude, cost, why, now))
        if session is not None and settled:
            return pick, session
        name = pick.endpoint.id
        if session is not None and self._returns and session.home in seats.members:
            return pick, Session(session.home, name)
        return pick, Session(name, name)

    def _wishes(self, seats: Seats, session: Session | None, at: float) -> tuple[str, ...]:
        """Return the ids a session asks for, the dearest first."""
        if session is None:
            return ()
        if session.home == session.now or not self._returns:
            return (session.now,)
        if seats.eligible_for(session.home, at) >= self._return_after:
            return (session.home, session.now)
        return (session.now,)

    def _is_overloaded(self, cell: Cell) -> bool:
        bound = self._bound
        if bound is None:
            return False
        with bound.lock:
            bound.catch_up()
            return bound.bounds(cell) and bound.excess(cell) > 0

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        pick = super()._lease_on(view, cell, key, cost, reason, now)
        return None if pick is None else self._counted(pick)

    def _counted(self, pick: Pick) -> Pick:
        if self._bound is not None:
            with self._bound.lock:
                self._bound.charge(pick._cell)
        return pick

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

    def _split(self, key: Key | None) -> tuple[Key | None, Key | None]:
        if key is None:
            return None, None
        if self._parse is not None:
            return self._parse(key)
        return (key, None) if self._table is None else (key, key)

    # -- what is said of it ----------------------------------------------------------------

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        theirs, inner = self._split(key)
        seats: Seats = view.state.plan
        session = self._remembered(theirs)
        for name in self._wishes(seats, session, self._ledger.clock()):
            cell = seats.cell(name)
            if cell is not None and name not in exclude and not self._is_overloaded(cell):
                return cell, max(reason, view.reason), self._path_to(view, cell)
        why = reason if session is None else max(reason, Reason.FALLBACK)
        return super()._trace(view, inner, exclude, why, rng)

    def _remembered(self, theirs: Key | None) -> Session | None:
        if theirs is None:
            return None
        if self._table is not None:
            return self._table.get(key_bytes(self._as_key(theirs)), self._ledger.clock())
        text, tokens = readable(theirs), self._tokens
        read = None if text is None or tokens is None else tokens.read(text, self._wall())
        return None if read is None else read.session

    def _candidates(
        self, view: View, exclude: Collection[str], chosen: Cell | None
    ) -> list[Candidate]:
        found = super()._candidates(view, exclude, chosen)
        if chosen is None or chosen in view.cells:
            return found
        held = chosen.endpoint
        return [
            Candidate(held, True, "keeps its session") if c.endpoint is held else c for c in found
        ]

    def _details(self) -> Mapping[str, float]:
        if self._table is None:
            return {}
        return {"sessions": float(len(self._table)), "evicted": float(self._table.evicted)}

    def _check(self) -> None:
        super()._check()
        if self._table is not None:
            with self._lock:
                self._table._check()
        if self._bound is not None:
            with self._bound.lock:
                self._bound._check()
