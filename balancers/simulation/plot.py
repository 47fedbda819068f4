"""``--plot``: which format, and whether it can be had here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import PurePath

from balancers.simulation.chart import draw
from balancers.simulation.comparison import Comparison
from balancers.simulation.scene import as_png, as_svg

__all__ = ["check", "render"]


def check(path: str) -> None:
    """Say early whether a plot of that name can be written; ``-`` is an SVG.

    Raises:
        ValueError: If the ending is neither ``.svg`` nor ``.png``, or PNG lacks matplotlib.
    """
    if path == "-":
        return
    ending = PurePath(path).suffix.lower()
    if ending not in (".svg", ".png"):
        raise ValueError(f"a plot is .svg or .png, not {path!r}")
    if ending == ".png" and find_spec("matplotlib") is None:
        raise ValueError(
            "a PNG plot needs matplotlib (pip install 'balancers[plot]'); an SVG needs nothing"
        )


def render(comparison: Comparison, path: str) -> str | bytes:
    """Return the plot in the format its path asks for."""
    scene = draw(comparison)
    if path != "-" and PurePath(path).suffix.lower() == ".png":
        return as_png(scene)
    return as_svg(scene)
