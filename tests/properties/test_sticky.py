"""Sessions: who stays, who moves, who comes back, and what a token is worth."""

from random import Random
from typing import Any

import pytest
from compose_models import Ward
from hypothesis import given
from hypothesis import strategies as st

from balancers import (
    Admin,
    Endpoint,
    Limit,
    NoEligibleEndpointError,
    Outcome,
    Priority,
    Reason,
    RingHash,
    RoundRobin,
    Sticky,
)
from balancers.health import HealthPolicy
from balancers.structures.session_table import Session, SessionTable
from balancers.testing import ManualClock

SECRET = "k" * 32
MODES: dict[str, dict[str, Any]] = {
    "cookie": {"mode": "cookie", "secret": SECRET},
    "opaque": {"mode": "opaque", "secret": SECRET},
    "header": {"mode": "header"},
    "table": {"mode": "table"},
}
every_mode = pytest.mark.parametrize("mode", MODES)


def sticky(ids: Any = "abcd", mode: str = "cookie", **options: Any) -> Sticky:
    """Return sessions over a round robin."""
    return Sticky(
        ids if not isinstance(ids, str) else list(ids), policy=RoundRobin, **MODES[mode], **options
    )


class Client:
    """A client that keeps its token, or its name where the table remembers."""

    def __init__(self, balancer: Sticky, mode: str, name: str = "me") -> None:
        self.balancer = balancer
        self.token = name if mode == "table" else None

    def ask(self, **options: Any) -> Any:
        """Make a request; return the settled pick."""
        with self.balancer.pick(self.token, **options) as pick:
            self.token = pick.affinity or self.token
        return pick


@every_mode
def test_a_session_stays(mode: str):
    """Fifty requests among fifty of others: one endpoint, and one token."""
    balancer = sticky(mode=mode)
    client = Client(balancer, mode)
    home = client.ask().endpoint
    token = client.token
    for _ in range(50):
        Client(balancer, mode, f"other{_}").ask()
        pick = client.ask()
        assert (pick.endpoint, pick.reason, pick.affinity) == (home, Reason.NORMAL, None)
        assert client.token == token


@every_mode
def test_only_the_sessions_of_a_lost_endpoint_move(mode: str):
    """One endpoint leaves: its sessions move once, everybody else's stay where they were."""
    balancer = sticky(mode=mode, rng=Random(1))
    clients = [Client(balancer, mode, f"c{i}") for i in range(40)]
    homes = [client.ask().endpoint.id for client in clients]
    balancer.update([Endpoint(name) for name in "abd"])
    for client, home in zip(clients, homes, strict=True):
        pick = client.ask()
        if home == "c":
            # An opaque token that names nobody any more is like a stranger's.
            assert pick.reason is Reason.FALLBACK or mode == "opaque"
            assert client.ask().endpoint == pick.endpoint
            assert mode == "table" or pick.affinity is not None
        else:
            assert (pick.endpoint.id, pick.affinity) == (home, None)


@every_mode
@pytest.mark.parametrize("failback", ["stay", "return"])
def test_failback(mode: str, failback: str):
    """After recovery a session stays where it went, or returns once T seconds have passed."""
    ward = Ward()
    balancer = sticky(
        mode=mode, health=ward.registry, failback=failback, return_after=30.0, rng=Random(2)
    )
    client = Client(balancer, mode)
    home = client.ask().endpoint.id
    ward.down(home)
    away = client.ask().endpoint.id
    assert away != home
    stands_in = mode != "header" or failback == "stay"
    assert not stands_in or client.ask().endpoint.id == away
    ward.up(home)
    if stands_in:
        assert client.ask().endpoint.id == away
        ward.clock.advance(29.9)
        assert client.ask().endpoint.id == away
    ward.clock.advance(0.2)
    expected = home if failback == "return" else away
    assert client.ask().endpoint.id == expected
    assert client.ask().endpoint.id == expected


@every_mode
def test_draining_keeps_sessions_and_takes_no_new_ones(mode: str):
    """Weight 0 and DRAINING: old sessions stay, new ones go elsewhere; DISABLED moves them."""
    ward = Ward()
    balancer = sticky("ab", mode, health=ward.registry)
    client = Client(balancer, mode)
    home = client.ask().endpoint.id
    other = "b" if home == "a" else "a"

    def kept() -> bool:
        new = {Client(balancer, mode, f"n{i}-{home}").ask().endpoint.id for i in range(8)}
        said = balancer.explain(client.token)
        assert said.chosen is not None
        assert said.chosen in said.considered
        assert new == {other}
        return said.chosen.id == client.ask().endpoint.id == home

    ward.drain(home)
    assert kept()
    ward.enable(home)
    balancer.update([Endpoint(home, weight=0.0), Endpoint(other)])
    assert kept()
    balancer.update([Endpoint(home), Endpoint(other)])
    ward.drain(home)
    ward.down(home)
    assert client.ask().endpoint.id == other


