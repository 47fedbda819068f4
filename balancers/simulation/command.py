"""``balancers compare``: options in, a table out."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from balancers import Endpoint
from balancers.simulation import plot, report
from balancers.simulation.arguments import (
    DEFAULT_ENDPOINTS,
    DEFAULT_KEYS,
    DEFAULT_LAW,
    DEFAULT_LOAD,
    DEFAULT_REQUESTS,
    DEFAULT_SKEW,
    add_arguments,
    endpoint_list,
)
from balancers.simulation.comparison import Comparison, capacity, compare
from balancers.simulation.contenders import Contender, parse_contenders
from balancers.simulation.inputs import readable, trace_spec
from balancers.simulation.progress import ProgressLine
from balancers.simulation.readers import TraceError
from balancers.simulation.scenario import known_scenarios
from balancers.simulation.servers import fifo
from balancers.simulation.service import ServiceLaw, parse_law
from balancers.simulation.storytelling import run_scenarios
from balancers.simulation.trace import TraceWorkload
from balancers.simulation.traffic import Crowd
from balancers.simulation.usage import UsageError, check_writable, complain, print_safely, usage
from balancers.simulation.workload import SyntheticWorkload, Workload

__all__ = ["register"]

MAX_WORKERS = 10_000_000

_DESCRIPTION = f"""\
Run load-balancing policies on the same requests, simulated, and compare them.

TRACE is an access log in Common or Combined Log Format, or JSON Lines, plain or gzip; - is
standard input. Without it a built-in workload is used: Poisson arrivals, keys by Zipf's law.

