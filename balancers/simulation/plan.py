"""``balancers plan``: what a change of members does to the keys, exactly, before it is made."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from balancers import BalancerError, Endpoint
from balancers.policies import registered
from balancers.simulation.arguments import endpoint_list
from balancers.simulation.contenders import parse_policies

__all__ = ["register"]

_DESCRIPTION = """\
Say what fraction of the keys each endpoint owns before and after a change of members, and
what fraction moves from whom to whom. Nothing is sampled where a hash policy has a closed form.
"""


def register(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand to the command line."""
    parser = commands.add_parser(
        "plan",
        help="say which keys a change of members moves",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--from",
        dest="before",
        type=endpoint_list,
        required=True,
        metavar="LIST",
        help="the members now, with weights if not 1: a,b,c:2",
    )
    parser.add_argument(
        "--to",
        dest="after",
        type=endpoint_list,
        required=True,
        metavar="LIST",
        help="the members then: a,b,c:2,d",
    )
    parser.add_argument(
        "--policy",
        metavar="LIST",
        help="hash policies by name, options in brackets: ring or RingHash(vnodes=400) "
        "(default: every hash policy)",
    )
    parser.add_argument("--json", metavar="PATH", help="everything, as JSON; - is stdout")


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        0; 1 if a policy cannot take the members; 2 for bad input.
    """
    try:
        policies = list(_hash_policies(args.policy))
    except ValueError as error:
        print(f"balancers plan: {error}", file=sys.stderr)
        return 2
    plans: dict[str, Any] = {}
    refused = 0
    for name, make in policies:
        try:
            plans[name] = _plan(make, args.before, args.after)
        except (BalancerError, LookupError, ValueError) as error:
            refused += 1
            print(f"balancers plan: {name}: {error}", file=sys.stderr)
    text = json.dumps(plans, indent=2, ensure_ascii=True) + "\n"
    if args.json == "-":
        print(text, end="")
    else:
        print("\n".join(_table(name, plan) for name, plan in plans.items()), end="")
        if args.json is not None:
            try:
                Path(args.json).write_text(text, "ascii")
            except OSError as error:
                print(f"balancers plan: {args.json}: {error.strerror}", file=sys.stderr)
                return 2
    return 1 if refused and (args.policy is not None or not plans) else 0


def _hash_policies(text: str | None) -> Iterator[tuple[str, Callable[..., Any]]]:
    if text is None:
        for name, known in registered().items():
            if hasattr(known, "moved"):
                yield name, known
        return
    for name, policy, make in parse_policies(text):
        if not hasattr(policy, "moved"):
            raise ValueError(f"{name} places no keys, so none can move")
        yield name, make


def _plan(
    make: Callable[..., Any], before: list[Endpoint], after: list[Endpoint]
) -> dict[str, Any]:
    balancer = make(before)
    movement = balancer.moved(after)
    shares = balancer.shares()
    balancer.update(after)
    then = balancer.shares()
    return {
        "moved": movement.fraction,
        "error": movement.error,
        "shares": {
            name: {"before": shares.get(name, 0.0), "after": then.get(name, 0.0)}
            for name in dict.fromkeys((*shares, *then))
        },
        "moves": [
            {"from": source, "to": target, "fraction": part}
            for (source, target), part in movement.table.items()
        ],
    }


def _table(name: str, plan: dict[str, Any]) -> str:
    width = max(8, *map(len, plan["shares"]))
    error = f" ± {plan['error']:.3%}" if plan["error"] else ""
    lines = [
        f"{name}: {plan['moved']:.3%}{error} of the keys move",
        "",
        f"  {'endpoint':{width}}    before     after    change",
    ]
    lines += [
        f"  {owner:{width}}  {share['before']:8.3%}  {share['after']:8.3%}  "
        f"{share['after'] - share['before']:+8.3%}"
        for owner, share in plan["shares"].items()
    ]
    if plan["moves"]:
        lines += ["", f"  {'from':{width}}  {'to':{width}}     keys"]
        lines += [
            f"  {move['from']:{width}}  {move['to']:{width}}  {move['fraction']:7.3%}"
            for move in plan["moves"]
        ]
    return "\n".join(lines) + "\n"
