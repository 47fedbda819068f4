"""What ``compare --scenario``, ``sweep`` and ``advise`` share: from options to a book.

The cells are every policy in every scenario with every seed, and every size where sizes are
asked for. The order is fixed, and with it every file that is written.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from balancers import Endpoint
from balancers.policies import registered
from balancers.simulation.book import Book, as_book_json, bind, cell_text, columns, ordered
from balancers.simulation.cells import REFERENCES, Cell, references
from balancers.simulation.contenders import parse_contenders, split_entries
from balancers.simulation.inputs import readable, trace_spec
from balancers.simulation.markdown import as_markdown
from balancers.simulation.page import as_html
from balancers.simulation.pool import cores
from balancers.simulation.progress import ProgressLine
from balancers.simulation.report import aligned
from balancers.simulation.scenario import known_scenarios, load_scenario
from balancers.simulation.staging import TraceSpec, cast
from balancers.simulation.store import write_whole
from balancers.simulation.suite import Progress, chapters, run_cells
from balancers.simulation.usage import check_writable, print_safely, usage
from balancers.simulation.verdict import recommendation

__all__ = [
    "DEFAULT_SEEDS", "as_text", "default_policies", "facts_of", "layer_of", "make_cells",
    "policy_names", "progress_line", "run_scenarios", "scenario_names", "showing",
]  # fmt: skip

DEFAULT_SEEDS = 3

EXTRAS = ("RingHash(load_factor=1.25)", "RoundRobin+health")
"""Beside the registered policies: the options that change a story most."""


def default_policies() -> list[str]:
    """Return what runs if nobody says what: every registered policy, and ``EXTRAS``."""
    return [*registered(), *EXTRAS]


def policy_names(text: str | None) -> list[str]:
    """Return the policies of a list, each as a text of its own.

    Raises:
        ValueError: If an entry cannot be understood or found, or occurs twice.
    """
    if text is None:
        return default_policies()
    parse_contenders(text)  # for what it raises
    # A policy of a module is found again by its module, which its name does not hold.
    return [
        entry if ":" in entry.partition("(")[0] else parse_contenders(entry)[0].name
        for entry in split_entries(text)
    ]


def scenario_names(wanted: Sequence[str]) -> list[str]:
    """Return the scenarios asked for; ``all`` stands for those that come along.

    ``all+NAME`` lays NAME over each of them.
    """
    names: list[str] = []
    for part in wanted:
        head, plus, rest = part.partition("+")
        names += [name + plus + rest for name in known_scenarios()] if head == "all" else [part]
    return list(dict.fromkeys(names))


def layer_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options lay over every scenario."""
    traffic: dict[str, Any] = {
        "load": args.load,
        "rate": getattr(args, "rate", None),
        "requests": args.requests,
        "clients": args.clients,
        "keys": getattr(args, "keys", None),
        "skew": getattr(args, "skew", None),
        "service": None if args.service is None else str(args.service),
    }
    fleet: dict[str, Any] = {"workers": args.workers}
    endpoints: list[Endpoint] | None = args.endpoints
    if endpoints is not None:
        if [each.id for each in endpoints] == [f"e{i}" for i in range(len(endpoints))] and all(
            each.weight == 1.0 for each in endpoints
        ):
            fleet["size"] = len(endpoints)
        else:
            fleet["members"] = [[each.id, each.weight] for each in endpoints]
    tables = {"traffic": traffic, "fleet": fleet}
    kept = {
        name: {key: value for key, value in table.items() if value is not None}
        for name, table in tables.items()
    }
    return {name: table for name, table in kept.items() if table}


def make_cells(
    policies: Sequence[str],
    scenarios: Sequence[str],
    seeds: Sequence[int],
    layers: Sequence[Mapping[str, Any]],
    trace: TraceSpec | None = None,
) -> list[Cell]:
    """Return a cell for every policy and reference in every scenario, layer and seed.

    Raises:
        ValueError: If a scenario is unknown, or a layer makes nonsense of it.
        TraceError: If the trace cannot be used.
    """
    cells = []
    for name in scenarios:
        for layer in layers:
            scenario = load_scenario(name, layer)
            cast(scenario, seeds[0], trace)
            cells += [
                Cell(policy, name, seed, layer, trace)
                for policy in (*policies, *references(scenario))
                for seed in seeds
            ]
    return cells


