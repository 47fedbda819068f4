"""All chapters with their verdicts, as one thing to be written: tables ready, colours dealt.

HTML, Markdown and JSON are made from this, so they say the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from balancers.simulation.bootstrap import Interval
from balancers.simulation.report import shown
from balancers.simulation.suite import Chapter, Row
from balancers.simulation.verdict import (
    AllRound,
    Verdict,
    all_round,
    goal_measure,
    ratio_to_best,
    recommendation,
    verdict,
)

__all__ = ["COLUMNS", "Book", "Column", "as_book_json", "bind", "cell_text", "columns", "ordered"]

SCHEMA = 1
FEATURED = 6

REFERENCES: dict[str, str] = {
    "oracle": "ink",
    "M/M/k bound": "ink dotted",
    "bulletin, least": "c6 dotted",
    "bulletin, two choices": "c6 dashed",
    "bulletin, interpreted": "c6",
}
"""Colours and strokes of what is no policy."""


@dataclass(frozen=True, slots=True)
class Column:
    """One measure as a column.

    Attributes:
        name: Of the measure.
        title: Its head.
        unit: As in ``report.shown``.
        spread: Whether its interval is shown.
        always: Whether it is there in every scenario; else where some policy has it.
    """

    name: str
    title: str
    unit: str
    spread: bool = False
    always: bool = True


COLUMNS: tuple[Column, ...] = (
    Column("first_p50", "first byte p50", "s", spread=True, always=False),
    Column("first_p99", "first byte p99", "s", spread=True, always=False),
    Column("hit_rate", "cache hits", "share", always=False),
    Column("p50", "p50", "s", spread=True),
    Column("p99", "p99", "s", spread=True),
    Column("p999", "p99.9", "s", spread=True),
    Column("error_share", "errors", "share"),
    Column("wasted", "wasted picks", "share", always=False),
    Column("recovery", "recovery", "s", always=False),
    Column("affinity", "affinity kept", "share", always=False),
    Column("moved", "keys moved", "share", always=False),
    Column("busiest_to_mean", "busiest ÷ mean", "ratio"),
    Column("jain", "Jain index", "ratio"),
    Column("share_error", "share error", "share"),
)


@dataclass(frozen=True, slots=True)
class Book:
    """What a report holds.

    Attributes:
        chapters: In order.
        verdicts: One a chapter.
        ratios: Goal over the best one's, by policy, one a chapter.
        standings: Of the policies over all chapters.
        classes: Colour by policy; who has none is grey.
        facts: What it takes to repeat it, in words.
    """

    chapters: Sequence[Chapter]
    verdicts: Sequence[Verdict]
    ratios: Sequence[Mapping[str, float]]
    standings: Sequence[AllRound]
    classes: Mapping[str, str]
    facts: str


def bind(chapters: Sequence[Chapter], facts: str = "") -> Book:
    """Return the book of some chapters."""
    verdicts = [verdict(chapter) for chapter in chapters]
    standings = all_round(chapters)
    return Book(
        chapters,
        verdicts,
        [ratio_to_best(chapter) for chapter in chapters],
        standings,
        _classes(chapters, verdicts, standings),
        facts,
    )


def _classes(
    chapters: Sequence[Chapter], verdicts: Sequence[Verdict], standings: Sequence[AllRound]
) -> dict[str, str]:
    """Deal the colours: to who stands best over all, who wins often, and round robin."""
    wins = Counter(each.best for each in verdicts if each.best is not None)
    ranked = [each.policy for each in standings]
    wanted = [*ranked[:3], *(name for name, _ in wins.most_common()), "RoundRobin", *ranked]
    wanted += [row.policy for chapter in chapters for row in chapter.rows if row.kind == "policy"]
    featured = list(dict.fromkeys(wanted))[:FEATURED]
    if "RoundRobin" in wanted and "RoundRobin" not in featured:
        featured[-1] = "RoundRobin"
    classes = {name: f"c{index}" for index, name in enumerate(featured)}
    return {**classes, **REFERENCES}


def columns(chapter: Chapter) -> list[Column]:
    """Return the columns a scenario needs."""
    return [
        column
        for column in COLUMNS
        if column.always or any(row.mean(column.name) is not None for row in chapter.rows)
    ]


def ordered(chapter: Chapter, ratios: Mapping[str, float]) -> list[Row]:
    """Return the rows as a table shows them: what is possible, then the policies, best first."""
    goal = goal_measure(chapter)

    def place(row: Row) -> tuple[int, float, float, str]:
        lost = row.mean("error_share") or 0.0
        if row.trouble is not None:
            return 4, 0.0, 0.0, row.policy
        if row.kind != "policy":
            return 0, 0.0 if row.kind == "bound" else 1.0, 0.0, row.policy
        ratio = ratios.get(row.policy)
        if ratio is None:
            return 3, lost, row.mean(goal) or inf, row.policy
        return 1, ratio, lost, row.policy

    return sorted(chapter.rows, key=place)


def cell_text(row: Row, column: Column) -> tuple[str, str]:
    """Return a number as it is read, and its interval or nothing."""
    found = row.intervals.get(column.name)
    if found is None:
        return "–", ""
    text = shown(found.mean, column.unit)
    if column.name == "jain":
        text = f"{found.mean:.3f}"
    low, high = shown(found.low, column.unit), shown(found.high, column.unit)
    return text, f"{low} – {high}" if column.spread and low != high else ""


def as_book_json(book: Book) -> str:
    """Return everything as one JSON object, ending in a newline."""
    table = {
        "schema": SCHEMA,
        "facts": book.facts,
        "recommendation": recommendation(book.standings),
        "standings": [
            {
                "policy": each.policy,
                "typical_ratio": each.typical,
                "typical_ratio_to_oracle": each.oracle,
                "worst_ratio": each.worst,
                "worst_scenario": each.where,
                "within_a_tenth": each.within,
                "scenarios": each.of,
            }
            for each in book.standings
        ],
        "scenarios": [
            {
                "scenario": chapter.scenario.name,
                "title": chapter.scenario.title,
                "question": chapter.scenario.question,
                "trace": chapter.trace,
                "goal": chapter.scenario.goal,
                "requests": chapter.requests,
                "seeds": chapter.seeds,
                "verdict": found.sentence,
                "best": found.best,
                "as_good": list(found.ties),
                "policies": [_row(row) for row in ordered(chapter, ratios)],
            }
            for chapter, found, ratios in zip(
                book.chapters, book.verdicts, book.ratios, strict=True
            )
        ],
    }
    return json.dumps(table, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _row(row: Row) -> dict[str, object]:
    return {
        "policy": row.policy,
        "kind": row.kind,
        "trouble": row.trouble,
        "measures": {name: _interval(found) for name, found in row.intervals.items()},
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}
