"""Plots of a page, as SVG: bars, and nothing of the user's in them: names stand beside a plot, as text of the page.

Comes in: counts. Goes out: SVG, the same for the same counts. Knows nothing of what is counted.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BARS, SECOND = "#24292f", "#3b6ea8", "#d9822b"
SMALL = (2.6, 1.15)  # inches
WIDE = (6.4, 1.9)
FIXED: Any = {"svg.hashsalt": "graphsweep", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 7}
"""Names inside are the same in each drawing; letters stay letters."""


def histogram(counts: Sequence[int], low: float, high: float) -> str:
    """Bars of equal width from `low` to `high`."""
    wide = (high - low) / len(counts) or 1.0

    def draw(axes: Axes) -> None:
        axes.bar([low + wide * at for at in range(len(counts))], counts, wide, align="edge", color=BARS)
        axes.set_yticks([])
        axes.set_xticks([low, high] if high > low else [low])
        axes.set_xticklabels([f"{tick:.4g}" for tick in axes.get_xticks()])

    return _svg(SMALL, draw)


def labelled(counts: Sequence[float], labels: Sequence[str], logarithmic: bool = False) -> str:
    """A bar for each label of ours, and its count above it."""

    def draw(axes: Axes) -> None:
        axes.bar(range(len(counts)), counts, 0.8, color=BARS)
        axes.set_xticks(range(len(labels)))
        axes.set_xticklabels(
            labels, rotation=45 if len(labels) > 10 else 0, ha="right" if len(labels) > 10 else "center"
        )
        if logarithmic and any(counts):
            axes.set_yscale("log", nonpositive="clip")
            axes.set_ylim(0.5, None)

    return _svg(WIDE, draw)


def many(counts: Sequence[float], middle: float) -> str:
    """A bar for each of many things in their order, and a line at the one in the middle."""

    def draw(axes: Axes) -> None:
        axes.bar(range(len(counts)), counts, 1.0 if len(counts) > 60 else 0.8, color=BARS)
        axes.axhline(middle, color=SECOND, linewidth=1)
        axes.set_xlim(-0.6, len(counts) - 0.4)

    return _svg(WIDE, draw)


def pairs(first: Sequence[float], second: Sequence[float], labels: Sequence[str]) -> str:
    """Two bars for each label: the first and the second."""

    def draw(axes: Axes) -> None:
        at = range(len(labels))
        axes.bar([x - 0.2 for x in at], first, 0.4, color=BARS)
        axes.bar([x + 0.2 for x in at], second, 0.4, color=SECOND)
        axes.set_xticks(list(at))
        axes.set_xticklabels(labels)

    return _svg(WIDE, draw)


def _svg(inches: tuple[float, float], draw: Any) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(FIXED):
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(colors=INK, length=2)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()
