"""PrefixAffinity beside others on an hour of prompts to a chat service (Mooncake's trace).

Engines as ``balancers.simulation.models.llm`` models them: prefill one prompt after the other at a
fixed rate, a cache of blocks of 512 tokens, least recently used out first. PrefixAffinity's
defaults were chosen on the first half of the trace; the figures are those of the second, from
empty caches, unless ``--half`` says otherwise.

The last rows are variants that were tried and are not part of the library: ``without memory``
takes nothing for cached, ``radix tree`` compares all endpoints by a tree of every block it sent,
bounded in nodes. ``cost = tokens`` is PrefixAffinity told the tokens of each prompt.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from balancers import Endpoint, Pick, PrefixAffinity
from balancers.core import Cell, Policy, View
from balancers.core.arrivals import Arrivals
from balancers.protocol import Reason
from balancers.simulation.contenders import Contender, parse_contenders
from balancers.simulation.engine import Batch, Run, Stage
from balancers.simulation.formats import llm_lines
from balancers.simulation.keys import Prompt
from balancers.simulation.models import EngineSpec, LlmServer
from balancers.simulation.oracles import oracle
from balancers.simulation.readers import BadLines, read
from balancers.structures.prefix import PrefixCuts
from benchmarks.timing import table

__all__ = ["TRACE", "add_arguments", "arrivals", "bound", "play", "run", "variants"]

TRACE = Path(__file__).resolve().parents[2] / "shared" / "traces" / "mooncake_conversation.jsonl"
RESOLUTION = 3.0
"""Seconds the trace's times are rounded to: prompts are spread over them."""
POLICIES = (
    "PrefixAffinity,PrefixAffinity(candidates=8),PrefixAffinity(load_factor=1.5),RingHash,RingHash(load_factor=1.25),"
    "RingHash(load_factor=2.0),LeastConnections,PowerOfTwoChoices"
)
NODES = 65_536

Arrival = tuple[float, Prompt]


class WithoutMemory(PrefixAffinity):
    """Ring candidates and the product, nothing taken for cached."""

    def _blocks_left(self, cell: Cell, cuts: PrefixCuts) -> int:
        return max(1, cuts.blocks)

    def _publish(self, view: View) -> None:
        super()._publish(view)
        self._able = {}  # nobody is remembered


