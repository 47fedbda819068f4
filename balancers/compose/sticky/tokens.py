"""Tokens: what a client carries so that it is sent to the same endpoint again.

Three kinds, one surface: ``write`` a session into a token, ``read`` it back. A token that does
not read is None, whatever is wrong with it: a stranger's text must not raise.

``SignedTokens``: names the endpoint, dated, and signed by HMAC-SHA256. Keys rotate: the first
secret signs, any of them verifies.
``OpaqueTokens``: a keyed hash of the id, which tells a stranger nothing and is never dated.
``PlainTokens``: the id itself, for a header that only trusted callers set.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from balancers.core.lease import Pick, TrackedPick
from balancers.core.numbers import checked_seconds
from balancers.protocol import Clock
from balancers.structures.session_table import Session

__all__ = [
    "Mode",
    "OpaqueTokens",
    "PlainTokens",
    "Secret",
    "SignedTokens",
    "Tokens",
    "handing_out",
    "readable",
    "tokens_for",
]

Mode = Literal["cookie", "opaque", "table", "header"]
Secret = str | bytes | Sequence[str | bytes]

_MAC = 16  # bytes of the signature that are kept: 128 bits cannot be guessed
_TAG = 12
_LONGEST = 4096  # characters; browsers keep no longer cookie, and work is bounded
_SIGN = b"balancers/sticky/signed/1\x00"
_NAME = b"balancers/sticky/opaque/1\x00"


class Read(NamedTuple):
    """What a token says.

    Attributes:
        session: Where it is served.
        fresh: Whether the token is still the one to keep; else a new one is due.
    """

    session: Session
    fresh: bool = True


class Tokens(Protocol):
    """Turns sessions into tokens and back."""

    def write(self, session: Session, now: float) -> str:
        """Return the token of a session; ``now`` is the date, in seconds of the wall clock."""

    def read(self, token: str, now: float) -> Read | None:
        """Return what the token says, None if it is forged, stale or not ours."""

    def members(self, ids: Iterable[str]) -> None:
        """Note the membership; must not raise."""


class SignedTokens:
    """Dated and signed tokens: ``payload.signature``, both in URL-safe base64.

    A token is renewed once half its age is over, or after the secret that signed it is no
    longer the first, so that a client in use never loses its session to either.

    Args:
        secrets: The first signs, all verify; at least one, none empty.
        max_age: Seconds after which a token is stale; None: never.

    Runtime complexity: O(secrets) of HMAC-SHA256 a token read.
    """

    def __init__(self, secrets: Sequence[bytes], max_age: float | None) -> None:
        self._secrets = tuple(secrets)
        self._max_age = max_age

    def write(self, session: Session, now: float) -> str:
        """Return the token."""
        home = session.home.encode("utf-8", "surrogatepass")
        other = session.now.encode("utf-8", "surrogatepass") if session.now != session.home else b""
        date = int(now * 1000).to_bytes(8, "big", signed=True)
        payload = date + len(home).to_bytes(4, "big") + home + other
        return f"{_text(payload)}.{_text(self._signature(self._secrets[0], payload))}"

    def read(self, token: str, now: float) -> Read | None:
        """Return what the token says, or None."""
        body, dot, tail = token.partition(".")
        payload, signature = _bytes(body), _bytes(tail)
        if not dot or payload is None or signature is None:
            return None
        # Every secret is tried, found or not: the time taken says nothing.
        valid = [hmac.compare_digest(self._signature(s, payload), signature) for s in self._secrets]
        if not any(valid):
            return None
        length = int.from_bytes(payload[8:12], "big")
        home, other = payload[12 : 12 + length], payload[12 + length :]
        age = now - int.from_bytes(payload[:8], "big", signed=True) / 1000
        if self._max_age is not None and age >= self._max_age:
            return None
        young = self._max_age is None or age < self._max_age / 2
        name = home.decode("utf-8", "surrogatepass")
        session = Session(name, other.decode("utf-8", "surrogatepass") if other else name)
        return Read(session, valid[0] and young)

    def members(self, ids: Iterable[str]) -> None:
        """Do nothing: the token names the endpoint."""

    def _signature(self, secret: bytes, payload: bytes) -> bytes:
        return hmac.digest(secret, _SIGN + payload, "sha256")[:_MAC]


class OpaqueTokens:
    """A keyed hash of the id, looked up among those of the members.

    Args:
        secrets: The first writes, all read; at least one, none empty.

    Runtime complexity: O(1) a token; one HMAC-SHA256 a secret for each id that joins.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)
        self._tags: dict[str, tuple[str, ...]] = {}
        self._ids: dict[str, tuple[str, bool]] = {}

    def write(self, session: Session, now: float) -> str:
        """Return the token."""
        home = self._tag(session.home)
        return home if session.now == session.home else f"{home}.{self._tag(session.now)}"

    def read(self, token: str, now: float) -> Read | None:
        """Return what the token says, or None."""
        first, _, second = token.partition(".")
        ids = self._ids
        home = ids.get(first)
        # A home that has left is no reason to lose who stands in for it.
        other = ids.get(second) or home
        if other is None:
            return None
        home = home or other
        known = first in ids and (not second or second in ids)
        return Read(Session(home[0], other[0]), known and home[1] and other[1])

    def members(self, ids: Iterable[str]) -> None:
        """Work out the hashes of those who joined, and drop those who left."""
        before = self._tags
        tags = {name: before.get(name) or self._hashed(name) for name in ids}
        self._ids = {
            tag: (name, rank == 0) for name, found in tags.items() for rank, tag in enumerate(found)
        }
        self._tags = tags

    def _tag(self, name: str) -> str:
        return (self._tags.get(name) or self._hashed(name))[0]

    def _hashed(self, name: str) -> tuple[str, ...]:
        data = _NAME + name.encode("utf-8", "surrogatepass")
        return tuple(_text(hmac.digest(s, data, "sha256")[:_TAG]) for s in self._secrets)


