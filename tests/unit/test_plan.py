"""``balancers plan`` tells what a change moves, before it is made."""

from __future__ import annotations

import json
from collections import Counter
from math import sqrt

import pytest

from balancers import Endpoint, JumpHash, Maglev, Rendezvous, RingHash
from balancers.__main__ import main

KEYS = [f"key-{i}" for i in range(6_000)]


@pytest.mark.parametrize("policy", [RingHash, Maglev, Rendezvous])
def test_the_figures_are_what_keys_do(policy, capsys):
    """Shares and moves agree with 6,000 keys within 6.5 standard deviations.

    A false alarm has a chance below 1e-10 a figure and 3e-9 in all; the keys are fixed.
    """
    before = [Endpoint("a"), Endpoint("b", weight=0.5), Endpoint("c", weight=2)]
    after = [Endpoint("a"), Endpoint("c", weight=3), Endpoint("d")]
    old, new = policy(before), policy(after)
    moves = Counter()
    shares = Counter()
    for key in KEYS:
        source, target = old.explain(key).chosen.id, new.explain(key).chosen.id
        shares[source] += 1
        if source != target:
            moves[source, target] += 1

    arguments = ["--from", "a,b:0.5,c:2", "--to", "a,c:3,d", "--policy", policy.__name__]
    status = main(["plan", *arguments, "--json", "-"])
    plan = json.loads(capsys.readouterr().out)[policy.__name__]

    def near(count, part):
        slack = 6.5 * sqrt(len(KEYS) * part * (1 - part)) + 1
        return abs(count - part * len(KEYS)) <= slack

    assert status == 0
    assert all(near(shares[name], share["before"]) for name, share in plan["shares"].items())
    assert near(sum(moves.values()), plan["moved"])
    table = {(move["from"], move["to"]): move["fraction"] for move in plan["moves"]}
    assert set(moves) <= set(table)
    assert all(near(moves[pair], part) for pair, part in table.items())
    assert abs(sum(table.values()) - plan["moved"]) < 1e-12


def test_the_table_names_every_endpoint_and_move(capsys):
    """Without --json a person reads shares before and after, and who gives whom how much."""
    assert main(["plan", "--from", "a,b", "--to", "a,b,c", "--policy", "jump"]) == 0

    out = capsys.readouterr().out
    assert out.startswith("JumpHash: 33.333% of the keys move")
    assert [line.split() for line in out.splitlines() if line.endswith("16.667%")] == [
        ["a", "50.000%", "33.333%", "-16.667%"],
        ["b", "50.000%", "33.333%", "-16.667%"],
        ["a", "c", "16.667%"],
        ["b", "c", "16.667%"],
    ]


def test_without_a_policy_every_hash_policy_answers(capsys):
    """All hash policies are planned, and no other; those that cannot take the members say so."""
    assert main(["plan", "--from", "a,b:2", "--to", "a,b:2,c"]) == 0

    out, err = capsys.readouterr()
    for name in ("RingHash", "Maglev", "Rendezvous", "IPHash"):
        assert f"{name}: " in out
    assert "RoundRobin" not in out + err
    assert "JumpHash: jump hashing takes equal weights" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "a", "--to", "b", "--policy", "rr"],
        ["--from", "a", "--to", "b", "--policy", "nobody"],
        ["--from", "a:x", "--to", "b"],
        ["--from", "a,a", "--to", "b"],
        ["--from", "a", "--to", "b", "--policy", "ring", "--json", "/nowhere/at/all"],
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, capsys):
    """What cannot be planned is said in one line on stderr."""
    try:
        status = main(["plan", *arguments])
    except SystemExit as exit_:
        status = exit_.code

    assert status == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_moved_changes_nothing():
    """Asking what an update would move leaves the balancer as it is."""
    balancer = JumpHash(["a", "b"])

    assert balancer.moved(["a", "b", "c"]).fraction == pytest.approx(1 / 3)
    assert [e.id for e in balancer.endpoints] == ["a", "b"]
    assert balancer.shares() == {"a": 0.5, "b": 0.5}