Scenarios: {", ".join(known_scenarios(parts=True))}.
"""


def register(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the subcommand to the command line."""
    parser = commands.add_parser(
        "compare",
        help="run policies on the same requests and compare them",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Carry out the command.

    Returns:
        0; 1 if a policy named by the user did not finish, or none did; 2 for bad input.
    """
    try:
        return _run(args)
    except (TraceError, UsageError) as error:
        return complain("compare", str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return complain("compare", f"{error.filename or 'output'}: {error.strerror or error}")


def _run(args: argparse.Namespace) -> int:
    if args.scenario:
        return run_scenarios(args)
    with usage():
        _check_plain(args)
        _check_outputs(args)
        contenders = parse_contenders(args.policies)
    args.endpoints = args.endpoints or endpoint_list(str(DEFAULT_ENDPOINTS))
    args.workers = args.workers or 1
    args.service = args.service or parse_law(DEFAULT_LAW)
    endpoints: list[Endpoint] = args.endpoints
    able = capacity(endpoints, args.workers)
    if not able > 0.0:
        raise UsageError("all endpoint weights are 0, so nobody could serve")
    if len(endpoints) * args.workers > MAX_WORKERS:
        raise UsageError(f"endpoints times workers must be at most {MAX_WORKERS:,}")
    overwrite = sys.stderr.isatty()
    line = (
        ProgressLine(sys.stderr, time.perf_counter, overwrite=overwrite)
        if args.progress or overwrite
        else None
    )
    try:
        with readable(args.trace) as path:
            with usage():
                workload = _workload(args, path, able, line)
            comparison = _compare(args, workload, endpoints, contenders, able, line)
    finally:
        if line:
            line.clear()
    _write(args, comparison)
    troubles = [result.trouble is not None for result in comparison.results]
    return int(all(troubles) or (args.policies is not None and any(troubles)))


def _check_outputs(args: argparse.Namespace) -> None:
    """Find out before the work whether its results can be written."""
    paths: list[str] = [path for path in (args.json, args.csv, args.plot) if path is not None]
    if paths.count("-") > 1:
        raise ValueError("only one of --json, --csv and --plot can go to stdout")
    check_writable(paths)
    if args.plot is not None:
        plot.check(args.plot)


def _workload(
    args: argparse.Namespace, path: Path | None, able: float, line: ProgressLine | None
) -> Workload:
    service: ServiceLaw = args.service
    load = DEFAULT_LOAD if args.load is None else args.load
    rate: float | None = load * able / service.mean if args.rate is None else args.rate
    clients = args.clients or 1
    if path is None:
        _only(args, "a trace", ("speed", "key_field", "size_field", "spread"))
        made = SyntheticWorkload(
            load * able / service.mean if rate is None else rate,
            service,
            count=args.requests or DEFAULT_REQUESTS,
            keys=args.keys or DEFAULT_KEYS,
            skew=DEFAULT_SKEW if args.skew is None else args.skew,
            seed=args.seed,
        )
        return Crowd(made, clients, seed=args.seed) if clients > 1 else made
    _only(args, "the built-in workload", ("keys", "skew"))
    name = "standard input" if args.trace == "-" else args.trace
    spec = trace_spec(args, path)
    file = replace(spec.file(args.requests, args.seed), name=name, format=spec.title)
    survey = file.survey((lambda n: line.show(f"reading {name}: {n:,} requests")) if line else None)
    if survey.bad.count:
        print_safely(f"{name}: {survey.bad}", sys.stderr)
    if survey.late:
        print_safely(f"{name}: {survey.late:,} requests far out of order", sys.stderr)
    played = TraceWorkload(
        file,
        survey,
        service,
        rate=None if args.speed is not None else rate,
        speed=args.speed,
        keep_gaps=args.keep_gaps,
    )
    return Crowd(played, clients, seed=args.seed) if clients > 1 else played


def _only(args: argparse.Namespace, where: str, options: tuple[str, ...]) -> None:
    for option in options:
        if getattr(args, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} is for {where}")


def _check_plain(args: argparse.Namespace) -> None:
    for option in ("seeds", "jobs", "html", "markdown"):
        if getattr(args, option) is not None:
            raise ValueError(f"--{option} is for scenarios (--scenario)")


def _compare(
    args: argparse.Namespace,
    workload: Workload,
    endpoints: list[Endpoint],
    contenders: list[Contender],
    able: float,
    line: ProgressLine | None,
) -> Comparison:
    many = f"{len(endpoints):,} endpoints" if len(endpoints) > 1 else "1 endpoint"
    workers = f"{args.workers:,} workers" if args.workers > 1 else "1 worker"
    service: ServiceLaw = args.service
    mean = report.shown(service.mean, "s")
    times = f"{service.name} service times"
    if service.needs_sizes:
        times = "service times by recorded size,"
    total = workload.count

    def progress(played: int) -> None:
        if line:
            line.show(
                f"{played / total:4.0%} of {total:,} requests × {len(contenders)} policies",
                now=played == total,
            )

    return compare(
        workload,
        endpoints,
        contenders,
        fifo(args.workers),
        capacity=able,
        setting={
            "title": f"{many} × {workers}, {times} of mean {mean}",
            "endpoints": {endpoint.id: endpoint.weight for endpoint in endpoints},
            "server": "fifo",
            "workers": args.workers,
            "service": str(service),
            "seed": args.seed,
        },
        seed=args.seed,
        clients=args.clients or 1,
        progress=progress,
        timer=time.perf_counter,
    )


def _write(args: argparse.Namespace, comparison: Comparison) -> None:
    """Write what was asked for; the table makes way on stdout for a file that goes there."""
    made: list[tuple[str, str | bytes]] = []
    if args.json is not None:
        made.append((args.json, report.as_json(comparison)))
    if args.csv is not None:
        made.append((args.csv, report.as_csv(comparison)))
    if args.plot is not None:
        made.append((args.plot, plot.render(comparison, args.plot)))
    taken = any(path == "-" for path, _ in made)
    print_safely(report.as_table(comparison).rstrip("\n"), sys.stderr if taken else sys.stdout)
    for path, content in made:
        data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        if path == "-":
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            Path(path).write_bytes(data)
