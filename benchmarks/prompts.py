"""What a pick of PrefixAffinity costs, by the length of the prompt and the number of engines.

Whole cycles, ``with balancer.pick(prompt): pass``, of prompts that go on where another ended; in
microseconds, the best of interleaved batches, and in units of ``floor cycle``.
"""

from __future__ import annotations

import argparse
from random import Random
from typing import Any

from balancers import PrefixAffinity
from benchmarks.cycles import SEED, floor_cycle
from benchmarks.timing import contest, loop, table

__all__ = ["add_arguments", "prompts_of", "run"]

LENGTHS = (1, 8, 24, 128, 1024, 4096)
PROMPTS = 20
BLOCK = 2048


def prompts_of(kind: str, blocks: int, count: int = PROMPTS) -> list[Any]:
    """Return prompts of so many blocks, as ``ids`` or ``text``, the first half shared by all."""
    shared = blocks // 2
    if kind == "ids":
        return [
            (*range(shared), *range(i << 20, (i << 20) + blocks - shared)) for i in range(count)
        ]
    ends = (f"prompt {i}".encode().ljust(BLOCK, b".") for i in range(count))
    return [b"s" * BLOCK * shared + end * (blocks - shared) for end in ends]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 1_000], metavar="N")
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS), metavar="BLOCKS")
    parser.add_argument("--rounds", type=int, default=15, help="batches of each side (15)")


def run(options: argparse.Namespace) -> None:
    """Print the table, a length a row."""
    rows = []
    for blocks in options.lengths:
        row = [f"{blocks:,}"]
        for kind in ("ids", "text"):
            prompts = prompts_of(kind, blocks)
            for n in options.sizes:
                balancer = PrefixAffinity([f"engine-{i}" for i in range(n)], rng=Random(SEED))
                side = loop("with balancer.pick(key): pass", keys=prompts, balancer=balancer)
                floor = floor_cycle(1_000)
                found = contest(floor, {"": side}, rounds=options.rounds, patience=1)[""]
                row.append(f"{found.nanoseconds / 1e3:.1f} ({found.ratio:.0f})")
        rows.append(row)
    head = [f"{kind}, n = {n:,}" for kind in ("ids", "text") for n in options.sizes]
    print(f"microseconds a cycle (floor cycles); text in blocks of {BLOCK:,} bytes\n")
    print(table(["blocks", *head], rows, text=0))