def test_a_disabled_endpoint_or_a_strict_policy_moves_sessions():
    """DISABLED takes nobody; DRAINING keeps sessions only where the policy says so."""
    for policy, admin in (
        (HealthPolicy(), Admin.DISABLED),
        (HealthPolicy(drain_sticky=False), Admin.DRAINING),
    ):
        ward = Ward(policy)
        balancer = sticky("ab", "table", health=ward.registry)
        client = Client(balancer, "table")
        home = client.ask().endpoint.id
        ward.registry.set_admin(home, admin)
        assert client.ask().endpoint.id != home


@every_mode
def test_exclude_passes_by_without_moving_the_session(mode: str):
    """A retry goes elsewhere; the session stays where it is."""
    balancer = sticky(mode=mode)
    client = Client(balancer, mode)
    home = client.ask().endpoint.id
    pick = client.ask(exclude=[home])
    assert (pick.endpoint.id != home, pick.reason) == (True, Reason.FALLBACK)
    assert client.ask().endpoint.id == home


def test_a_full_endpoint_passes_a_request_on():
    """A session whose endpoint has no room for one more request is served elsewhere, once."""
    balancer = Sticky(
        ["a", "b"], policy=lambda e: Limit(e, policy=RoundRobin, per_endpoint=1), mode="table"
    )
    first = balancer.pick("me")
    second = balancer.pick("me")
    assert first.endpoint != second.endpoint
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick("me")
    first.done()
    second.done()
    with balancer.pick("me") as pick:
        assert pick.endpoint == first.endpoint


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60))
def test_an_overloaded_endpoint_is_left(script: list[tuple[int, bool]]):
    """A session goes on to an endpoint only if that keeps within ⌈c · p · (m + 1)⌉ leases."""
    balancer = sticky("abc", "table", load_factor=1.25, rng=Random(3))
    held: list[Any] = []
    homes: dict[int, str] = {}
    for client, settles in script:
        if settles and held:
            held.pop(0).done()
            continue
        counts = {name: sum(p.endpoint.id == name for p in held) for name in "abc"}
        cap = max(1, -(-5 * (len(held) + 1) // 12))  # 1.25 / 3 = 5/12
        pick = balancer.pick(f"c{client}")
        if client in homes:
            fits = counts[homes[client]] + 1 <= cap
            assert (pick.endpoint.id == homes[client]) or not fits
            assert fits == (pick.reason is Reason.NORMAL)
        homes[client] = pick.endpoint.id
        held.append(pick)
        balancer._check()
    for pick in held:
        pick.done()
    balancer._check()
    assert balancer._bound is not None
    assert balancer._bound.total == 0


def test_probation_takes_a_permit():
    """A session on an endpoint on probation uses its permits, and goes elsewhere without one."""
    policy = HealthPolicy(
        consecutive_failures=1, sequential=False, probation_picks=1, probation_successes=1
    )
    ward = Ward(policy)
    balancer = sticky("abc", "table", health=ward.registry)
    client = Client(balancer, "table")
    home = client.ask().endpoint.id
    balancer.pick("me").done(Outcome.FAILURE)
    ward.clock.advance(11.0)
    ward.registry.tick()
    balancer._table.put(b"me", Session(home, home), ward.clock())  # it had not moved yet
    first = balancer.pick("me")
    second = balancer.pick("me")
    assert first.endpoint.id == home
    assert second.endpoint.id != home
    second.done()
    first.done()
    with balancer.pick("me") as pick:
        assert pick.endpoint.id == home


@given(
    st.lists(st.tuples(st.integers(0, 6), st.floats(0, 8, width=16)), max_size=80),
    st.integers(1, 5),
)
def test_the_table_forgets_as_it_should(script: list[tuple[int, float]], limit: int):
    """Equal to a slow model: a session is known if idle for less than T and among the last N."""
    table = SessionTable(10.0, limit)
    used: dict[int, tuple[float, str]] = {}
    now = 0.0
    for client, pause in script:
        now += pause
        used = {k: v for k, v in used.items() if now - v[0] < 10.0}
        name = b"%d" % client
        found = table.get(name, now)
        assert (None if found is None else found.now) == used.get(client, (0, None))[1]
        used.pop(client, None)
        used[client] = (now, f"e{client}{now}")
        while len(used) > limit:
            del used[next(iter(used))]
        table.put(name, Session("h", f"e{client}{now}"), now)
        table._check()
        assert len(table) == len(used)
        assert table.counts() == {e: 1 for _, e in used.values()}


def test_the_table_takes_times_out_of_order():
    """A thread that read the clock before another one, and came after it, disturbs nothing."""
    table = SessionTable(10.0, 3)
    table.put(b"late", Session("a", "a"), 105.0)
    table.put(b"early", Session("b", "b"), 100.0)
    table._check()
    assert table.get(b"early", 114.0) is not None
    table.expire(115.0)
    assert len(table) == 0


def test_the_table_is_bounded_and_idle_sessions_go():
    """``max_sessions`` and ``idle`` hold through the balancer, and ``snapshot`` shows them."""
    clock = ManualClock()
    balancer = sticky(mode="table", idle=60.0, max_sessions=3, clock=clock)
    for name in "pqrs":
        balancer.pick(name).done()
    assert balancer.snapshot().details == {"sessions": 3.0, "evicted": 1.0}
    clock.advance(60.0)
    balancer.pick("z").done()
    assert balancer.snapshot().details["sessions"] == 1.0


def test_text_and_bytes_are_one_session():
    """Keys are compared as placement compares them."""
    balancer = sticky(mode="table")
    with balancer.pick("ž") as one, balancer.pick("ž".encode()) as other:
        assert one.endpoint == other.endpoint
    with balancer.pick() as pick:
        assert pick.affinity is None
    assert balancer.snapshot().details["sessions"] == 1.0


def test_the_inner_policy_places_new_sessions():
    """In a table the key goes on to the inner policy; ``parse`` splits any other key."""
    ring = RingHash(list("abcd"))
    balancer = Sticky(list("abcd"), policy=RingHash, mode="table")
    for i in range(20):
        with balancer.pick(f"u{i}") as pick:
            assert pick.endpoint == ring.explain(f"u{i}").chosen
    cookies = Sticky(
        list("abcd"),
        policy=RingHash,
        mode="cookie",
        secret="s",
        parse=lambda key: (key.get("cookie"), key.get("user")),
    )
    with cookies.pick({"user": "u1"}) as pick:  # type: ignore[arg-type]
        assert pick.endpoint == ring.explain("u1").chosen
        token = pick.affinity
    with cookies.pick({"user": "u2", "cookie": token}) as again:  # type: ignore[arg-type]
        assert (again.endpoint, again.affinity) == (pick.endpoint, None)


def test_sessions_over_tiers_follow_into_the_second():
    """A session in the first tier moves to the second when the first fails, and stays there."""
    ward = Ward()
    members = [Endpoint("p"), Endpoint("q", priority=1), Endpoint("r", priority=1)]
    balancer = Sticky(
        members,
        policy=lambda e: Priority(e, policy=RoundRobin),
        mode="table",
        health=ward.registry,
        panic_threshold=0.0,
    )
    client = Client(balancer, "table")
    assert client.ask().endpoint.id == "p"
    ward.down("p")
    away = client.ask().endpoint.id
    assert away in ("q", "r")
    ward.up("p")
    assert {client.ask().endpoint.id for _ in range(6)} == {away}
    assert balancer.explain("me").path == ("Sticky", "Priority[1]", "RoundRobin")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, ValueError),
        ({"secret": ""}, ValueError),
        ({"secret": []}, ValueError),
        ({"secret": 7}, TypeError),
        ({"secret": ["a", 7]}, TypeError),
        ({"mode": "jar", "secret": "s"}, ValueError),
        ({"mode": "table", "secret": "s"}, ValueError),
        ({"mode": "header", "max_age": 5.0}, ValueError),
        ({"secret": "s", "max_age": 5.0}, ValueError),
        ({"secret": "s", "max_age": 0.0, "wall_clock": float}, ValueError),
        ({"mode": "table", "idle": 0.0}, ValueError),
        ({"mode": "table", "max_sessions": 0}, ValueError),
        ({"mode": "table", "failback": "leave"}, ValueError),
        ({"mode": "table", "return_after": -1.0}, ValueError),
        ({"mode": "table", "load_factor": 0.5}, ValueError),
        ({"mode": "table", "min_load": 0}, ValueError),
        ({"mode": "table", "parse": "split"}, TypeError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]):
    """Options out of range, or that the mode has no use for, raise at once."""
    with pytest.raises(error):
        Sticky(["a"], policy=RoundRobin, **options)
