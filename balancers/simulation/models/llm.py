"""A language-model engine: prefill, decode, and a cache of prompt prefixes.

Prefill turns the prompt's uncached tokens into key-value blocks, one request after the other, at
a fixed rate; its end is the first token. Decode then yields the answer, all running requests in
one batch: a step takes ``step + step_each · batch`` seconds and gives each a token. The cache
holds blocks by the id the trace gives them, least recently used out first.

Left out: the batch does not slow prefill, running requests pin no blocks, and nothing is
preempted. Orders of magnitude are those of a mid-sized model on one accelerator; figures compare
policies and predict no machine.

Source: trace format and block ids of Mooncake (Qin et al., FAST 2025); continuous batching as in
Orca (Yu et al., OSDI 2022).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

from balancers import Outcome
from balancers.simulation.keys import Prompt

if TYPE_CHECKING:
    from balancers.simulation.stage import Stage

__all__ = ["EngineSpec", "LlmServer", "PrefixCache"]

_INSTANT = 1e-9


class PrefixCache:
    """Blocks of prompt prefixes, at most ``capacity`` of them, least recently used out first.

    A block is of use only with all before it. Those before are marked as used after it, so the
    end of a prefix leaves before its beginning.

    Args:
        capacity: Blocks, ≥ 0.
    """

    __slots__ = ("_blocks", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity: int = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, blocks: Sequence[int]) -> int:
        """Return how many leading blocks are held. O(matched)."""
        held = self._blocks
        for count, block in enumerate(blocks):
            if block not in held:
                return count
        return len(blocks)

    def use(self, blocks: Sequence[int]) -> None:
        """Hold the blocks, or as many leading ones as fit, as the most recently used. O(blocks)."""
        held = self._blocks
        for block in reversed(blocks[: self.capacity]):
            held[block] = None
            held.move_to_end(block)
        while len(held) > self.capacity:
            held.popitem(last=False)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The numbers of an engine.

    Attributes:
        prefill: Tokens per second.
        block: Tokens per block.
        capacity: Blocks of the cache.
        step: Seconds of a decoding step.
        step_each: Seconds more for each request in the batch.
    """

    prefill: float = 8000.0
    block: int = 512
    capacity: int = 5000
    step: float = 0.015
    step_each: float = 0.0005


class LlmServer:
    """One engine.

    Invariants:
        1. ``_made`` is how many tokens a request decoding from the start would have by ``_seen``.
        2. ``_batch`` is a heap of (value of ``_made`` at which it ends, ticket).
        3. ``hit`` ≤ ``asked``, in blocks.

    Args:
        stage: Where it wakes, responds and completes.
        spec: Its numbers.
        speed: Times as fast in everything, > 0.
    """

    __slots__ = (
        "_batch", "_free", "_made", "_planned", "_seen", "_spec", "_speed", "_stage", "asked",
        "busy", "cache", "hit", "picks",
    )  # fmt: skip

    def __init__(self, stage: Stage, spec: EngineSpec, speed: float = 1.0) -> None:
        self._stage = stage
        self._spec = spec
        self._speed = speed
        self.cache: PrefixCache = PrefixCache(spec.capacity)
        self._free = 0.0
        self._batch: list[tuple[float, int]] = []
        self._made = 0.0
        self._seen = 0.0
        self._planned = inf
        self.asked: int = 0
        self.hit: int = 0
        self.picks: int = 0
        self.busy: float = 0.0

    def serve(self, now: float, demand: float, key: Any, ticket: int) -> None:
        """Queue a prompt for prefill; see ``Server.serve``. Its work follows from the prompt.

        Raises:
            TypeError: If the key is no ``Prompt``.
        """
        self.serve_slowed(now, 1.0, key, ticket)

    def serve_slowed(self, now: float, factor: float, key: Any, ticket: int) -> None:
        """Do the same, ``factor`` times as slowly for this prompt; for ``FaultyServer``."""
        if not isinstance(key, Prompt):
            raise TypeError(f"a language-model engine needs prompts (LLM trace), not {key!r}")
        self.picks += 1
        spec = self._spec
        # Prefill is first come, first served, so what earlier prompts leave is known already.
        matched = self.cache.match(key.blocks)
        self.cache.use(key.blocks)
        self.asked += len(key.blocks)
        self.hit += matched
        # The last token is always computed: its result is the first token of the answer.
        work = max(1, key.tokens - matched * spec.block) * factor / (spec.prefill * self._speed)
        self.busy += work
        self._free = max(now, self._free) + work

        def respond(at: float) -> None:
            self._stage.respond(ticket)
            self._decode(at, 1.0 + (key.output - 1.0) * factor, ticket)

        self._stage.at(self._free, respond)

    def prefill_wait(self, now: float) -> float:
        """Return the seconds until the prefill queue is empty."""
        return max(0.0, self._free - now)

    def new_work(self, prompt: Prompt) -> float:
        """Return the seconds of prefill a prompt would cost now."""
        rest = prompt.tokens - self.cache.match(prompt.blocks) * self._spec.block
        return max(1, rest) / (self._spec.prefill * self._speed)

    def _rate(self) -> float:
        """Tokens per second of each request in the batch."""
        return self._speed / (self._spec.step + self._spec.step_each * len(self._batch))

    def _advance(self, now: float) -> None:
        if self._batch:
            self._made += (now - self._seen) * self._rate()
        else:
            self._made = 0.0
        self._seen = now

    def _decode(self, now: float, output: float, ticket: int) -> None:
        if output <= 1.0:  # the first token was the answer
            self._stage.complete(ticket, Outcome.SUCCESS)
            return
        self._advance(now)
        heappush(self._batch, (self._made + output - 1.0, ticket))
        self._plan(now)

    def _plan(self, now: float) -> None:
        due = now + max(0.0, self._batch[0][0] - self._made) / self._rate()
        if due < self._planned:
            self._planned = due
            self._stage.at(due, self._wake)

    def _wake(self, now: float) -> None:
        if now != self._planned:
            return
        self._planned = inf
        self._advance(now)
        while self._batch:
            rest = (self._batch[0][0] - self._made) / self._rate()
            if rest > max(_INSTANT, 1e-12 * now):
                self._plan(now)
                return
            _, ticket = heappop(self._batch)
            self._stage.complete(ticket, Outcome.SUCCESS)

    def _check(self) -> None:
        assert self.hit <= self.asked
        assert len(self.cache) <= self._spec.capacity
        assert not self._batch or self._planned < inf
