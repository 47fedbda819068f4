"""A comparison as text: a table for the terminal, JSON and CSV for programs.

JSON and CSV hold nothing that changes from run to run: same trace, options and seed give the same
bytes. Times are seconds, shares 0..1.
"""

from __future__ import annotations

import csv
import io
import json

from balancers.simulation.comparison import Comparison, Result
from balancers.simulation.measures import MEASURES

__all__ = ["aligned", "as_csv", "as_json", "as_table", "curve", "seconds_shown", "shown"]

SCHEMA = 1
"""Version of the JSON; raised when a name changes its meaning or goes."""


def as_table(comparison: Comparison) -> str:
    """Return what a person reads: the setting, one row a policy, and who did not finish."""
    ended = [result for result in comparison.results if result.trouble is None]
    columns = [
        measure
        for measure in MEASURES
        if measure.table and any(r.measures[measure.name] is not None for r in ended)
    ]
    rows = [["policy", *(measure.title for measure in columns)]]
    timed = any(result.elapsed for result in comparison.results)
    if timed:
        rows[0].append("requests/s")
    for result in ended:
        row = [result.name, *(shown(result.measures[m.name], m.unit) for m in columns)]
        if timed:
            row.append(f"{result.requests / result.elapsed:,.0f}" if result.elapsed else "")
        rows.append(row)
    setting = comparison.setting
    lines = [
        f"{comparison.title}{', ' if comparison.note else ''}{comparison.note}",
        f"{setting['title']}, offered load {comparison.load:.2f}" if "title" in setting else "",
        "",
    ]
    lines += aligned(rows) if ended else []
    for result in comparison.results:
        if result.trouble is not None:
            lines.append(f"{result.name} did not finish: {result.trouble}")
    return "\n".join(lines) + "\n"


def aligned(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]


def shown(value: float | None, unit: str) -> str:
    """Return a number as a person reads it: three significant digits and its unit."""
    if value is None:
        return "-"
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "share":
        return f"{value:.2%}"
    if unit == "ratio":
        return f"{value:.2f}" if value < 100.0 else f"{value:,.0f}"
    if value <= 0.0:
        return "0 s"
    number, name = seconds_shown(value)
    if number >= 999.5:
        return f"{number:,.0f} {name}"
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {name}"


def seconds_shown(value: float) -> tuple[float, str]:
    """Return a positive time in the largest of s, ms and µs of which it has at least one."""
    for factor, name in ((1.0, "s"), (1e3, "ms")):
        if value * factor >= 0.9995:
            return value * factor, name
    return value * 1e6, "µs"


def as_json(comparison: Comparison) -> str:
    """Return the whole comparison as one JSON object, ending in a newline."""
    return (
        json.dumps(
            {
                "schema": SCHEMA,
                "workload": comparison.workload,
                "setting": comparison.setting,
                "offered_load": comparison.load,
                "policies": [_policy(result) for result in comparison.results],
            },
            indent=1,
            ensure_ascii=True,  # names of files and endpoints may hold lone surrogates
            allow_nan=False,
        )
        + "\n"
    )


def _policy(result: Result) -> dict[str, object]:
    if result.trouble is not None:
        return {"policy": result.name, "trouble": result.trouble}
    return {
        "policy": result.name,
        "trouble": None,
        "requests": result.requests,
        "simulated_seconds": result.seconds,
        **{
            measure.name: _whole(result.measures[measure.name], measure.unit)
            for measure in MEASURES
        },
        "endpoints": [
            {"id": each.id, "weight": each.weight, "picks": each.picks, "busy_seconds": each.busy}
            for each in result.endpoints
        ],
        "latency_curve": curve(result.steps),
    }


def _whole(value: float | None, unit: str) -> float | None:
    return int(value) if unit == "count" and value is not None else value


def curve(steps: tuple[tuple[float, int], ...]) -> list[tuple[float, float]]:
    """Return the share of requests slower than each latency: (seconds, share), rising latency.

    Thinned: a point is kept if latency has grown by 2 % or the share has shrunk by a tenth since
    the one kept before, so the rarest requests are drawn as finely as the common ones. The last
    point is the slowest request, share 0.
    """
    if not steps:
        return []
    total = steps[-1][1]
    kept = [(steps[0][0], (total - steps[0][1]) / total)]
    for value, upto in steps[1:]:
        share = (total - upto) / total
        if value >= 1.02 * kept[-1][0] or share <= 0.9 * kept[-1][1]:
            kept.append((value, share))
    return kept


def as_csv(comparison: Comparison) -> str:
    """Return one row a policy, with a header; empty cells where a number does not exist."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["policy", "requests", *(measure.name for measure in MEASURES), "trouble"])
    for result in comparison.results:
        values = (_whole(result.measures.get(measure.name), measure.unit) for measure in MEASURES)
        cells = ("" if value is None else repr(value) for value in values)
        writer.writerow([result.name, result.requests, *cells, result.trouble or ""])
    return out.getvalue()
