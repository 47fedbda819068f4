"""Checks of keyed balancers: where a key goes, and what moves it."""

from __future__ import annotations

from random import Random
from typing import Any, Unpack

from balancers.protocol import Balancer, Reason
from balancers.testing.subject import Factory, Subject, Traits, pick_id

__all__ = ["check_placement"]


def check_placement(factory: Factory, **traits: Unpack[Traits]) -> None:
    """A key's place depends on the key and the membership, and on nothing else.

    The same key gets the same endpoint and, under ``exclude``, the same second choice;
    text and its UTF-8 bytes are one key; another rng, load or history changes nothing. With
    ``orderless``, the order given does not matter; with ``minimal``, removing an endpoint moves
    its own keys alone, each to the second choice it had, and adding it back restores them all.
    Does nothing unless ``keyed``.
    """
    subject = Subject(factory, traits)
    if not subject.keyed:
        return
    ids = "abcdefg"
    members = subject.members(ids)
    balancer = subject.build(members)
    place = _places(subject, balancer)
    second = {i: pick_id(balancer, key=subject.key(i), exclude={name}) for i, name in place.items()}
    everywhere = set(place.values())
    subject.require(len(everywhere) > 1, f"all {len(place)} keys went to {everywhere}")
    for i, name in place.items():
        pick = balancer.pick(subject.key(i))
        reason = pick.reason
        pick.done()
        subject.require(reason is Reason.NORMAL, f"a key's first choice has the reason {reason!r}")
        again = pick_id(balancer, key=subject.key(i), exclude=[name, "departed"])
        subject.require(
            again == second[i],
            f"excluding {name!r} sent key {subject.key(i)!r} to {second[i]!r}, then to {again!r}",
        )
    _compare(subject, place, _places(subject, balancer), "asking again")
    other = subject.build(members, rng=Random(subject.seed + 99))
    _compare(subject, place, _places(subject, other), "another rng")
    for i in range(len(subject.keys)):
        key = subject.key(i)
        if isinstance(key, str):
            twin = key.encode("utf-8", "surrogatepass")
            found = pick_id(balancer, key=twin)
            subject.require(found == place[i], f"{key!r} and {twin!r} are at different places")
    drawn = balancer.pick()
    drawn.done()
    subject.require(drawn.reason is Reason.NO_KEY, f"a pick without a key: {drawn.reason!r}")
    if subject.orderless:
        _check_order(subject, place, balancer)
    if subject.minimal:
        _check_movement(subject, place, second, balancer)


def _check_order(subject: Subject, place: dict[int, str], balancer: Balancer) -> None:
    members = subject.members("abcdefg")
    Random(subject.seed).shuffle(members)
    _compare(subject, place, _places(subject, subject.build(members)), "another order")
    balancer.update(members)
    _compare(subject, place, _places(subject, balancer), "an update to another order")


def _check_movement(
    subject: Subject, place: dict[int, str], second: dict[int, str], balancer: Balancer
) -> None:
    members = subject.members("abcdefg")
    for gone in "adg":
        balancer.update(member for member in members if member.id != gone)
        expected = {i: second[i] if name == gone else name for i, name in place.items()}
        _compare(subject, expected, _places(subject, balancer), f"removing {gone!r}")
        balancer.update(members)
        _compare(subject, place, _places(subject, balancer), f"adding {gone!r} back")


def _places(subject: Subject, balancer: Balancer) -> dict[int, str]:
    return {i: pick_id(balancer, key=subject.key(i)) for i in range(len(subject.keys))}


def _compare(subject: Subject, place: dict[int, str], now: dict[int, str], what: str) -> None:
    moved: dict[Any, tuple[str, str]] = {
        subject.key(i): (name, now[i]) for i, name in place.items() if now[i] != name
    }
    subject.require(not moved, f"{what} moved keys: {moved}")
