"""The report as one HTML file: no network, no script, light and dark, for wide and narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

from balancers.simulation.book import Book, cell_text, columns, ordered
from balancers.simulation.figures import errors_plot, tail_plot, time_plot
from balancers.simulation.suite import Chapter
from balancers.simulation.verdict import PRICE, RULE, Verdict, recommendation

__all__ = ["as_html"]


_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Which load-balancing policy?</title>
<style>
{style}</style>
</head>
<body>"""


def as_html(book: Book) -> str:
    """Return the whole page."""
    style = (resources.files("balancers.simulation") / "page.css").read_text("utf-8")
    parts = [
        _HEAD.replace("{style}", style),
        f"<header><h1>Which load-balancing policy?</h1><p>{escape(book.facts)}</p></header>",
        "<main>",
        _verdicts(book),
    ]
    if len(book.chapters) > 1:
        parts += [_standings(book), _heat(book)]
    for number, chapter in enumerate(book.chapters):
        parts.append(_chapter(book, number, chapter))
    parts.append(_notes())
    parts.append("</main>\n</body>\n</html>\n")
    return "\n".join(parts)


def _verdicts(book: Book) -> str:
    rows = [
        f'<tr><th scope="row"><a href="#s{n}">{escape(chapter.scenario.title)}</a></th>'
        f"<td>{_sentence(found)}</td></tr>"
        for n, (chapter, found) in enumerate(zip(book.chapters, book.verdicts, strict=True))
    ]
    return (
        '<section><h2>Verdicts</h2><table class="verdicts"><tbody>'
        + "".join(rows)
        + "</tbody></table></section>"
    )


def _sentence(found: Verdict) -> str:
    text = escape(found.sentence)
    if found.best is not None:
        name = escape(found.best)
        text = text.replace(name, f"<strong>{name}</strong>", 1)
    return text


def _standings(book: Book) -> str:
    rows = [
        f'<tr><th scope="row">{_swatch(book, each.policy)}{escape(each.policy)}</th>'
        f"<td>{each.typical:.2f}</td><td>{_ratio(each.oracle)}</td><td>{_ratio(each.worst)}</td>"
        f'<td class="text">{escape(each.where)}</td><td>{each.within} of {each.of}</td></tr>'
        for each in book.standings
    ]
    advice = escape(recommendation(book.standings))
    if advice:
        name = escape(book.standings[0].policy)
        advice = advice.replace(name, f"<strong>{name}</strong>", 1)
    heads = ("typical", "to the oracle", "worst", "in", "within 10 %")
    text = ' class="text"'
    head = "".join(f'<th scope="col"{text * (name == "in")}>{name}</th>' for name in heads)
    return (
        f'<section><h2>All round</h2><p class="verdict">{advice}</p><p>What each policy reaches '
        "over what the best one reaches in the same scenario: the geometric mean, the same over "
        "what the oracle reaches, the worst case, and how often it is within 10 %. Scenarios about "
        f"affinity are left out, for they compare a part of the policies. {PRICE}</p>"
        '<div class="scroll" tabindex="0"><table class="numbers"><thead><tr><th scope="col">policy'
        f"</th>{head}</tr></thead><tbody>" + "".join(rows) + "</tbody></table></div></section>"
    )


def _heat(book: Book) -> str:
    policies = [each.policy for each in book.standings]
    policies += sorted({p for r in book.ratios for p in r} - set(policies))
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in policies)
    rows = []
    for n, (chapter, ratios) in enumerate(zip(book.chapters, book.ratios, strict=True)):
        cells = []
        for name in policies:
            ratio = ratios.get(name)
            if ratio is None:
                cells.append('<td class="none">·</td>')
            else:
                cells.append(f'<td class="h{_heat_class(ratio)}">{_ratio(ratio)}</td>')
        title = escape(chapter.scenario.title)
        rows.append(f'<tr><th scope="row"><a href="#s{n}">{title}</a></th>{"".join(cells)}</tr>')
    return (
        "<section><h2>Every policy in every scenario</h2><p>The same ratios, one by one: "
        "1 is the best policy of the row.</p>"
        '<div class="scroll" tabindex="0"><table class="heat"><thead><tr><th></th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _heat_class(ratio: float) -> int:
    return sum(ratio > edge for edge in (1.1, 1.5, 3.0, 10.0))


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio:.2f}" if ratio < 9.995 else f"{min(ratio, 9999.0):,.0f}"


def _swatch(book: Book, policy: str) -> str:
    kind = book.classes.get(policy, "rest")
    return (
        f'<svg class="swatch" viewBox="0 0 22 10" aria-hidden="true">'
        f'<path class="line {kind}" d="M0 5H22"/></svg>'
    )


