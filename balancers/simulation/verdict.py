"""What to use, in one sentence, and how every policy stands against the best.

Errors come first: a policy stays in the race if it loses at most a tenth of a percent of requests
more than the one that loses least. Among those the least p99 wins (the p99 of the first byte,
where that is the goal). Where affinity is the goal, whoever keeps most keys in place wins, of those
that place by key and whose p99 is at most three times the least of them.

Another policy is as good within noise if it is at most 3 % behind, or if the 95 % interval of the
paired difference over the seeds holds 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from balancers.simulation.bootstrap import bootstrap_mean
from balancers.simulation.report import shown
from balancers.simulation.suite import Chapter, Row

__all__ = [
    "PRICE", "RULE", "AllRound", "Verdict", "all_round", "goal_measure", "ratio_to_best",
    "recommendation", "verdict",
]  # fmt: skip

MORE_ERRORS = 0.001
AS_GOOD = 1.03
BEARABLE = 3.0
FEWER_KEPT = 0.02

PRICE: str = (
    "Requests lost count: beyond a tenth of a percent of all more than the policy that loses "
    "least, every further tenth adds as much again. In the mean a ratio counts as 100 at most."
)
"""How ratios are made of latencies and errors, for readers of a report."""

RULE: str = (
    "Errors first: whoever loses more requests than the one that loses least, by more than a tenth "
    "of a percent of all, is out. Then the least p99 wins; for language models the least p99 of "
    "the first token. Where keys should stay in place, whoever keeps most of them wins, of the "
    "policies that place by key and whose p99 is at most three times the least of theirs. As good "
    "within noise: at most 3 % behind, or the paired difference over the seeds is not clearly "
    "above 0. These bounds are choices of this library, not laws."
)
"""How a verdict is reached, for readers of a report."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who wins a scenario.

    Attributes:
        best: The winner, or None if nobody qualifies.
        ties: As good within noise, best first.
        sentence: To be read.
    """

    best: str | None
    ties: tuple[str, ...]
    sentence: str


def goal_measure(chapter: Chapter) -> str:
    """Return the name of the measure a scenario is judged by."""
    return "first_p99" if chapter.scenario.goal == "first" else "p99"


def _comparable(chapter: Chapter) -> list[Row]:
    """Return the policies that finished and are of the wanted kind."""
    goal = goal_measure(chapter)
    return [
        row
        for row in chapter.rows
        if row.kind == "policy"
        and row.trouble is None
        and row.mean(goal) is not None
        and (row.keyed or chapter.scenario.goal != "affinity")
    ]


def _lost_beyond(row: Row, chapter: Chapter) -> float:
    """Return the share of requests a policy loses beyond what the race allows, below 0 within."""
    least = min(each.mean("error_share") or 0.0 for each in _comparable(chapter))
    return (row.mean("error_share") or 0.0) - least - MORE_ERRORS


def _racers(chapter: Chapter) -> list[Row]:
    """Return the comparable policies that lose no more than others."""
    return [row for row in _comparable(chapter) if _lost_beyond(row, chapter) <= 0.0]


def verdict(chapter: Chapter) -> Verdict:
    """Return who wins.

    Runtime complexity: O(policies · seeds · resamples).
    """
    goal = goal_measure(chapter)
    racers = sorted(_racers(chapter), key=lambda row: (row.mean(goal) or 0.0, row.policy))
    if not racers:
        return Verdict(None, (), "No policy ran to the end.")
    if chapter.scenario.goal == "affinity":
        bearable = BEARABLE * (racers[0].mean(goal) or 0.0)
        racers = [row for row in racers if (row.mean(goal) or 0.0) <= bearable]
        racers.sort(key=lambda row: -round(row.mean("affinity") or 0.0, 2))  # stable: then by p99
        kept = (racers[0].mean("affinity") or 0.0) - FEWER_KEPT
        racers = [row for row in racers if (row.mean("affinity") or 0.0) >= kept]
    best, *others = racers
    ties = tuple(row.policy for row in others if _as_good(row, best, goal))
    facts = [f"{_goal_title(goal)} {shown(best.mean(goal), 's')}"]
    if chapter.scenario.goal == "affinity" and best.mean("affinity") is not None:
        facts.append(f"{best.mean('affinity'):.0%} of requests where their key went before")
    if (lost := best.mean("error_share") or 0.0) > 0.0:
        facts.append(f"{lost:.2%} errors")
    oracle = next((row.mean(goal) for row in chapter.rows if row.kind == "oracle"), None)
    if oracle and chapter.scenario.goal != "affinity":
        facts.append(f"{(best.mean(goal) or 0.0) / oracle:.2f} × the oracle's")
    among = "Of those that place by key, use" if chapter.scenario.goal == "affinity" else "Use"
    sentence = f"{among} {best.policy} ({', '.join(facts)})"
    if ties:
        sentence += f"; {_listed(ties)} {'is' if len(ties) == 1 else 'are'} as good within noise"
    return Verdict(best.policy, ties, sentence + ".")


def _goal_title(goal: str) -> str:
    return "p99 of the first byte" if goal == "first_p99" else "p99"


def _listed(names: Sequence[str], most: int = 4) -> str:
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _as_good(row: Row, best: Row, goal: str) -> bool:
    ours, theirs = row.values[goal], best.values[goal]
    if (row.mean(goal) or 0.0) <= AS_GOOD * (best.mean(goal) or 0.0):
        return True
    if len(ours) != len(theirs) or len(ours) < 2:
        return False
    gaps = [math.log(a / b) for a, b in zip(ours, theirs, strict=True) if a > 0.0 and b > 0.0]
    return bool(gaps) and bootstrap_mean(gaps).low <= 0.0


def ratio_to_best(chapter: Chapter) -> dict[str, float]:
    """Return the goal of every policy over that of the best one, what it loses counted in.

    Whoever is out of the race for what it loses is not better than the best for being fast, and
    its ratio is that of its goal times 1 more for every tenth of a percent of requests lost
    beyond what the race allows. There is no cliff: how many requests it takes to notice a fault
    does not grow with the run, and their share depends on its length.
    """
    goal = goal_measure(chapter)
    racers = {row.policy: row.mean(goal) or 0.0 for row in _racers(chapter)}
    least = min(racers.values(), default=0.0)
    found: dict[str, float] = {}
    for row in _comparable(chapter) if least > 0.0 else ():
        ratio = (row.mean(goal) or 0.0) / least
        found[row.policy] = ratio if row.policy in racers else max(1.0, ratio)
        found[row.policy] *= _price(row, chapter)
    return found


def _price(row: Row, chapter: Chapter) -> float:
    """Return what a policy's losses multiply its ratio by, ≥ 1."""
    return 1.0 + max(0.0, _lost_beyond(row, chapter)) / MORE_ERRORS


