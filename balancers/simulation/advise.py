"""``balancers advise``: which policy suits this trace, as Python to paste, with the evidence.

The scenarios that match are played with the trace's own arrivals and keys: an ordinary day, and
what may go wrong. The policy that stands best over all of them is recommended; one that is never
best but never bad beats one that is best until something happens.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import balancers.health
import balancers.policies
from balancers import Endpoint
from balancers.policies import registered
from balancers.simulation.arguments import (
    add_trace_arguments,
    count_up_to,
    endpoint_list,
    positive,
    whole,
)
from balancers.simulation.book import Book, as_book_json, bind
from balancers.simulation.contenders import HEALTH
from balancers.simulation.inputs import readable, trace_spec
from balancers.simulation.oracles import ORACLE
from balancers.simulation.pool import cores
from balancers.simulation.readers import TraceError
from balancers.simulation.report import aligned, shown
from balancers.simulation.staging import TraceSpec
from balancers.simulation.storytelling import facts_of, make_cells, progress_line, showing
from balancers.simulation.suite import Chapter, chapters, run_cells
from balancers.simulation.usage import UsageError, complain, print_safely, usage
from balancers.simulation.verdict import PRICE, AllRound, all_round, goal_measure

__all__ = ["candidates", "matching", "paste", "register"]

DEFAULT_LOAD = 0.7
DEFAULT_REQUESTS = 20_000

_SEND = '    print("send to", pick.endpoint.id)  # in flight until the block ends'

_DESCRIPTION = """\
Recommend a policy for the traffic of TRACE: play what may happen to your endpoints with the
trace's arrivals and keys, and print the policy that stands best over all of it as Python to paste.

