"""A picture as a list of shapes, written as SVG without any package, or as PNG by matplotlib.

Both writers draw the same shapes at the same places, so a picture looks the same in either
format, and the SVG is the same bytes whatever is installed. Coordinates are pixels from the top
left corner.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TypeAlias
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Dot", "Line", "Rect", "Scene", "Text", "as_png", "as_svg"]

_ILLEGAL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Rect:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; ``dash`` is (on, off, …) in pixels, empty for a solid one."""

    points: tuple[tuple[float, float], ...]
    color: str
    width: float = 1.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Dot:
    """A disc; with ``ring``, white inside."""

    x: float
    y: float
    radius: float
    color: str
    ring: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; ``y`` is its baseline, ``anchor`` is ``start``, ``middle`` or ``end``."""

    x: float
    y: float
    text: str
    size: float = 13.0
    anchor: str = "start"
    color: str = "#222222"
    bold: bool = False


Shape: TypeAlias = Rect | Line | Dot | Text


@dataclass(slots=True)
class Scene:
    """Shapes on white, drawn in order.

    Attributes:
        width: Pixels.
        height: Pixels.
        title: For screen readers.
        shapes: What to draw.
    """

    width: int
    height: int
    title: str
    shapes: list[Shape] = field(default_factory=list)


def as_svg(scene: Scene) -> str:
    """Return the scene as a self-contained SVG document."""
    size = f'width="{scene.width}" height="{scene.height}"'
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label={_attribute(scene.title)}',
        f'{size} viewBox="0 0 {scene.width} {scene.height}" font-family={_attribute(FONT)}>',
        f"<title>{_text(scene.title)}</title>",
        f'<rect {size} fill="#ffffff"/>',
    ]
    out += [_element(shape) for shape in scene.shapes]
    out.append("</svg>\n")
    return "\n".join(out)


def _element(shape: Shape) -> str:
    match shape:
        case Rect(x, y, width, height, fill):
            return (
                f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" '
                f'fill="{fill}"/>'
            )
        case Line(points, color, width, dash):
            dashes = f' stroke-dasharray="{" ".join(map(_n, dash))}"' if dash else ""
            joined = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
            return (
                f'<polyline points="{joined}" fill="none" stroke="{color}" '
                f'stroke-width="{_n(width)}" stroke-linejoin="round"{dashes}/>'
            )
        case Dot(x, y, radius, color, ring):
            fill = "#ffffff" if ring else color
            return (
                f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{fill}" '
                f'stroke="{color}" stroke-width="2"/>'
            )
        case Text(x, y, text, size, anchor, color, bold):
            weight = ' font-weight="600"' if bold else ""
            return (
                f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" text-anchor="{anchor}" '
                f'fill="{color}"{weight}>{_text(text)}</text>'
            )


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _legal(text: str) -> str:
    """Return text without what XML forbids: control characters and lone surrogates."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)


def _text(text: str) -> str:
    return escape(_legal(text))


def _attribute(text: str) -> str:
    return quoteattr(_legal(text))


def as_png(scene: Scene) -> bytes:
    """Return the scene as a PNG of twice its size in pixels.

    Raises:
        ImportError: Without matplotlib (the extra ``plot``).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle, Rectangle

    # At 100 pixels an inch a pixel is 0.72 points, the unit of widths and sizes.
    figure = Figure(figsize=(scene.width / 100, scene.height / 100), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, scene.width)
    axes.set_ylim(scene.height, 0)
    axes.axis("off")
    for order, shape in enumerate(scene.shapes):
        match shape:
            case Rect(x, y, width, height, fill):
                axes.add_patch(
                    Rectangle((x, y), width, height, facecolor=fill, linewidth=0, zorder=order)
                )
            case Line(points, color, width, dash):
                # A dash is in multiples of the line's width here; a solid line is one long dash.
                style = (0.0, tuple(part / width for part in dash) or (1.0, 0.0))
                xs, ys = zip(*points, strict=True)
                axes.add_line(
                    Line2D(
                        xs, ys, color=color, linewidth=width * 0.72, linestyle=style, zorder=order
                    )
                )
            case Dot(x, y, radius, color, ring):
                axes.add_patch(
                    Circle(
                        (x, y),
                        radius,
                        facecolor="white" if ring else color,
                        edgecolor=color,
                        linewidth=2 * 0.72,
                        zorder=order,
                    )
                )
            case Text(x, y, text, size, anchor, color, bold):
                axes.text(
                    x,
                    y,
                    _legal(text),
                    fontsize=size * 0.68,  # DejaVu Sans runs wider than most system fonts
                    ha={"start": "left", "middle": "center", "end": "right"}[anchor],
                    va="baseline",
                    color=color,
                    fontweight="bold" if bold else "normal",
                    parse_math=False,
                    zorder=order,
                )
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=200, metadata={"Software": None})
    return out.getvalue()
