"""``balancers compare``: options in, a table out."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from balancers import Endpoint
from balancers.simulation import plot, report
from balancers.simulation.arguments import (
    DEFAULT_KEYS,
    DEFAULT_LOAD,
    DEFAULT_REQUESTS,
    DEFAULT_SKEW,
    add_arguments,
)
from balancers.simulation.comparison import Comparison, capacity, compare
from balancers.simulation.contenders import Contender, parse_contenders
from balancers.simulation.formats import access_log, json_lines
from balancers.simulation.progress import ProgressLine
from balancers.simulation.readers import Parse, TraceError, first_line
from balancers.simulation.servers import fifo
from balancers.simulation.service import ServiceLaw
from balancers.simulation.trace import TraceFile, TraceWorkload
from balancers.simulation.workload import SyntheticWorkload, Workload

__all__ = ["register"]

MAX_WORKERS = 10_000_000

_DESCRIPTION = """\
Run load-balancing policies on the same requests, simulated, and compare them.

TRACE is an access log in Common or Combined Log Format, or JSON Lines, plain or gzip; - is
standard input. Without it a built-in workload is used: Poisson arrivals, keys by Zipf's law.
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
        return _complain(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        return _complain(f"{error.filename or 'output'}: {error.strerror or error}")


class UsageError(Exception):
    """Options that make no sense, in one sentence for the user."""


@contextmanager
def _usage() -> Iterator[None]:
    """Turn the ValueErrors of what the user's values are handed to into sentences.

    Only where values are checked: a ValueError of the simulation itself is a bug and must show.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def _complain(sentence: str) -> int:
    _print(f"balancers compare: {sentence}", sys.stderr)
    return 2


def _print(text: str, stream: TextIO) -> None:
    """Print what the stream may lack characters for: a name with surrogates, × in ASCII."""
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _run(args: argparse.Namespace) -> int:
    with _usage():
        _check_outputs(args)
        contenders = parse_contenders(args.policies)
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
        with _readable(args.trace) as path:
            with _usage():
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
    for path in paths:
        target = Path(path)
        if path == "-":
            continue
        if target.is_dir():
            raise ValueError(f"cannot write {path}: it is a directory")
        if not target.parent.is_dir():
            raise ValueError(f"cannot write {path}: no directory {target.parent}")
        if not os.access(target if target.exists() else target.parent, os.W_OK):
            raise ValueError(f"cannot write {path}: permission denied")
    if args.plot is not None:
        plot.check(args.plot)


@contextmanager
def _readable(trace: str | None) -> Iterator[Path | None]:
    """Yield a file that can be read twice: pipes and standard input are copied to disk first."""
    if trace is None:
        yield None
        return
    path = Path(trace)
    if trace != "-" and (not path.exists() or path.is_file() or path.is_dir()):
        yield path  # opening it tells what is wrong, if anything
        return
    with tempfile.NamedTemporaryFile() as copy:
        if trace == "-":
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with path.open("rb") as pipe:
                shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield Path(copy.name)


def _workload(
    args: argparse.Namespace, path: Path | None, able: float, line: ProgressLine | None
) -> Workload:
    service: ServiceLaw = args.service
    load = DEFAULT_LOAD if args.load is None else args.load
    rate: float | None = load * able / service.mean if args.rate is None else args.rate
    if path is None:
        _only(args, "a trace", ("speed", "key_field", "size_field", "spread"))
        return SyntheticWorkload(
            load * able / service.mean if rate is None else rate,
            service,
            count=args.requests or DEFAULT_REQUESTS,
            keys=args.keys or DEFAULT_KEYS,
            skew=DEFAULT_SKEW if args.skew is None else args.skew,
            seed=args.seed,
        )
    _only(args, "the built-in workload", ("keys", "skew"))
    name = "standard input" if args.trace == "-" else args.trace
    form, parse, spread = _format(args, path)
    file = TraceFile(
        path,
        parse,
        form,
        spread=spread if args.spread is None else args.spread,
        limit=args.requests,
        seed=args.seed,
        name=name,
    )
    survey = file.survey((lambda n: line.show(f"reading {name}: {n:,} requests")) if line else None)
    if survey.bad.count:
        _print(f"{name}: {survey.bad}", sys.stderr)
    if survey.late:
        _print(f"{name}: {survey.late:,} requests far out of order", sys.stderr)
    return TraceWorkload(
        file,
        survey,
        service,
        rate=None if args.speed is not None else rate,
        speed=args.speed,
        keep_gaps=args.keep_gaps,
    )


def _only(args: argparse.Namespace, where: str, options: tuple[str, ...]) -> None:
    for option in options:
        if getattr(args, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} is for {where}")


def _format(args: argparse.Namespace, path: Path) -> tuple[str, Parse, float]:
    """Return the format's name, its parser, and the resolution of its times."""
    form = args.format
    if form == "auto":
        form = "jsonl" if first_line(path).lstrip(b"\xef\xbb\xbf \t").startswith(b"{") else "clf"
    if form == "jsonl":
        parse = json_lines(args.time_field, args.key_field, args.size_field)
        return "JSON Lines", parse, 0.0
    return "Common or Combined Log Format", access_log(args.key), 1.0


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
    _print(report.as_table(comparison).rstrip("\n"), sys.stderr if taken else sys.stdout)
    for path, content in made:
        data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
        if path == "-":
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            Path(path).write_bytes(data)
