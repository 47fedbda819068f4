"""The picture of a comparison: latencies, evenness, and the tail, one colour a policy.

Above, one row a policy: the span from p50 to p99.9 on a logarithmic axis, and beside it how much
the busiest endpoint got. Below, the share of requests slower than each latency, both axes
logarithmic: where the lines part is where policies differ. The rows are the legend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from balancers.simulation.comparison import Comparison, Result
from balancers.simulation.report import curve, seconds_shown, shown
from balancers.simulation.scene import Dot, Line, Rect, Scene, Text

__all__ = ["LogAxis", "draw", "tick"]

WIDTH = 960
MARGIN = 24
ROW = 30

INK, SOFT, GRID = "#222222", "#5f6368", "#e3e5e8"
# Okabe and Ito's palette, told apart by most colour-blind readers, without its yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES: tuple[tuple[float, ...], ...] = ((), (7.0, 3.0), (2.0, 3.0))


def draw(comparison: Comparison) -> Scene:
    """Return the scene of a comparison.

    Runtime complexity: O(policies · points of a curve).
    """
    ended = [r for r in comparison.results if r.trouble is None]
    shown_rows = [r for r in ended if r.measures["p50"] is not None]
    scene = Scene(WIDTH, 0, f"Comparison of {len(ended)} policies: {comparison.title}")
    add = scene.shapes.append
    add(Text(MARGIN, 38, _short(comparison.title, 96), size=17, bold=True))
    setting = f"{comparison.setting.get('title', '')}, offered load {comparison.load:.2f}"
    for line, text in enumerate((comparison.note, setting.lstrip(", "))):
        add(Text(MARGIN, 60 + 19 * line, _short(text[:1].upper() + text[1:], 120), color=SOFT))
    y = 118.0
    if shown_rows:
        y = _rows(scene, y, ended)
        y = _tail(scene, y + 44, ended)
    else:
        add(Text(MARGIN, y, "No request was answered."))
    for result in comparison.results:
        if result.trouble is not None:
            y += 20
            text = f"{result.name} did not finish: {result.trouble}"
            add(Text(MARGIN, y + 12, _short(text, 125), size=12, color=SOFT))
    scene.height = round(y + 32)
    return scene


def _style(index: int) -> tuple[str, tuple[float, ...]]:
    return COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _rows(scene: Scene, top: float, results: Sequence[Result]) -> float:
    """Draw the upper panels; return where they end."""
    add = scene.shapes.append
    name_width = min(250.0, 48.0 + 7.4 * max(len(result.name) for result in results))
    left, bars = MARGIN + name_width, 700.0
    right, end = bars - 40.0, WIDTH - MARGIN - 56.0
    bottom = top + 34 + ROW * len(results)

    add(Text(left, top, "Latency", bold=True))
    for x, label, radius, ring in ((80.0, "p50", 4.5, True), (140.0, "p99", 4.5, False)):
        add(Dot(left + x, top - 4, radius, INK, ring))
        add(Text(left + x + 10, top, label, size=12, color=SOFT))
    add(Line(((left + 200, top - 10), (left + 200, top + 2)), INK, 2))
    add(Text(left + 208, top, "p99.9", size=12, color=SOFT))
    add(Text(bars, top, "Busiest endpoint / mean", bold=True))

    spans = [
        value
        for result in results
        for name in ("p50", "p99", "p999")
        if (value := result.measures[name])
    ]
    axis = LogAxis(min(spans, default=0.001), max(spans, default=1.0), left, right)
    for value in axis.ticks:
        x = axis.at(value)
        add(Line(((x, top + 16), (x, bottom - 8)), GRID))
        add(Text(x, bottom + 8, tick(value), size=12, anchor="middle", color=SOFT))

    ratios = [result.measures["busiest_to_mean"] or 0.0 for result in results]
    widest = max(1.0, *ratios)
    scale = (end - bars) / widest
    for index, result in enumerate(results):
        color, dash = _style(index)
        y = top + 34 + ROW * index
        add(Line(((MARGIN, y), (MARGIN + 24, y)), color, 3, dash))
        add(Text(MARGIN + 34, y + 4.5, _short(result.name, 30)))
        p50, p99, p999 = (result.measures[name] for name in ("p50", "p99", "p999"))
        if p50 and p99 and p999:
            add(Line(((axis.at(p50), y), (axis.at(p999), y)), color, 2))
            add(Line(((axis.at(p999), y - 6), (axis.at(p999), y + 6)), color, 2))
            add(Dot(axis.at(p50), y, 4.5, color, ring=True))
            add(Dot(axis.at(p99), y, 4.5, color))
        else:
            add(Text(left, y + 4.5, "no request was answered", size=12, color=SOFT))
        ratio = ratios[index]
        if ratio:
            add(Rect(bars, y - 8, ratio * scale, 16, color))
            add(Text(bars + ratio * scale + 7, y + 4.5, shown(ratio, "ratio"), size=12))
    even = bars + scale
    add(Line(((even, top + 16), (even, bottom - 8)), INK, 1, (3.0, 3.0)))
    add(Text(even, bottom + 8, "1 = even", size=12, anchor="middle", color=SOFT))
    return bottom + 8


def _tail(scene: Scene, top: float, results: Sequence[Result]) -> float:
    """Draw the tails; return where the panel ends."""
    add = scene.shapes.append
    left, right, bottom = MARGIN + 52.0, WIDTH - MARGIN - 16.0, top + 290.0
    add(Text(MARGIN, top, "Share of requests slower than …", bold=True))
    curves = [curve(result.steps) for result in results]
    # To the left of the fastest policy's 5th percentile all lines lie at 100 %.
    starts = [value for points in curves for value, share in points if share <= 0.95 and value > 0]
    if not starts:
        starts = [value for points in curves for value, _ in points if value > 0] or [0.001]
    ends = [points[-1][0] for points in curves if points]
    axis = LogAxis(min(starts), max([*ends, min(starts)]), left, right)
    most = max((result.steps[-1][1] for result in results if result.steps), default=10)
    decades = min(6, max(1, math.ceil(math.log10(most))))
    height = bottom - (top + 18)

    def level(share: float) -> float:
        return top + 18 - math.log10(max(share, 10.0**-decades)) / decades * height

    for value in axis.ticks:
        x = axis.at(value)
        add(Line(((x, top + 18), (x, bottom)), GRID))
        add(Text(x, bottom + 18, tick(value), size=12, anchor="middle", color=SOFT))
    for decade in range(decades + 1):
        y = level(10.0**-decade)
        add(Line(((left, y), (right, y)), GRID))
        label = f"{100.0 * 10.0**-decade:.{max(0, decade - 2)}f} %"
        add(Text(left - 8, y + 4.5, label, size=12, anchor="end", color=SOFT))
    for index, points in enumerate(curves):
        color, dash = _style(index)
        line = [
            (axis.at(value), level(share))
            for value, share in points
            if value >= axis.low and share > 0.0
        ]
        if line:
            if line[-1][1] < bottom - 2:  # the slowest request ends the line
                line.append((axis.at(points[-1][0]), bottom))
            add(Line(((axis.left, line[0][1]), *line), color, 2, dash))
    add(Text(right, bottom + 38, "latency", size=12, anchor="end", color=SOFT))
    return bottom + 38


def tick(value: float) -> str:
    """Return a round latency without needless digits."""
    number, name = seconds_shown(value)
    return f"{number:,.6g} {name}"


class LogAxis:
    """A logarithmic axis from just below ``low`` to just above ``high``, in pixels."""

    __slots__ = ("_scale", "high", "left", "low", "ticks")

    def __init__(self, low: float, high: float, left: float, right: float) -> None:
        if high < low * 2.0:  # a hair's breadth of data must not fill the whole panel
            middle = math.sqrt(low * high)
            low, high = middle / 1.5, middle * 1.5
        pad = (high / low) ** 0.04
        top = high * pad
        self.low: float = low / pad
        self.high: float = top
        self.left: float = left
        self._scale = (right - left) / math.log(top / self.low)
        decades = math.log10(top / self.low)
        steps = (1,) if decades > 3.0 else (1, 3) if decades > 2.0 else (1, 2, 5)
        every = max(1, math.ceil(decades / 8.0))
        first = math.floor(math.log10(self.low))
        last = math.ceil(math.log10(top))
        self.ticks: list[float] = [
            value
            for power in range(first, last + 1)
            if power % every == 0
            for step in steps
            if self.low <= (value := step * 10.0**power) <= top
        ]

    def at(self, value: float) -> float:
        """Return where a value stands, in pixels; what is below the axis stands at its end."""
        return self.left + self._scale * math.log(max(value, self.low) / self.low)
