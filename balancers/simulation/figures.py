"""The plots of the report: SVG inside HTML, drawn in the page's own colours.

Colours are classes (``c0`` … ``c6``, ``ink``, ``rest``), so that one picture serves the light and
the dark page. Text is large enough for a telephone, whose width is that of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from balancers.simulation.cells import LEVELS
from balancers.simulation.chart import LogAxis, tick
from balancers.simulation.suite import Chapter, Row

__all__ = ["errors_plot", "tail_plot", "time_plot"]

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 14, 40
CLIP = 40.0
"""Latencies beyond this many times the least p99 end at the edge: they only grow with the run."""


def tail_plot(chapter: Chapter, classes: Mapping[str, str]) -> str:
    """Return the shares of requests slower than each latency, both axes logarithmic."""
    rows = [row for row in chapter.rows if row.quantiles]
    if not rows:
        return ""
    low = max(min(row.quantiles[0] for row in rows), 1e-9)
    best = min(_at(row, 0.99) for row in rows)
    high = min(max(row.quantiles[-1] for row in rows), CLIP * best)
    axis = LogAxis(low, max(high, 2.0 * low), LEFT, WIDTH - RIGHT)
    floor = 1.0 - LEVELS[-1]

    def level(share: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * math.log(share) / math.log(floor)

    out = _frame(axis, "latency")
    for share, label in ((1.0, "100 %"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %")):
        out += _across(level(share), label)
    for row in _painted(rows, classes):
        points = [
            (axis.at(value), level(1.0 - q))
            for q, value in zip(LEVELS, row.quantiles, strict=True)
            if low <= value <= axis.high
        ]
        out.append(_line(row.policy, classes, points))
    return _svg(out, f"{chapter.scenario.title}: share of requests slower than a latency")


def _at(row: Row, level: float) -> float:
    index = min(range(len(LEVELS)), key=lambda i: abs(LEVELS[i] - level))
    return row.quantiles[index]


def time_plot(chapter: Chapter, classes: Mapping[str, str]) -> str:
    """Return p99 by the time of arrival, the times of trouble shaded."""
    rows = [row for row in chapter.rows if any(row.p99)]
    known = [[value for value in row.p99 if value] for row in rows]
    if not known:
        return ""
    lowest = min(min(values) for values in known)
    typical = min(sorted(values)[len(values) // 2] for values in known)
    highest = min(max(max(values) for values in known), CLIP * typical)
    scale = LogAxis(lowest, max(highest, 2.0 * lowest), 0.0, HEIGHT - TOP - BOTTOM)
    across = _Time(chapter, max(len(row.p99) for row in rows))
    out = across.frame(chapter)
    for value in scale.ticks:
        out += _across(HEIGHT - BOTTOM - scale.at(value), tick(value))
    for row in _painted(rows, classes):
        points = [
            (across.at(i + 0.5), HEIGHT - BOTTOM - min(scale.at(value), HEIGHT - TOP - BOTTOM))
            for i, value in enumerate(row.p99)
            if value
        ]
        out.append(_line(row.policy, classes, points))
    return _svg(out, f"{chapter.scenario.title}: p99 over time")


def errors_plot(chapter: Chapter, classes: Mapping[str, str]) -> str:
    """Return the share of requests lost by the time of arrival; empty if hardly any was."""
    rows = [row for row in chapter.rows if row.errors]
    most = max((max(row.errors) for row in rows), default=0.0)
    if most < 0.005:
        return ""
    across = _Time(chapter, max(len(row.errors) for row in rows))
    step = next(s for s in (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if most <= 5 * s)
    top = step * math.ceil(most / step)
    height = HEIGHT - TOP - BOTTOM
    out = across.frame(chapter)
    for i in range(round(top / step) + 1):
        out += _across(HEIGHT - BOTTOM - height * i * step / top, f"{100 * i * step:.3g} %")
    for row in _painted(rows, classes):
        points = [
            (across.at(i + 0.5), HEIGHT - BOTTOM - height * value / top)
            for i, value in enumerate(row.errors)
        ]
        out.append(_line(row.policy, classes, points))
    return _svg(out, f"{chapter.scenario.title}: share of requests lost over time")


class _Time:
    """The axis of time."""

    def __init__(self, chapter: Chapter, slices: int) -> None:
        self._slices = slices
        self._seconds = chapter.width * slices

    def at(self, index: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * index / self._slices

    def frame(self, chapter: Chapter) -> list[str]:
        """Return shading and the axis."""
        scenario = chapter.scenario
        spans = [(event.begin, event.end) for event in scenario.events]
        spans += [(surge.begin, surge.end) for surge in scenario.traffic.surges]
        out = []
        for begin, end in spans:
            x, width = self.at(begin * self._slices), (end - begin) * (WIDTH - LEFT - RIGHT)
            out.append(
                f'<rect class="trouble" x="{_n(x)}" y="{TOP}" width="{_n(max(width, 1.5))}" '
                f'height="{HEIGHT - TOP - BOTTOM}"/>'
            )
        step = _round_step(self._seconds / 5.0)
        for i in range(int(self._seconds / step + 1e-9) + 1):
            x = LEFT + (WIDTH - LEFT - RIGHT) * i * step / self._seconds
            out.append(_below(x, f"{i * step:g} s"))
        out.append(_label("time of arrival"))
        return out


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= least * 0.999)


def _painted(rows: Sequence[Row], classes: Mapping[str, str]) -> list[Row]:
    """Return the rows in the order they are painted: grey ones first, the oracle last."""
    order = {"rest": 0, "ink": 2}
    return sorted(rows, key=lambda row: order.get(classes.get(row.policy, "rest").split()[0], 1))


def _frame(axis: LogAxis, label: str) -> list[str]:
    out = []
    for value in axis.ticks:
        x = axis.at(value)
        out.append(f'<path class="grid" d="M{_n(x)} {TOP}V{HEIGHT - BOTTOM}"/>')
        out.append(_below(x, tick(value)))
    out.append(_label(label))
    return out


def _below(x: float, text: str) -> str:
    y = HEIGHT - BOTTOM + 17
    return f'<text x="{_n(x)}" y="{y}" text-anchor="middle">{text}</text>'


def _label(text: str) -> str:
    return f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{text}</text>'


def _across(y: float, label: str) -> list[str]:
    return [
        f'<path class="grid" d="M{LEFT} {_n(y)}H{WIDTH - RIGHT}"/>',
        f'<text x="{LEFT - 6}" y="{_n(y + 4)}" text-anchor="end">{label}</text>',
    ]


def _line(policy: str, classes: Mapping[str, str], points: Sequence[tuple[float, float]]) -> str:
    path = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
    kind = classes.get(policy, "rest")
    return f'<path class="line {kind}" d="M{path}"><title>{escape(policy)}</title></path>' * (
        len(points) > 1
    )


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _n(number: float) -> str:
    return f"{number:.1f}".rstrip("0").rstrip(".")
