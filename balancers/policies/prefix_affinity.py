"""Prefix affinity: prompts that begin alike go where the beginning was computed before.

A language-model engine keeps the keys and values it computed for a prompt, and skips them for the
next prompt that begins alike. So a prompt is cut at 2, 4, 8, … blocks and at its end; the ring
owners of a few of these beginnings are its candidates, together with the endpoint last sent
the longest beginning known. Of these the one takes it with the least

    (blocks queued + blocks not cached) / w  ×  (load + cost) / w

where w is the weight. What is cached where is estimated from the picks themselves: a bounded
memory of beginnings for each endpoint. There is no index to feed and nothing to ask an engine for.

Guarantees:
    The same prompt has the same ring candidates, in the same order, in every process with the
    same members and seed. When an endpoint leaves, is ejected or excluded, exactly the prompts
    that had it among their candidates get another set: without it, and with one other. The pick
    has the least score among its candidates, and of equal ones goes to the first placed. With
    ``load_factor`` no pick passes the bound. As long as anybody may be picked there is a candidate.
    A request that failed leaves no memory of what only it would have cached.

Use when:
    Endpoints cache prefixes: replicas of a language model, above all for conversations and for
    system prompts that many share.

Avoid when:
    Prompts share nothing (``LeastConnections``), or the cache is keyed by whole values
    (``RingHash``).

Cost:
    O(blocks) to hash the prompt, O(candidates · (log blocks + waiting requests)) to choose; no
    lock unless ``load_factor`` is given. A remembered beginning takes about 130 bytes, at most
    ``memory`` of them per endpoint: 1 MB. An update edits the ring.

Source:
    The product of queued work and batch size: LMetric (2026), which needs no scale. Candidates by
    the ring and bounded loads: Karger et al. 1997; Mirrokni, Thorup and Zadimoghaddam 2018. One
    remembered endpoint beside the drawn ones: memory in load balancing, Mitzenmacher, Prabhakar
    and Shah 2002. Prefix matching without an index from the engine: SGLang's cache-aware router.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, Unpack

from balancers.core.arrivals import Arrivals
from balancers.core.hashed import HashPolicy
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.numbers import checked_whole
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import check_seed
from balancers.protocol import Explanation, Reason
from balancers.structures.keyed import KeyedStructure
from balancers.structures.prefix import PrefixCuts, Prompt, check_prompt, head_of
from balancers.structures.prefix_memory import PrefixMemory
from balancers.structures.ring import HashRing

__all__ = ["PrefixAffinity"]


class _Choice(NamedTuple):
    """Whom a prompt goes to, what it leaves to compute there, and why there."""

    cell: Cell
    work: int
    reason: Reason


class PrefixAffinity(HashPolicy):
    """The best of a few endpoints that a prompt's beginnings are placed on.

    The key of ``pick`` is the prompt: text or bytes, cut into blocks of ``block_size``, or the
    sequence of its block ids (integers or bytes), where equal ids at equal places stand for equal
    text. ``cost`` may carry its tokens; the work that is queued is counted in blocks by itself.
    Call ``responded()`` on the lease when the first token comes: the prompt is computed then, and
    waits no more.

    Args:
        endpoints: The membership; each positive weight must be due a point on the ring.
        candidates: Endpoints a prompt is placed on, ≥ 1; one more may be remembered.
        load_factor: Bounds the leases of an endpoint; see ``HashPolicy``.
        min_load: Leases every endpoint may hold whatever the bound says.
        block_size: Bytes of a block of text, ≥ 1; about 4 bytes are a token.
        memory: Beginnings remembered for each endpoint, ≥ 2; a prompt of L blocks has up to L of
            them, and no more than 16 + 8 · log₂(L / 16) if L is above 16.
        vnodes: Points on the ring of an endpoint of weight 1, ≥ 1.
        seed: 0 ≤ seed < 2³²; a secret one keeps strangers from aiming prompts at one endpoint.
        options: What every balancer takes; see ``Policy``.

    Raises:
        InvalidEndpointError: If ``vnodes`` · weight is below 1 for a positive weight.
    """

    aliases: ClassVar[tuple[str, ...]] = ("prefix", "prefix-affinity")
    key_kind: ClassVar[str] = "prefix"

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        candidates: int = 4,
        load_factor: float | None = None,
        min_load: int = 1,
        block_size: int = 2048,
        memory: int = 8192,
        vnodes: int = 160,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        self._count = checked_whole("candidates", candidates)
        self._block_size = checked_whole("block_size", block_size)
        self._memory = checked_whole("memory", memory, 2)
        self._seed = check_seed(seed)
        self._vnodes = vnodes
        HashRing({}, vnodes)  # checks vnodes
        self._able: Mapping[str, Cell] = {}  # candidates of the view published last, by id
        self._last: PrefixMemory[str] = PrefixMemory(self._memory)  # whom a beginning went to
        super().__init__(endpoints, load_factor=load_factor, min_load=min_load, **options)

    def pick(
        self, key: Prompt | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease the best candidate of a prompt; see ``Balancer.pick``."""
        prompt: Any = key
        return self._pick(prompt, exclude, cost)

    def explain(self, key: Prompt | None = None, *, exclude: Collection[str] = ()) -> Explanation:
        """Say what ``pick`` would do now, and the score of each candidate. O(n)."""
        prompt: Any = key
        told = super().explain(prompt, exclude=exclude)
        if key is None or told.chosen is None:
            return told
        cuts = self._cuts(key)
        found, _ = self._gather(self._view, cuts, key, exclude)
        scored = {
            cell.endpoint.id: (self._blocks_left(cell, cuts), self._score_of(cell, cuts, 1.0)[0])
            for cell in found
        }
        return replace(
            told,
            candidates=tuple(
                replace(
                    each,
                    why=f"{each.why}, {scored[each.endpoint.id][0]} of {cuts.blocks} blocks left",
                    score=scored[each.endpoint.id][1],
                )
                if each.considered and each.endpoint.id in scored
                else each
                for each in told.candidates
            ),
        )

    def placed(self, key: Prompt) -> list[str]:
        """Return the ids a prompt is placed on, best first, whatever their health and load.

        Runtime complexity: O(blocks), and O(candidates) expected.
        """
        check_prompt(key)
        view = self._view
        ids = {e.hash_key: e.id for e in view.roster}
        structure: KeyedStructure = view.state.structure
        if not structure.ids:
            return []
        found: list[int] = []
        for walk in self._walks(structure, self._cuts(key)):
            place = next((place for place in walk if place not in found), None)
            if place is not None:
                found.append(place)
        return [ids[structure.ids[place]] for place in found]

    # -- the slow half ---------------------------------------------------------------------

    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        if isinstance(old, HashRing):
            return old.updated(weights)
        return HashRing(weights, self._vnodes, self._seed)

    def _publish(self, view: View) -> None:
        if view.roster is not self._view.roster:  # else it is their health that has changed
            for cell in view.members:
                self._arrivals(cell).follow(cell)
        self._able = dict(zip(map(attrgetter("id"), view.endpoints), view.cells, strict=True))
        self._last.capacity = self._memory * max(1, len(view.roster))
        super()._publish(view)

    def _shortcut(self, view: View) -> Chooser | None:
        return None

    def _arrivals(self, cell: Cell) -> Arrivals:
        return cell.fact(Arrivals, lambda: Arrivals(self._memory))

    # -- the quick half --------------------------------------------------------------------

    def _cuts(self, key: Prompt) -> PrefixCuts:
        return PrefixCuts(key, self._block_size, self._seed)

    def _grant(
        self,
        view: View,
        key: Any,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        if key is None:
            key = self._drawn_key(self._rng.getrandbits(64))
            reason = max(reason, Reason.NO_KEY)
        cuts = self._cuts(key)
        bound = self._bound
        if bound is None:
            choice = self._best(view, cuts, key, exclude, cost)
        else:
            with bound.lock:
                bound.catch_up()
                # The bound follows the membership published last, so the view must too.
                choice = self._best(self._view, cuts, key, exclude, cost)
                if choice is not None:
                    bound.charge(choice.cell)
        if choice is None:
            raise self._nobody(view, exclude)
        reason = max(reason, choice.reason)
        return self._send(choice.cell, choice.work, cuts, cost, reason, now)

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Any,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        if key is None:
            return super()._lease_on(view, cell, key, cost, reason, now)
        cuts = self._cuts(key)
        bound = self._bound
        if bound is not None:
            with bound.lock:
                bound.charge(cell)
        work = self._blocks_left(cell, cuts)
        return self._send(cell, work, cuts, cost, max(reason, view.reason), now)

    def _send(
        self,
        cell: Cell,
        work: int,
        cuts: PrefixCuts,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Open the lease, queue the work, and remember what will be cached by it."""
        arrival = self._arrivals(cell).expect(work, cuts.digests)
        pick = cell.issue_tracked(reason, cost, now, (arrival, *self._hooks))
        arrival.queue(pick)
        self._last.note(cuts.digests, cell.endpoint.id)
        return pick

    def _place(self, view: View, key: Any, exclude: Collection[str]) -> tuple[Cell | None, Reason]:
        choice = self._best(view, self._cuts(key), key, exclude, 1.0)
        return (None, Reason.NORMAL) if choice is None else (choice.cell, choice.reason)

    def _best(
        self, view: View, cuts: PrefixCuts, key: Prompt, exclude: Collection[str], cost: float
    ) -> _Choice | None:
        """Return the candidate of least score; None if ``exclude`` leaves nobody."""
        found, reason = self._gather(view, cuts, key, exclude)
        if not found:
            return None
        best, (least, work) = found[0], self._score_of(found[0], cuts, cost)
        for cell in found[1:]:
            score, left = self._score_of(cell, cuts, cost)
            if score < least:
                best, least, work = cell, score, left
        return _Choice(best, work, reason)

    def _gather(
        self, view: View, cuts: PrefixCuts, key: Any, exclude: Collection[str]
    ) -> tuple[list[Cell], Reason]:
        """Return the candidates that may take the prompt, best placed first, the remembered last.

        One that may not is passed over as if it had left.
        """
        placement = view.state
        cells, reason = placement.cells, Reason.NORMAL
        plain = not exclude and self._bound is None and not view.ramps
        found: list[Cell] = []
        for walk in self._walks(placement.structure, cuts):
            for place in walk:
                cell: Cell | None = cells[place]
                if cell is None or not (plain or self._admits(view, key, cell, exclude)):
                    reason = Reason.FALLBACK
                elif cell not in found:
                    found.append(cell)
                    break
        if not found:  # ramps or the bound are in the way everywhere
            last, reason = super()._place(view, key, exclude)
            return ([] if last is None else [last]), reason
        remembered = self._last.deepest(cuts.digests)
        other = None if remembered is None else self._able.get(remembered)
        if (
            other is not None
            and other not in found
            and self._arrivals(other).memory.depth(cuts.digests)
        ):
            if plain or self._admits(view, key, other, exclude):
                found.append(other)
            else:
                reason = Reason.FALLBACK
        return found, reason

    def _walks(self, structure: KeyedStructure, cuts: PrefixCuts) -> Iterator[Iterator[int]]:
        """Yield a walk along the ring for each candidate wanted: of each anchor, then the first."""
        anchors = cuts.anchors(self._count)
        for anchor in anchors:
            yield structure.walk_indices(anchor)
        if len(anchors) < self._count:
            rest = structure.walk_indices(anchors[0])
            for _ in range(self._count - len(anchors)):
                yield rest

    def _admits(self, view: View, key: Any, cell: Cell, exclude: Collection[str]) -> bool:
        if cell.endpoint.id in exclude or self._is_held_back(view, key, cell):
            return False
        bound = self._bound
        return bound is None or (bound.bounds(cell) and bound.excess(cell) <= 0)

    def _score_of(self, cell: Cell, cuts: PrefixCuts, cost: float) -> tuple[float, int]:
        """Return the score, and the blocks the prompt leaves to compute."""
        work = self._blocks_left(cell, cuts)
        # 0: an update is under way, which this pick must not see yet.
        weight = cell.endpoint.weight or 1.0
        return (self._arrivals(cell).queued() + work) / weight * ((cell.load + cost) / weight), work

    def _blocks_left(self, cell: Cell, cuts: PrefixCuts) -> int:
        """Return what is not cached, ≥ 1: a prompt's last token is always computed."""
        known = self._arrivals(cell).memory.depth(cuts.digests)
        return max(1, cuts.blocks - cuts.cuts[known - 1]) if known else max(1, cuts.blocks)

    # -- keys ------------------------------------------------------------------------------

    def _check_key(self, key: Any) -> None:
        check_prompt(key)

    def _hashable(self, key: Any) -> bytes:
        return head_of(key, self._block_size, self._seed)

    def _drawn_key(self, bits: int) -> Any:
        return (bits >> 1,)

    # -- reports ---------------------------------------------------------------------------

    def _details(self) -> dict[str, float]:
        return {**super()._details(), "remembered": float(len(self._last))}

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        arrivals = self._arrivals(cell)
        return {"queued": float(arrivals.queued()), "remembered": float(len(arrivals.memory))}

    def _check(self) -> None:
        super()._check()
        for cell in self._able.values():
            self._arrivals(cell)._check(cell)