def run_scenarios(args: argparse.Namespace) -> int:
    """Carry out ``compare --scenario``.

    Returns:
        0; 1 if a policy named by the user did not finish.
    """
    with usage():
        _check(args)
        policies = policy_names(args.policies)
        names = scenario_names(args.scenario)
        seeds = [args.seed + i for i in range(args.seeds or DEFAULT_SEEDS)]
    with readable(args.trace) as path:
        trace = None if path is None else trace_spec(args, path, prompts=True)
        with usage():
            cells = make_cells(policies, names, seeds, [layer_of(args)], trace)
        with progress_line(args.progress) as line:
            results = run_cells(cells, jobs=args.jobs or cores(), progress=showing(line, "runs"))
    book = bind(chapters(cells, results), facts_of(cells, args.trace))
    texts = [(args.json, as_book_json), (args.html, as_html), (args.markdown, as_markdown)]
    taken = any(path == "-" for path, _ in texts)
    print_safely(as_text(book).rstrip("\n"), sys.stderr if taken else sys.stdout)
    for target, write in texts:
        if target is not None:
            data = write(book).encode("utf-8", "backslashreplace")
            if target == "-":
                sys.stdout.flush()
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                write_whole(Path(target), data)
    troubled = any(row.trouble for chapter in book.chapters for row in chapter.rows)
    return int(args.policies is not None and troubled)


def _check(args: argparse.Namespace) -> None:
    for option in ("csv", "plot", "speed"):
        if getattr(args, option) is not None:
            raise ValueError(f"--{option} is for a plain run, without --scenario")
    if args.keep_gaps:
        raise ValueError("--keep-gaps is for a plain run, without --scenario")
    paths = [path for path in (args.json, args.html, args.markdown) if path is not None]
    if paths.count("-") > 1:
        raise ValueError("only one of --json, --html and --markdown can go to stdout")
    check_writable(paths)


def facts_of(cells: Sequence[Cell], trace: str | None = None) -> str:
    """Return what the numbers come from, in one sentence or two."""
    policies = len({cell.policy for cell in cells}.difference(REFERENCES))
    scenarios = len({cell.scenario for cell in cells})
    seeds = sorted({cell.seed for cell in cells})
    many = "1 scenario" if scenarios == 1 else f"{scenarios} scenarios"
    arrivals = f" with the arrivals of {Path(trace).name}" if trace and trace != "-" else ""
    span = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    return (
        f"{policies} policies in {many}{arrivals}, {span}, simulated by the library balancers. "
        "The same command gives the same numbers."
    )


@contextmanager
def progress_line(wanted: bool) -> Iterator[ProgressLine | None]:
    """Yield a line for progress where it is wanted or there is a terminal, and clear it."""
    overwrite = sys.stderr.isatty()
    if not (wanted or overwrite):
        yield None
        return
    line = ProgressLine(sys.stderr, time.perf_counter, overwrite=overwrite)
    try:
        yield line
    finally:
        line.clear()


def showing(line: ProgressLine | None, what: str) -> Progress | None:
    """Return what shows finished cells on a line."""
    if line is None:
        return None
    return lambda done, of: line.show(f"{done:,} of {of:,} {what}", now=done == of)


def as_text(book: Book) -> str:
    """Return what a terminal shows: a table and a verdict a scenario."""
    parts = []
    for chapter, found, ratios in zip(book.chapters, book.verdicts, book.ratios, strict=True):
        wanted = [
            column
            for column in columns(chapter)
            if column.name not in ("jain", "share_error", "p999", "first_p50")
        ]
        table = [["policy", *(column.title for column in wanted)]]
        troubles = []
        for row in ordered(chapter, ratios):
            if row.trouble is not None:
                troubles.append(f"{row.policy} did not finish: {row.trouble}")
            else:
                table.append([row.policy, *(cell_text(row, column)[0] for column in wanted)])
        lines = [chapter.scenario.title, chapter.scenario.question, "", *aligned(table), *troubles]
        parts.append("\n".join([*lines, "", found.sentence, ""]))
    if len(book.chapters) > 1 and book.standings:
        parts.append(recommendation(book.standings))
    return "\n\n".join(parts)