class RadixTree(Policy):
    """The product over all endpoints, matched block by block in a tree of what was sent where."""

    keyed = True
    key_kind = "prefix"

    def __init__(self, endpoints: Iterable[Any], **options: Any) -> None:
        # (parent, block) → (number, who was sent it); the least recently used leaf comes first.
        self._tree: OrderedDict[tuple[int, int], tuple[int, dict[Cell, None]]] = OrderedDict()
        self._numbers = 0
        super().__init__(endpoints, **options)

    def _check_key(self, key: Any) -> None:
        pass

    def _publish(self, view: View) -> None:
        for cell in view.cells:
            _arrivals(cell).follow(cell)
        super()._publish(view)

    def _shortcut(self, view: View) -> None:
        return None

    def _grant(
        self,
        view: View,
        key: Any,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        cell, work = self._least(view, key, exclude, cost, self._rng)
        arrival = _arrivals(cell).expect(work, ())
        pick = cell.issue_tracked(reason, cost, now, (arrival, *self._hooks))
        arrival.queue(pick)
        self._remember(key, cell)
        return pick

    def _choose(
        self, view: View, key: Any, exclude: Collection[str], cost: float, rng: random.Random
    ) -> Cell:
        return self._least(view, key, exclude, cost, rng)[0]

    def _least(
        self, view: View, key: Any, exclude: Collection[str], cost: float, rng: random.Random
    ) -> tuple[Cell, int]:
        depth: dict[Cell, int] = {}
        parent = 0
        for count, block in enumerate(key, 1):
            node = self._tree.get((parent, block))
            if node is None:
                break
            parent, holders = node
            depth.update((cell, count) for cell in holders if depth.get(cell, 0) == count - 1)
        best: list[tuple[Cell, int]] = []
        least = math.inf
        for cell in view.cells:
            if cell.endpoint.id in exclude:
                continue
            work = max(1, len(key) - depth.get(cell, 0))
            score = (_arrivals(cell).queued() + work) * (cell.load + cost)
            if score < least:
                best, least = [], score
            if score == least:
                best.append((cell, work))
        return rng.choice(best)

    def _remember(self, blocks: Sequence[int], cell: Cell) -> None:
        path, parent = [], 0
        for block in blocks:
            node = self._tree.get((parent, block))
            if node is None:
                self._numbers += 1
                node = self._tree[parent, block] = self._numbers, {}
            node[1][cell] = None
            path.append((parent, block))
            parent = node[0]
        for name in reversed(path):
            self._tree.move_to_end(name)
        while len(self._tree) > NODES:
            self._tree.popitem(last=False)


def _arrivals(cell: Cell) -> Arrivals:
    return cell.fact(Arrivals, lambda: Arrivals(2))


class InTokens:
    """PrefixAffinity told how many tokens each prompt has."""

    def __init__(self, stage: Stage) -> None:
        self._inner = PrefixAffinity(stage.endpoints, clock=stage.clock, rng=stage.rng)

    def pick(self, key: Prompt) -> Pick:
        """Pick by the prompt's blocks, at the cost of its tokens."""
        return self._inner.pick(key.blocks, cost=float(key.tokens))


def variants() -> list[Contender]:
    """Return what is compared beside the library's policies."""

    def made(name: str, build: Any, kind: str = "prefix") -> Contender:
        return Contender(name, build, key_kind=kind)

    def built(policy: Any) -> Any:
        return lambda stage: policy(stage.endpoints, clock=stage.clock, rng=stage.rng)

    return [
        made("PrefixAffinity, cost = tokens", InTokens, "raw"),
        made("without memory", built(WithoutMemory)),
        made("radix tree", built(RadixTree)),
        replace(oracle(), name="oracle: least delay, caches known"),
    ]


def arrivals(path: Path, half: str, seed: int) -> list[Arrival]:
    """Return the prompts of the trace, or of half of it, by time from 0."""
    jitter = random.Random(f"spread/{seed}").random
    rows = sorted(
        ((r.time + RESOLUTION * jitter(), r.key) for r in read(path, llm_lines(), BadLines())),
        key=lambda row: row[0],
    )
    middle = len(rows) // 2
    rows = {"first": rows[:middle], "second": rows[middle:], "all": rows}[half]
    return [(time - rows[0][0], prompt) for time, prompt in rows]


def bound(rows: Sequence[Arrival], spec: EngineSpec) -> tuple[float, list[float]]:
    """Return the hit rate of one endless cache for all, and the prefill times left by it, sorted.

    No way to route can have a higher rate, nor first tokens that come sooner.
    """
    seen: set[int] = set()
    hit = asked = 0
    times = []
    for _, prompt in rows:
        matched = next(
            (i for i, block in enumerate(prompt.blocks) if block not in seen), len(prompt.blocks)
        )
        seen.update(prompt.blocks)
        asked += len(prompt.blocks)
        hit += matched
        times.append(max(1, prompt.tokens - matched * spec.block) / spec.prefill)
    return hit / asked, sorted(times)


def play(
    who: Contender, rows: Sequence[Arrival], engines: int, spec: EngineSpec, speed: float, seed: int
) -> dict[str, float]:
    """Play the prompts, ``speed`` times as fast, and return what is measured."""
    game = Run(
        who.build,
        tuple(Endpoint(f"engine-{i}") for i in range(engines)),
        lambda endpoint, stage: LlmServer(stage, spec),
        seed=f"{seed}/{who.name}",
        key_kind=who.key_kind,
    )
    times = [time / speed for time, _ in rows]
    game.feed(Batch(times, [prompt for _, prompt in rows], [1.0] * len(rows)))
    game.finish()
    work = game.total("busy").values()
    return {
        "hits": sum(game.total("hit").values()) / sum(game.total("asked").values()),
        "mean": game.first.mean or math.nan,
        "p50": game.first.quantile(0.5) or math.nan,
        "p99": game.first.quantile(0.99) or math.nan,
        "imbalance": max(work) / fmean(work),
        "work": sum(work) / engines / times[-1],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the table."""
    parser.add_argument("--trace", type=Path, default=TRACE, help="JSON Lines as Mooncake's")
    parser.add_argument("--policies", default=POLICIES, help="as for `balancers compare`")
    parser.add_argument("--half", choices=("first", "second", "all"), default="second")
    parser.add_argument("--speeds", nargs="+", type=float, default=[0.75, 1.0, 1.5])
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--prefill", type=float, default=8000.0, help="tokens a second (8,000)")
    parser.add_argument("--cache", type=int, default=5000, help="blocks an engine (5,000)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--requests", type=int, help="only so many, from the beginning")


def run(options: argparse.Namespace) -> None:
    """Print a table for each speed."""
    spec = EngineSpec(prefill=options.prefill, capacity=options.cache)
    samples = [
        arrivals(options.trace, options.half, seed)[: options.requests]
        for seed in range(options.seeds)
    ]
    rate, times = bound(samples[0], spec)
    print(
        f"{len(samples[0]):,} prompts ({options.half} half), {options.engines} engines, "
        f"{spec.prefill:,.0f} tokens/s prefill, {spec.capacity:,} blocks of {spec.block} tokens "
        f"cached, {options.seeds} seeds\n"
        f"one endless cache for all, no queue: {rate:.1%} hits, first token "
        f"mean {fmean(times):.2f} s, p50 {times[len(times) // 2]:.2f} s, "
        f"p99 {times[math.ceil(0.99 * len(times)) - 1]:.2f} s\n"
    )
    for speed in options.speeds:
        rows = []
        for who in [*parse_contenders(options.policies), *variants()]:
            print(f"  {speed:g} × {who.name}", file=sys.stderr, flush=True)
            found = [
                play(who, rows_, options.engines, spec, speed, seed)
                for seed, rows_ in enumerate(samples)
            ]
            mean = {name: fmean(each[name] for each in found) for name in found[0]}
            spread = max(each["p99"] for each in found) - min(each["p99"] for each in found)
            rows.append(
                [
                    who.name,
                    f"{mean['hits']:.1%}",
                    f"{mean['hits'] / rate:.0%}",
                    *(f"{mean[name]:.2f}" for name in ("mean", "p50", "p99")),
                    f"{spread:.2f}",
                    f"{mean['imbalance']:.2f}",
                    f"{mean['work']:.0%}",
                ]
            )
        arrivals_a_second = len(samples[0]) / samples[0][-1][0] * speed
        print(f"speed {speed:g}: {arrivals_a_second:.2f} prompts a second\n")
        head = ["policy", "hits", "of the bound", "first token: mean, s", "p50, s", "p99, s",
                "p99's range", "work, busiest ÷ mean", "engines busy"]  # fmt: skip
        print(table(head, rows) + "\n")
