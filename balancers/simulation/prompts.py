"""Conversations with a language model, made up, for whoever has no trace of their own.

Conversations start as a Poisson process. Each belongs to one of a few applications, drawn by
Zipf's law, whose system prompt all its conversations share. A turn sends all that was said
before and something new; the next turn comes when the answer has been read. On average prompts
have some 25 blocks of 512 tokens and answers 350 tokens, much as in the chat trace of Mooncake
(Qin et al., FAST 2025).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate

from balancers.simulation.engine import Batch
from balancers.simulation.keys import Prompt
from balancers.simulation.workload import BATCH, stream

__all__ = ["PromptWorkload"]

APPLICATIONS = 30
SYSTEM_BLOCKS = 4
TURNS = 4.0
THINK = 30.0
SAID = 3000.0
ANSWER = 350.0
SECONDS_A_TOKEN = 0.02


@dataclass(slots=True)
class _Talk:
    """A conversation: its complete blocks, and how many tokens it has in all."""

    blocks: list[int]
    tokens: int


class PromptWorkload:
    """Prompts at a mean rate.

    Args:
        rate: Prompts per second, > 0.
        count: How many, ≥ 1.
        block: Tokens per block.
        seed: Of all streams.

    Runtime complexity: O(log conversations under way + blocks) a prompt.
    """

    __slots__ = ("_block", "count", "rate", "seed")

    def __init__(self, rate: float, count: int, *, block: int = 512, seed: int = 0) -> None:
        if not (math.isfinite(rate) and rate > 0.0 and count >= 1):
            raise ValueError(f"rate must be > 0 and count ≥ 1, not {rate} and {count}")
        self.rate: float = rate
        self.count: int = count
        self.seed: int = seed
        self._block = block

    def batches(self) -> Iterator[Batch]:
        """Yield the arrivals; see ``Workload.batches``."""
        rng = stream(self.seed, "prompts")
        weights = list(accumulate((a + 1.0) ** -1.0 for a in range(APPLICATIONS)))
        fresh = APPLICATIONS * SYSTEM_BLOCKS  # ids below are those of the system prompts
        turns: list[tuple[float, int, _Talk]] = []  # heap; the number breaks ties
        start, serial = 0.0, 0
        gap = TURNS / self.rate
        times: list[float] = []
        prompts: list[Prompt] = []
        for number in range(self.count):
            while not turns or start <= turns[0][0]:
                (app,) = rng.choices(range(APPLICATIONS), cum_weights=weights)
                first = app * SYSTEM_BLOCKS
                talk = _Talk(list(range(first, first + SYSTEM_BLOCKS)), SYSTEM_BLOCKS * self._block)
                serial += 1
                heappush(turns, (start, serial, talk))
                start += rng.expovariate(1.0 / gap)
            now, order, talk = heappop(turns)
            talk.tokens += 1 + int(rng.expovariate(1.0 / SAID))
            while (len(talk.blocks) + 1) * self._block <= talk.tokens:
                talk.blocks.append(fresh)
                fresh += 1
            blocks = tuple(talk.blocks)
            if len(blocks) * self._block < talk.tokens:
                blocks += (fresh,)  # a block that is not full yet is nobody else's
                fresh += 1
            output = 1 + int(rng.expovariate(1.0 / ANSWER))
            times.append(now)
            prompts.append(Prompt(blocks, talk.tokens, output))
            if rng.random() >= 1.0 / TURNS:
                talk.tokens += output
                pause = output * SECONDS_A_TOKEN + rng.expovariate(1.0 / THINK)
                heappush(turns, (now + pause, order, talk))
            if len(times) == BATCH or number + 1 == self.count:
                demands = [each.output * SECONDS_A_TOKEN for each in prompts]
                yield Batch(times, prompts, demands)
                times, prompts = [], []

    def facts(self) -> dict[str, object]:
        """Return the parameters; see ``Workload.facts``."""
        return {
            "source": "made-up conversations",
            "requests": self.count,
            "rate": self.rate,
            "block": self._block,
            "seed": self.seed,
        }

    def title(self) -> str:
        """Return what this is, in one phrase."""
        return f"{self.count:,} prompts of made-up conversations"

    def note(self) -> str:
        """Return how it is made, in one phrase."""
        return f"{APPLICATIONS} system prompts by Zipf's law, {TURNS:g} turns on average"
