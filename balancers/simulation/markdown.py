"""The report as Markdown: verdicts, standings, and a table a scenario."""

from __future__ import annotations

from collections.abc import Sequence

from balancers.simulation.book import Book, cell_text, columns, ordered
from balancers.simulation.verdict import PRICE, RULE, recommendation

__all__ = ["as_markdown"]


def as_markdown(book: Book) -> str:
    """Return the report as Markdown."""
    lines = ["# Which load-balancing policy?", "", book.facts, "", "## Verdicts", ""]
    lines += _table(
        ["scenario", "verdict"],
        [
            [chapter.scenario.title, found.sentence]
            for chapter, found in zip(book.chapters, book.verdicts, strict=True)
        ],
    )
    if len(book.chapters) > 1 and book.standings:
        lines += [
            "",
            "## All round",
            "",
            recommendation(book.standings),
            "",
            f"The p99 over that of the best policy, scenario by scenario. {PRICE}",
            "",
        ]
        lines += _table(
            ["policy", "typical", "to the oracle", "worst", "where", "within 10 % of the best"],
            [
                [
                    each.policy,
                    f"{each.typical:.2f}",
                    "–" if each.oracle is None else f"{each.oracle:.2f}",
                    f"{each.worst:.2f}",
                    each.where,
                    f"{each.within} of {each.of}",
                ]
                for each in book.standings
            ],
        )
    for chapter, found, ratios in zip(book.chapters, book.verdicts, book.ratios, strict=True):
        wanted = columns(chapter)
        lines += ["", f"## {chapter.scenario.title}", "", chapter.scenario.question, ""]
        lines += [f"**{found.sentence}**", ""]
        rows = []
        for row in ordered(chapter, ratios):
            if row.trouble is not None:
                rows.append([row.policy, row.trouble] + [""] * (len(wanted) - 1))
                continue
            cells = [cell_text(row, column) for column in wanted]
            rows.append([row.policy, *(f"{a} ({b})" if b else a for a, b in cells)])
        lines += _table(["policy", *(column.title for column in wanted)], rows)
    lines += ["", "## How a verdict is reached", "", RULE]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *map(line, rows)]