def _chapter(book: Book, number: int, chapter: Chapter) -> str:
    found, ratios = book.verdicts[number], book.ratios[number]
    scenario = chapter.scenario
    traffic = f"{chapter.requests:,} requests × {chapter.seeds} seeds"
    if scenario.traffic.clients > 1:
        traffic += f", {scenario.traffic.clients} clients"
    if chapter.trace:
        traffic += f", arrivals of {chapter.trace}"
    figures = [
        ("Share of requests slower than …", tail_plot(chapter, book.classes)),
        ("p99 by time of arrival", time_plot(chapter, book.classes)),
        ("Share of requests lost by time of arrival", errors_plot(chapter, book.classes)),
    ]
    shown = "".join(
        f"<figure><figcaption>{title}</figcaption>{svg}</figure>" for title, svg in figures if svg
    )
    return (
        f'<section id="s{number}"><h2>{escape(scenario.title)}</h2>'
        f'<p>{escape(scenario.question)} <span class="soft">{escape(traffic)}.</span></p>'
        f'<p class="verdict">{_sentence(found)}</p>'
        f'<div class="figures">{shown}</div>{_legend(book, chapter)}'
        f"{_table(book, chapter, ratios)}</section>"
    )


def _legend(book: Book, chapter: Chapter) -> str:
    names = [row.policy for row in chapter.rows if row.policy in book.classes]
    names.sort(key=lambda name: list(book.classes).index(name))
    items = [f"<li>{_swatch(book, name)}{escape(name)}</li>" for name in names]
    if len(chapter.rows) > len(names):
        items.append(f"<li>{_swatch(book, '')}others</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _table(book: Book, chapter: Chapter, ratios: Mapping[str, float]) -> str:
    wanted = columns(chapter)
    head = "".join(f'<th scope="col">{escape(column.title)}</th>' for column in wanted)
    rows: list[str] = []
    best = book.verdicts[book.chapters.index(chapter)]
    for row in ordered(chapter, ratios):
        name = f'<th scope="row">{_swatch(book, row.policy)}{escape(row.policy)}</th>'
        kind = _row_class(row.policy, row.kind, best)
        if row.trouble is not None:
            cells = f'<td class="text" colspan="{len(wanted)}">{escape(row.trouble)}</td>'
        else:
            texts = [cell_text(row, column) for column in wanted]
            cells = "".join(
                f"<td>{escape(a)}{f'<small>{escape(b)}</small>' if b else ''}</td>"
                for a, b in texts
            )
        rows.append(f"<tr{kind}>{name}{cells}</tr>")
    return (
        '<div class="scroll" tabindex="0"><table class="numbers"><thead><tr><th scope="col">policy'
        f"</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row_class(policy: str, kind: str, best: Verdict) -> str:
    if kind != "policy":
        return ' class="reference"'
    if policy == best.best:
        return ' class="best"'
    return ' class="tie"' if policy in best.ties else ""


_NOTES: Sequence[tuple[str, str]] = (
    ("p50, p99, p99.9", ("Latency that half, 99 % and 99.9 % of the answered requests do not "
     "exceed: the mean over the seeds, and below it the 95 % bootstrap interval of that mean.")),
    ("errors", "Requests refused or failed."),
    ("wasted picks", "Requests sent to an endpoint while something was wrong with it."),
    ("recovery", ("From the start of the trouble until p97 and errors are for good what they were "
     "before; who never recovers has the rest of the run.")),
    ("affinity kept", "Requests that went where the one before with the same key went."),
    ("keys moved", "Share of keys a change of members moves."),
    ("busiest ÷ mean", "Requests per weight of the busiest endpoint over the mean: 1 is even."),
    ("Jain index", "1 is even, 1/n is everything on one of n."),
    ("share error", "Requests that would have to move for shares to equal the weights."),
    ("oracle", ("Knows every request in the fleet, every speed and every fault at the moment it "
     "happens, and takes the shortest expected delay. No client can.")),
    ("bulletin", ("Goes by everybody's true queue length as it was published last, whoever sends: "
     "the shortest queue, the shorter of two, or drawn so that all are level when the next "
     "bulletin appears.")),
    ("M/M/k bound", ("The fleet as one queue before all workers: no policy that chooses at once "
     "has a lower mean.")),
    ("verdict", RULE),
)  # fmt: skip


def _notes() -> str:
    items = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in _NOTES)
    return f"<section><h2>What the words mean</h2><dl>{items}</dl></section>"