@dataclass(frozen=True, slots=True)
class AllRound:
    """How a policy stands over all scenarios.

    Attributes:
        policy: Its name.
        typical: Geometric mean of its ratios to the best, each at most ``WORST``.
        worst: The greatest ratio.
        where: The scenario it occurs in.
        within: In how many scenarios it is within a tenth of the best.
        of: In how many it ran.
        oracle: Geometric mean of its ratios to the oracle, capped alike; None without an oracle.
    """

    policy: str
    typical: float
    worst: float
    where: str
    within: int
    of: int
    oracle: float | None = None


WORST = 100.0
"""What a ratio counts at most: being unstable is bad, how long the run lasted is no matter."""


def all_round(chapters: Iterable[Chapter]) -> list[AllRound]:
    """Return how the policies stand over the scenarios all of them can be compared in, best first.

    Scenarios about affinity are left out: they compare a part of the policies.
    """
    ratios: dict[str, list[tuple[float, str]]] = {}
    beside: dict[str, list[float]] = {}
    counted = 0
    for chapter in chapters:
        if chapter.scenario.goal == "affinity":
            continue
        found = ratio_to_best(chapter)
        counted += bool(found)
        possible = _ratios_to_oracle(chapter)
        for policy, ratio in found.items():
            ratios.setdefault(policy, []).append((ratio, chapter.scenario.title))
            if policy in possible:
                beside.setdefault(policy, []).append(possible[policy])
    table = []
    for policy, pairs in ratios.items():
        if len(pairs) < counted:
            continue
        worst, where = max(pairs, key=lambda pair: pair[0])
        table.append(
            AllRound(
                policy,
                _typical([ratio for ratio, _ in pairs]),
                worst,
                where,
                sum(ratio <= 1.1 for ratio, _ in pairs),
                len(pairs),
                _typical(beside[policy]) if policy in beside else None,
            )
        )
    return sorted(table, key=lambda each: (each.typical, each.policy))


def _ratios_to_oracle(chapter: Chapter) -> dict[str, float]:
    goal = goal_measure(chapter)
    best = next((row.mean(goal) for row in chapter.rows if row.kind == "oracle"), None)
    if not best:
        return {}
    return {
        row.policy: (row.mean(goal) or 0.0) / best * _price(row, chapter)
        for row in _comparable(chapter)
    }


def _typical(ratios: Sequence[float]) -> float:
    """Return the geometric mean, each ratio at most ``WORST``."""
    logs = [math.log(min(ratio, WORST)) for ratio in ratios]
    return math.exp(math.fsum(logs) / len(logs))


def recommendation(standings: Sequence[AllRound]) -> str:
    """Return which policy to start with, by what was measured, and why; empty without standings."""
    if not standings:
        return ""
    best = standings[0]
    near = f", {best.oracle:.2f} × the oracle's" if best.oracle is not None else ""
    return (
        f"Knowing nothing of the traffic, start with {best.policy}: over these {best.of} scenarios "
        f"its p99 is typically {best.typical:.2f} × that of the best policy there{near}; at worst "
        f"it is {best.worst:.2f} × ({best.where}), and in {best.within} it is within 10 % of the "
        "best."
    )
