"""``balancers sweep``: policies × scenarios × seeds × sizes, on this machine or on a cluster.

Finished cells are kept in the folder, so a sweep that was stopped goes on where it was; what it
writes at the end does not depend on where its cells were played, in what order, or how often it
was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from balancers.simulation.arguments import add_trace_arguments, count_up_to, whole
from balancers.simulation.book import as_book_json, bind
from balancers.simulation.cells import result_bytes
from balancers.simulation.inputs import trace_spec
from balancers.simulation.markdown import as_markdown
from balancers.simulation.page import as_html
from balancers.simulation.pool import cores
from balancers.simulation.readers import TraceError
from balancers.simulation.scenario import known_scenarios
from balancers.simulation.store import Store, write_whole
from balancers.simulation.storytelling import (
    facts_of,
    make_cells,
    policy_names,
    progress_line,
    scenario_names,
    showing,
)
from balancers.simulation.suite import chapters, run_cells
from balancers.simulation.usage import UsageError, complain, usage

__all__ = ["register"]

DEFAULT_SEEDS = 5

_DESCRIPTION = f"""\
Play policies × scenarios × seeds × sizes and write results and a report into a folder.

What is finished is kept there: the same command, given again, goes on where it was stopped.

Scenarios: {", ".join(known_scenarios(parts=True))}.
"""


def register(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand to the command line."""
    parser = commands.add_parser(
        "sweep",
        help="play policies × scenarios × seeds × sizes, resumable, on processes or Dask",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("out", metavar="FOLDER", type=Path, help="where everything is written")
    group = parser.add_argument_group("what is played")
    group.add_argument("--policies", metavar="LIST", help="as for compare")
    group.add_argument(
        "--scenario",
        action="append",
        metavar="NAME[+NAME]",
        help="can be repeated (default: all)",
    )
    group.add_argument("--seed", type=whole, default=0, help="the first seed")
    group.add_argument(
        "--seeds", type=count_up_to(1000), default=DEFAULT_SEEDS, metavar="N",
        help=f"how many (default: {DEFAULT_SEEDS})",
    )  # fmt: skip
    group.add_argument(
        "--sizes", type=_sizes, metavar="N,N…", help="endpoints (default: as the scenarios say)"
    )
    group.add_argument(
        "--clients", type=count_up_to(10_000), metavar="N", help="default: as the scenarios say"
    )
    group.add_argument(
        "--requests", type=count_up_to(10**9), metavar="N",
        help="of each run; shortens its time (default: as the scenarios say)",
    )  # fmt: skip
    group.add_argument("--trace", type=Path, metavar="TRACE", help="arrivals and keys")
    add_trace_arguments(parser)
    group = parser.add_argument_group("where it is played")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs", type=count_up_to(1000), metavar="N", help="processes (default: one a processor)"
    )
    where.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler: tcp://host:port")
    group.add_argument(
        "--progress", action="store_true", help="show progress even where stderr is no terminal"
    )


def _sizes(text: str) -> list[int]:
    return [count_up_to(100_000)(part) for part in text.split(",")]


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        0; 1 if a cell was lost, as when it killed its workers; 2 for bad input.
    """
    try:
        return _run(args)
    except (TraceError, UsageError) as error:
        return complain("sweep", str(error))
    except OSError as error:
        return complain("sweep", f"{error.filename or args.out}: {error.strerror or error}")


def _run(args: argparse.Namespace) -> int:
    with usage():
        policies = policy_names(args.policies)
        names = scenario_names(args.scenario or ["all"])
    seeds = [args.seed + i for i in range(args.seeds)]
    traffic = {"requests": args.requests, "clients": args.clients}
    base = {"traffic": {name: value for name, value in traffic.items() if value is not None}}
    layers = [{**base, "fleet": {"size": size}} for size in args.sizes or ()] or [base]
    trace = None if args.trace is None else trace_spec(args, args.trace, prompts=True)
    with usage():
        cells = make_cells(policies, names, seeds, layers, trace)
    store = Store(args.out / "cells")
    with progress_line(args.progress) as line, usage():
        results = run_cells(
            cells,
            jobs=args.jobs or cores(),
            dask=args.dask,
            store=store,
            progress=showing(line, "cells"),
        )
    write_whole(args.out / "results.jsonl", b"".join(map(result_bytes, results)))
    book = bind(chapters(cells, results), facts_of(cells, args.trace and str(args.trace)))
    for name, text in (
        ("report.json", as_book_json(book)),
        ("report.md", as_markdown(book)),
        ("report.html", as_html(book)),
    ):
        write_whole(args.out / name, text.encode("utf-8", "backslashreplace"))
    lost = [result for result in results if "size" not in result]
    for result in lost:
        complain("sweep", f"{result['policy']} in {result['scenario']}: {result['trouble']}")
    print(f"{len(cells) - len(lost):,} of {len(cells):,} cells are in {args.out}")
    return int(bool(lost))