class PlainTokens:
    """The id itself; what a client cannot be trusted with."""

    def write(self, session: Session, now: float) -> str:
        """Return the id that the session calls home."""
        return session.home

    def read(self, token: str, now: float) -> Read | None:
        """Return the session named by the id."""
        return Read(Session(token, token))

    def members(self, ids: Iterable[str]) -> None:
        """Do nothing: the token is the id."""


def tokens_for(
    mode: Mode, secret: Secret | None, max_age: float | None, wall_clock: Clock | None
) -> Tokens | None:
    """Return what reads and writes the tokens of a mode; None where the table remembers.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For one out of range, or that the mode has no use for.
    """
    if mode not in ("cookie", "opaque", "table", "header"):
        raise ValueError(f'mode is "cookie", "opaque", "table" or "header", not {mode!r}')
    if max_age is not None:
        if mode != "cookie":
            raise ValueError(f"mode {mode!r} has no use for max_age: only signed tokens are dated")
        checked_seconds("max_age", max_age, above=True)
        if wall_clock is None:
            raise ValueError("max_age needs wall_clock=, time.time for one")
    if mode in ("table", "header"):
        if secret is not None:
            raise ValueError(f"mode {mode!r} has no use for a secret")
        return PlainTokens() if mode == "header" else None
    if secret is None:
        raise ValueError(f"mode {mode!r} needs a secret")
    secrets = _checked_secrets(secret)
    return SignedTokens(secrets, max_age) if mode == "cookie" else OpaqueTokens(secrets)


def _checked_secrets(secret: object) -> tuple[bytes, ...]:
    """Return the secrets as bytes, first the one that signs.

    Raises:
        TypeError: If it is neither text, nor bytes, nor a sequence of these.
        ValueError: If there is none, or one is empty.
    """
    several = [secret] if isinstance(secret, str | bytes) else secret
    if not isinstance(several, Sequence):
        raise TypeError(f"secret is str, bytes or a sequence of these, not {type(secret).__name__}")
    found = []
    for one in several:
        if not isinstance(one, str | bytes):
            raise TypeError(f"a secret is str or bytes, not {type(one).__name__}")
        found.append(one.encode() if isinstance(one, str) else one)
    if not found or not all(found):
        raise ValueError("secret must hold at least one text or bytes, and none empty")
    return tuple(found)


def readable(token: object) -> str | None:
    """Return a token given as text or bytes as text, None if it cannot be one."""
    if isinstance(token, bytes):
        token = token.decode("utf-8", "replace")
    if not isinstance(token, str) or not 0 < len(token) <= _LONGEST:
        return None
    return token


def handing_out(token: str, pick: Pick) -> TrackedPick:
    """Return the lease with a token to hand back: the same serial, so the same lease."""
    if isinstance(pick, TrackedPick):
        pick.affinity = token
        return pick
    room = TrackedPick()
    room.endpoint = pick.endpoint
    room.reason = pick.reason
    room.affinity = token
    room._hooks = ()
    room._started = room._first_byte = None
    room._cell = pick._cell
    room._serial = pick._serial
    pick._serial = -1  # it is no lease any more
    return room


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes | None:
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error, ValueError):
        return None
    # One spelling alone: base64 has spare bits and skips strange characters.
    return data if _text(data) == text else None
