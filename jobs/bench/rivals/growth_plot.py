"""What growth.py found, as a picture: seconds against edges, and the parts of the time.

Comes in: points. Goes out: a PNG file. Needs matplotlib, which nothing else here does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.bench.rivals.rivals_table import TITLES

if TYPE_CHECKING:
    from jobs.bench.rivals.growth import Point


def plot(points: Sequence[Point], path: Path) -> None:
    """SystemExit, saying what to install, without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit("a plot needs matplotlib: pip install matplotlib; the figures are written already") from None
    figure = Figure(figsize=(13, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    growth(left, points)
    shares(right, points)
    figure.savefig(path, dpi=120)


def growth(axes: Any, points: Sequence[Point]) -> None:
    """A line per contender; dashed with a hub."""
    for number, name in enumerate(dict.fromkeys(one.name for one in points)):
        for hub in sorted({one.hub for one in points}):
            line = [one for one in points if (one.name, one.hub) == (name, hub) and one.seconds is not None]
            label = TITLES[name] + (f", {hub:.0%} of edges at one node" if hub else "")
            style = {"color": f"C{number}", "linestyle": "--" if hub else "-", "marker": "o", "label": label}
            axes.plot([one.edges for one in line], [one.seconds for one in line], **style)
    axes.set(xscale="log", yscale="log", xlabel="edges", ylabel="seconds", title="Growth")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def shares(axes: Any, points: Sequence[Point]) -> None:
    """A bar per contender at the two largest sizes, without a hub: small graphs are all start of tasks and processes.

    What is no part of a bar is the start of a process.
    """
    largest = sorted({one.scale for one in points})[-2:]
    bars = [one for one in points if one.parts and not one.hub and one.scale in largest]
    labels = [f"{one.name}\n2^{one.scale}" for one in bars]
    bottom = [0.0] * len(bars)
    for part in bars[0].parts or () if bars else ():
        heights = [1e9 * (one.parts or {})[part] / one.edges for one in bars]
        axes.bar(labels, heights, bottom=bottom, label=part)
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    axes.set(ylabel="seconds per 10⁹ edges", title="Read, move, compute, write")
    axes.tick_params(axis="x", labelsize="small")
    axes.legend(fontsize="small")
