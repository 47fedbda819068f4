"""Traces as the command line names them: files, pipes, standard input, and their formats."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from balancers.simulation.formats import looks_like_llm
from balancers.simulation.readers import first_line
from balancers.simulation.staging import TraceSpec

__all__ = ["LLM_SPREAD", "readable", "trace_spec"]

LLM_SPREAD = 3.0
"""Seconds: the resolution of Mooncake's times."""


@contextmanager
def readable(trace: str | None) -> Iterator[Path | None]:
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


def trace_spec(args: argparse.Namespace, path: Path, *, prompts: bool = False) -> TraceSpec:
    """Return how the trace is read, by the options and, where they leave it open, its first line.

    Args:
        args: With the options of ``arguments.add_trace_arguments``.
        path: The file.
        prompts: Whether a trace of a language model is to be recognised as one.

    Raises:
        TraceError: If the file cannot be read.
    """
    form = args.format
    if form == "auto":
        line = first_line(path).lstrip(b"\xef\xbb\xbf \t")
        form = "jsonl" if line.startswith(b"{") else "clf"
        if prompts and form == "jsonl" and args.key_field is None and looks_like_llm(line):
            form = "llm"
    fallback = {"clf": 1.0, "jsonl": 0.0, "llm": LLM_SPREAD}[form]
    return TraceSpec(
        path=str(path),
        form=form,
        key=args.key,
        time_field=args.time_field or ("timestamp:ms" if form == "llm" else "timestamp"),
        key_field=args.key_field,
        size_field=args.size_field,
        spread=fallback if args.spread is None else args.spread,
    )
