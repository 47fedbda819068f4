"""Tokens of sessions: signed, dated, rotated, opaque; and never a reason to fail."""

import hmac
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from balancers import Reason, RoundRobin, Sticky
from balancers.compose.sticky.tokens import OpaqueTokens, SignedTokens
from balancers.structures.session_table import Session
from balancers.testing import ManualClock

MODES: dict[str, dict[str, Any]] = {
    "cookie": {"mode": "cookie", "secret": "k" * 32},
    "opaque": {"mode": "opaque", "secret": "k" * 32},
    "header": {"mode": "header"},
}


def sticky(ids: str = "abcd", mode: str = "cookie", **options: Any) -> Sticky:
    """Return sessions over a round robin."""
    return Sticky(list(ids), policy=RoundRobin, **MODES[mode], **options)


@given(st.text() | st.binary() | st.integers())
@example("AAAA.AAAA")
@example(".")
@example("\ud800")
@example("")
def test_a_strangers_token_is_a_miss(token: Any):
    """Any key at all: a pick like a first visit's, and a token of ours in return."""
    for mode in ("cookie", "opaque", "header"):
        balancer = sticky(mode=mode)
        with balancer.pick(token) as pick:
            if mode != "header" or token not in {*"abcd", *(c.encode() for c in "abcd")}:
                assert pick.affinity is not None
        assert balancer.explain(token).chosen is not None


@given(st.data())
def test_a_forged_token_is_a_miss(data: st.DataObject):
    """A signed token with any one character changed, cut or doubled reads as nothing."""
    tokens = SignedTokens([b"secret"], None)
    token = tokens.write(Session("endpoint-1", "endpoint-2"), 5.0)
    assert tokens.read(token, 5.0) is not None
    place = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from("AZaz09-_.=+/ é"))
    changes = [
        token[:place] + char + token[place + 1 :],
        token[:place],
        token + char,
        token[:place] + token[place] + token[place:],
    ]
    for changed in changes:
        if changed != token:
            assert tokens.read(changed, 5.0) is None


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), st.floats(0, 1e10))
def test_tokens_round_trip(home: str, now: str, at: float):
    """What is written is read, whatever the ids hold; another secret reads nothing."""
    signed = SignedTokens([b"one"], None)
    opaque = OpaqueTokens([b"one"])
    opaque.members([home, now])
    for tokens in (signed, opaque):
        token = tokens.write(Session(home, now), at)
        assert token.isascii()
        assert not set(token) & set(' ",;\\')  # fit for a cookie
        read = tokens.read(token, at)
        assert read is not None
        assert read.session == Session(home, now)
        assert read.fresh
    assert SignedTokens([b"two"], None).read(signed.write(Session(home, now), at), at) is None
    stranger = OpaqueTokens([b"two"])
    stranger.members([home, now])
    assert stranger.read(opaque.write(Session(home, now), at), at) is None


def test_comparison_is_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    """Every secret is compared, and by ``hmac.compare_digest`` alone."""
    seen: list[Any] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: seen.append((a, b)) or compare(a, b))
    tokens = SignedTokens([b"one", b"two", b"three"], None)
    token = tokens.write(Session("a", "a"), 0.0)
    assert tokens.read(token, 0.0) is not None
    assert len(seen) == 3


@pytest.mark.parametrize("mode", ["cookie", "opaque"])
def test_secrets_rotate(mode: str):
    """A new secret in front: old tokens hold and are exchanged; without the old one not."""
    ids = list("abcd")
    old = Sticky(ids, policy=RoundRobin, mode=mode, secret="old")
    both = Sticky(ids, policy=RoundRobin, mode=mode, secret=["new", b"old"])
    new = Sticky(ids, policy=RoundRobin, mode=mode, secret=b"new")
    with old.pick() as pick:
        token, home = pick.affinity, pick.endpoint
    with both.pick(token) as pick:
        assert pick.endpoint == home
        fresh = pick.affinity
    assert fresh not in (None, token)
    with both.pick(fresh) as pick:
        assert (pick.endpoint, pick.affinity) == (home, None)
    with new.pick(fresh) as pick:
        assert (pick.endpoint, pick.affinity) == (home, None)
    with new.pick(token) as pick:
        assert pick.affinity is not None


def test_signed_tokens_age():
    """Renewed from half their age on, so a client in use keeps its session; stale after it."""
    wall = ManualClock(1_700_000_000.0)
    balancer = sticky(mode="cookie", max_age=100.0, wall_clock=wall)
    with balancer.pick() as pick:
        token, home = pick.affinity, pick.endpoint
    wall.advance(49.0)
    with balancer.pick(token) as pick:
        assert (pick.endpoint, pick.affinity) == (home, None)
    wall.advance(2.0)
    with balancer.pick(token) as pick:
        assert pick.endpoint == home
        renewed = pick.affinity
    wall.advance(60.0)
    assert balancer.explain(renewed).chosen == home
    with balancer.pick(token) as pick:
        assert pick.affinity is not None
        assert pick.reason is Reason.NORMAL
    tokens = balancer._tokens
    assert tokens is not None
    assert tokens.read(token, wall()) is None
    assert tokens.read(renewed, wall()) is not None


def test_an_opaque_token_tells_nothing():
    """It is a keyed hash: the id is not in it, nor anything of the same length."""
    balancer = Sticky(["10.0.0.1:80", "b" * 200], policy=RoundRobin, mode="opaque", secret="s")
    tokens = {balancer._tokens.write(Session(n, n), 0.0) for n in ("10.0.0.1:80", "b" * 200)}
    assert {len(token) for token in tokens} == {16}


def test_processes_agree_on_tokens():
    """A token of one process is good in another with the same secret, whatever it holds."""
    for mode in ("cookie", "opaque", "header"):
        one = sticky("abcd", mode, rng=Random(1))
        other = sticky("dxcba", mode, rng=Random(2))
        with one.pick() as pick, other.pick(pick.affinity) as second:
            assert second.endpoint == pick.endpoint
            assert second.affinity is None
