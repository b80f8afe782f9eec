"""Draw an airline's network, and where the model would have it fly next.

Comes in: how well each airport fits the carrier, and the airports that it serves. Goes out: a picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from map import FRAMES, HERE, INK, QUIET, plt

SERVED, NEXT, LAND = "#0072B2", "#D55E00", "#eceae4"


def picture(carrier: str, fits: pd.Series, served: set[str], path: Path, most: int = 8) -> pd.DataFrame:
    """`fits`: airport → how well. → the `most` airports that fit best among those that the carrier does not serve."""
    airports = pd.read_parquet(HERE / "nodes.parquet").set_index("id")
    airports = airports[airports.routes > 0].assign(fits=fits)
    chosen = airports[~airports.index.isin(served)].nlargest(most, "fits")
    project, west, east, south, north, _ = FRAMES[""]
    figure, axes = plt.subplots(figsize=(11, 7), dpi=110)
    for _, ring in pd.read_parquet(HERE / "outlines.parquet").groupby(["state", "ring"]):
        axes.fill(*project(ring.longitude, ring.latitude), facecolor=LAND, edgecolor="white", linewidth=0.9, zorder=1)
    seen = airports[airports.longitude.between(west, east) & airports.latitude.between(south, north)]
    own = seen[seen.index.isin(served)]
    axes.scatter(*project(seen.longitude, seen.latitude), s=5, color="#b8b5ac", zorder=2)
    axes.scatter(*project(own.longitude, own.latitude), s=34, color=SERVED, zorder=3)
    shown = chosen[chosen.index.isin(seen.index)]
    axes.scatter(*project(shown.longitude, shown.latitude), s=110, color=NEXT, edgecolors=INK, zorder=4)
    for place, x, y in zip(shown.index, *project(shown.longitude, shown.latitude), strict=True):
        axes.annotate(place, (x, y), xytext=(0, 9), textcoords="offset points", ha="center", weight="bold", color=INK)
    x, y = project(*(np.array(v) for v in ([west, (west + east) / 2, east] * 2, [south] * 3 + [north] * 3)))
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(f"Where would {carrier} fly next?", loc="left", fontsize=16, weight="bold", color=INK)
    note = "blue: airports that it serves · orange: the others that fit best · grey: all with routes in July 2026"
    axes.text(0, -0.02, note, transform=axes.transAxes, fontsize=9, color=QUIET, va="top")
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)
    return chosen[["name", "city", "state", "fits"]]