TRACE is an access log, JSON Lines, or a trace of a language model with hash_ids; - is standard
input.
"""


def register(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand to the command line."""
    parser = commands.add_parser(
        "advise",
        help="recommend a policy for a trace, with its parameters and the evidence",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("trace", metavar="TRACE", help="the trace (see above)")
    group = parser.add_argument_group("what you have")
    group.add_argument(
        "--endpoints", type=endpoint_list, default="10", metavar="N|LIST",
        help="how many, or ids with weights: a,b:2 (default: 10)",
    )  # fmt: skip
    group.add_argument(
        "--concurrency", type=count_up_to(100_000), default=4, metavar="N",
        help="requests an endpoint serves at a time (default: 4)",
    )  # fmt: skip
    group.add_argument(
        "--sticky", action="store_true", help="requests of one key should meet one endpoint"
    )
    group.add_argument(
        "--clients", type=count_up_to(10_000), default=1, metavar="N",
        help="processes that balance independently of each other (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--load", type=positive, default=DEFAULT_LOAD, metavar="SHARE",
        help=f"how busy your endpoints are: work over capacity (default: {DEFAULT_LOAD})",
    )  # fmt: skip
    group = parser.add_argument_group("how thoroughly")
    group.add_argument(
        "--requests", type=count_up_to(10**9), default=DEFAULT_REQUESTS, metavar="N",
        help=f"of the trace, from its beginning (default: {DEFAULT_REQUESTS:,})",
    )  # fmt: skip
    group.add_argument("--seed", type=whole, default=0, help="the first seed")
    group.add_argument("--seeds", type=count_up_to(1000), default=3, metavar="N", help="default: 3")
    group.add_argument("--jobs", type=count_up_to(1000), metavar="N", help="processes")
    add_trace_arguments(parser)
    group = parser.add_argument_group("what comes out")
    group.add_argument("--json", metavar="PATH", help="the evidence, as JSON; - is stdout")
    group.add_argument(
        "--progress", action="store_true", help="show progress even where stderr is no terminal"
    )


def matching(*, sticky: bool, prompts: bool) -> list[str]:
    """Return the scenarios that match some facts, the ordinary day first."""
    if prompts:
        return ["prefix-cache", "prefix-cache+one-slow"]
    if sticky:
        return ["steady", "one-slow", "fast-failing", "scale-out", "deploy-roll"]
    names = ["steady", "one-slow", "intermittently-slow", "fast-failing", "hanging", "scale-out"]
    return [*names, "uneven"]


def candidates(*, sticky: bool, prompts: bool) -> list[str]:
    """Return the policies that come into question, with the parameters worth trying."""
    wanted = [] if sticky else ["LeastConnections", "PowerOfTwoChoices", "PeakEwma", "Adaptive"]
    if not sticky:
        wanted += ["LeastResponseTime", "RoundRobin", f"RoundRobin{HEALTH}", "WeightedRoundRobin"]
        wanted += [f"LeastConnections{HEALTH}", f"Adaptive{HEALTH}"]
    if sticky or prompts:
        for name in ("RingHash", "Maglev", "Rendezvous"):
            wanted += [name, f"{name}{HEALTH}"]
            wanted += [f"{name}(load_factor={c}){HEALTH}" for c in (1.25, 2.0)]
    if prompts:
        wanted += ["PrefixAffinity", "PrefixAffinity(load_factor=1.5)"]
    known = registered()
    return [name for name in wanted if name.partition("(")[0].removesuffix(HEALTH) in known]


def paste(policy: str, endpoints: Sequence[Endpoint]) -> str:
    """Return Python that makes the policy and picks once, ready to paste."""
    plain = policy.removesuffix(HEALTH)
    healthy = plain != policy
    name, bracket, options = plain.partition("(")
    weights = [each.weight for each in endpoints]
    names = [*["HealthRegistry"] * healthy, name]
    if any(weight != 1.0 for weight in weights):
        names.append("Endpoint")
        items = [f"Endpoint({json.dumps(e.id)}, weight={e.weight!r})" for e in endpoints]
    else:
        items = [json.dumps(each.id) for each in endpoints]
    made_up = all(each.id == f"e{i}" for i, each in enumerate(endpoints))
    lines = [*_imports(names), "", f"balancer = {name}("]
    lines.append("    [  # put your own in their places" if made_up else "    [")
    lines += [f"        {item}," for item in items]
    lines.append("    ],")
    if bracket:
        lines += [f"    {option.strip()}," for option in options.removesuffix(")").split(",")]
    if healthy:
        lines.append("    health=HealthRegistry(),")
    kind = registered()[name]
    key = ""
    if kind.keyed:
        key = '"the prompt"' if kind.key_kind == "prefix" else '"the request\'s key"'
    lines += [")", "", f"with balancer.pick({key}) as pick:", _SEND]
    if kind.key_kind == "prefix":
        lines.append("    pick.responded()  # when the first token comes")
    return "\n".join(lines)


def _imports(names: Sequence[str]) -> list[str]:
    """Return import lines, each name from the highest package that has it."""
    packages = (balancers, balancers.health, balancers.policies)
    found: dict[str, list[str]] = {}
    for name in names:
        home = next(package for package in packages if name in package.__all__)
        found.setdefault(home.__name__, []).append(name)
    return [f"from {home} import {', '.join(sorted(found[home]))}" for home in sorted(found)]


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        0; 1 if no policy ran to the end; 2 for bad input.
    """
    try:
        return _run(args)
    except (TraceError, UsageError) as error:
        return complain("advise", str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return complain("advise", f"{error.filename or args.trace}: {error.strerror or error}")


def _run(args: argparse.Namespace) -> int:
    endpoints: list[Endpoint] = args.endpoints
    if not any(endpoint.weight for endpoint in endpoints):
        raise UsageError("all endpoint weights are 0, so nobody could serve")
    with readable(args.trace) as path:
        assert path is not None
        trace = trace_spec(args, path, prompts=True)
        book = _play(args, trace)
    standings = all_round(book.chapters)
    if not standings:
        print("No policy ran to the end.", file=sys.stderr)
        return 1
    best = standings[0]
    lines = [
        f"Use {best.policy}.",
        "",
        paste(best.policy, endpoints),
        "",
        _reason(book, best),
        *_runners_up(standings),
        "",
        *_evidence(book, best.policy, standings),
    ]
    print_safely("\n".join(lines), sys.stderr if args.json == "-" else sys.stdout)
    if args.json == "-":
        print(as_book_json(book), end="")
    elif args.json is not None:
        with open(args.json, "w", encoding="ascii") as file:  # noqa: PTH123 - the user's own path
            file.write(as_book_json(book))
    return 0


def _play(args: argparse.Namespace, trace: TraceSpec) -> Book:
    prompts = trace.form == "llm"
    endpoints: list[Endpoint] = args.endpoints
    members = [[each.id, each.weight] for each in endpoints]
    layer: dict[str, Any] = {
        "fleet": {"members": members, "workers": args.concurrency},
        "traffic": {"requests": args.requests, "clients": args.clients, "load": args.load},
    }
    if prompts:  # an engine's speed is no matter of load: the trace's own rate
        survey = trace.file(args.requests, args.seed).survey()
        layer["traffic"]["rate"] = survey.count / survey.span if survey.span else 1.0
    elif trace.size_field is not None:
        layer["traffic"]["service"] = "recorded:0.05"
    elif trace.form == "clf":
        layer["traffic"]["service"] = "trace:0.05"
    with usage():
        names = matching(sticky=args.sticky, prompts=prompts)
        policies = candidates(sticky=args.sticky, prompts=prompts)
        seeds = [args.seed + i for i in range(args.seeds)]
        cells = make_cells(policies, names, seeds, [layer], trace)
    with progress_line(args.progress) as line:
        results = run_cells(cells, jobs=args.jobs or cores(), progress=showing(line, "runs"))
    return bind(chapters(cells, results), facts_of(cells, args.trace))


def _goal(book: Book) -> str:
    first = goal_measure(book.chapters[0]) == "first_p99"
    return "p99 of the first token" if first else "p99"


def _reason(book: Book, best: AllRound) -> str:
    return (
        f"Over {len(book.chapters)} scenarios with your arrivals and keys its {_goal(book)} is "
        f"typically {best.typical:.2f} × that of the best candidate there, and at worst "
        f"{best.worst:.2f} × ({best.where}). {PRICE}"
    )


def _runners_up(standings: Sequence[AllRound]) -> list[str]:
    """Return, in a sentence, how far the next three are; nothing if there is nobody."""
    rest = [
        f"{each.policy} {each.typical:.2f} × (at worst {each.worst:.2f} ×)"
        for each in standings[1:4]
    ]
    return [f"Next come {', '.join(rest)}."] if rest else []


def _evidence(book: Book, best: str, standings: Sequence[AllRound]) -> list[str]:
    """Return a table: scenario by the recommended policy, the runners-up, and the oracle."""
    rivals = [each.policy for each in standings if each.policy != best][:3]
    head = ["p99 (errors)", best, *rivals, ORACLE]
    rows = [head]
    for chapter in book.chapters:
        goal = goal_measure(chapter)
        rows.append([chapter.scenario.title, *(_cell(chapter, goal, name) for name in head[1:])])
    return aligned(rows)


def _cell(chapter: Chapter, goal: str, policy: str) -> str:
    row = next((row for row in chapter.rows if row.policy == policy), None)
    if row is None or row.mean(goal) is None:
        return "-"
    lost = row.mean("error_share") or 0.0
    return shown(row.mean(goal), "s") + (f" ({lost:.2%})" if lost > 0.0 else "")
