"""Draw the answer: every airport on the map, in the colour of the region where the model puts it.

Comes in: scores (a Parquet file or directory with `id` and the four probabilities, in any of the forms that
`probabilities` lists), and this directory's tables. Goes out: one picture.

    python data/flights/map.py SCORES OUT.png
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from PIL import Image

HERE = Path(__file__).parent
COLOURS = {  # Okabe and Ito's, told apart by colour-blind readers too; in the order of the model's outputs
    "West": "#0072B2",
    "Midwest": "#E69F00",
    "South": "#009E73",
    "Northeast": "#CC79A7",
}
INK, QUIET = "#222222", "#6b6b6b"

Projection = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def albers(south: float, north: float, latitude: float, longitude: float) -> Projection:
    """Albers' equal-area conic projection with two standard parallels, on the unit sphere."""
    first, second, origin = np.radians([south, north, latitude])
    n = (np.sin(first) + np.sin(second)) / 2
    c = np.cos(first) ** 2 + 2 * n * np.sin(first)
    rho_origin = np.sqrt(c - 2 * n * np.sin(origin)) / n

    def project(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        east = (np.asarray(lon, float) - longitude + 180) % 360 - 180
        rho = np.sqrt(np.maximum(c - 2 * n * np.sin(np.radians(lat)), 0)) / n
        theta = n * np.radians(east)
        return rho * np.sin(theta), rho_origin - rho * np.cos(theta)

    return project


# name → (projection, west, east, south, north, place in the figure)
FRAMES: dict[str, tuple[Projection, float, float, float, float, tuple[float, float, float, float]]] = {
    "": (albers(29.5, 45.5, 37.5, -96), -125.5, -66.2, 24.2, 49.8, (0.01, 0.055, 0.98, 0.80)),
    "Alaska": (albers(55, 65, 50, -154), -180.5, -128, 51.0, 71.8, (0.012, 0.085, 0.20, 0.20)),
    "Hawaii": (albers(8, 18, 20, -157), -160.6, -154.5, 18.6, 22.5, (0.215, 0.085, 0.12, 0.12)),
}


def probabilities(path: Path) -> pd.DataFrame:
    """id → one column for each region, from a list column (`out`, `probabilities`, …) or from one column per region."""
    scores = pd.read_parquet(path).set_index("id")
    if set(COLOURS) <= set(scores):
        return scores[list(COLOURS)]
    for name in scores:
        if np.ndim(scores[name].iloc[0]) == 1 and len(scores[name].iloc[0]) == len(COLOURS):
            return pd.DataFrame(np.stack(scores[name]), index=scores.index, columns=list(COLOURS))
    raise SystemExit(
        f"{path} has columns {', '.join(scores)}; expected an array of {len(COLOURS)} probabilities, "
        f"or the columns {', '.join(COLOURS)}"
    )


def airports(path: Path) -> pd.DataFrame:
    """The airports which have routes, with the predicted region and its probability."""
    nodes = pd.read_parquet(HERE / "nodes.parquet").set_index("id")
    scores = probabilities(path).reindex(nodes.index)
    if missing := int(scores.isna().any(axis=1).sum()):
        raise SystemExit(f"{path} has no scores for {missing} of the {len(nodes)} airports")
    nodes["predicted"], nodes["probability"] = scores.idxmax(axis=1), scores.max(axis=1)
    return nodes[nodes.routes > 0]


def faded(colour: str, strength: np.ndarray) -> np.ndarray:
    """The colour, mixed with white where the strength is low: one row of RGB for each strength."""
    return 1 - strength[:, None] * (1 - np.array(to_rgb(colour)))


def draw_land(axes: Axes, project: Projection) -> None:
    """The states, tinted by the region where they really are."""
    outlines = pd.read_parquet(HERE / "outlines.parquet")
    for (_, region, _), ring in outlines.groupby(["state", "region", "ring"]):
        tint = faded(COLOURS[region], np.array([0.13]))[0]
        axes.fill(*project(ring.longitude, ring.latitude), facecolor=tint, edgecolor="white", linewidth=0.9, zorder=1)


def draw_routes(axes: Axes, project: Projection, table: pd.DataFrame) -> None:
    """One faint line for each pair of airports in the table, however many carriers and directions it has."""
    edges = pd.read_parquet(HERE / "edges.parquet")
    edges = edges[edges.src.isin(table.index) & edges.dst.isin(table.index)]
    pairs = pd.DataFrame(np.sort(edges[["src", "dst"]].to_numpy(str), axis=1)).drop_duplicates()
    x, y = project(table.longitude, table.latitude)
    place = pd.DataFrame({"x": x, "y": y}, index=table.index)
    lines = np.stack([place.loc[pairs[0]], place.loc[pairs[1]]], axis=1)
    axes.add_collection(LineCollection(lines, colors=INK, linewidths=0.4, alpha=0.06, zorder=2))


def draw_airports(axes: Axes, project: Projection, table: pd.DataFrame) -> None:
    """Held-out airports large, the others small; wrong ones among the held-out in a black ring."""
    for held_out, size in ((False, 16), (True, 74)):
        shown = table[(table.split == "test") == held_out].sort_values("probability")
        for region, colour in COLOURS.items():
            some = shown[shown.predicted == region]
            wrong = (some.region != some.predicted) & held_out
            axes.scatter(
                *project(some.longitude, some.latitude),
                s=size,
                c=faded(colour, np.clip((some.probability.to_numpy() - 0.25) / 0.6, 0.15, 1)),
                edgecolors=np.where(wrong, INK, colour),
                linewidths=np.where(wrong, 1.9, 0.8 if held_out else 0.5),
                zorder=4 if held_out else 3,
            )


def draw_frame(figure: plt.Figure, name: str, table: pd.DataFrame) -> None:
    project, west, east, south, north, place = FRAMES[name]
    axes = figure.add_axes(place)
    draw_land(axes, project)
    if not name:
        draw_routes(axes, project, table[table.longitude.between(west, east) & table.latitude.between(south, north)])
    draw_airports(axes, project, table)
    x, y = project(*(np.array(v) for v in ([west, (west + east) / 2, east] * 2, [south] * 3 + [north] * 3)))
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if name:
        axes.text(0, 1, name, fontsize=9, color=QUIET, transform=axes.transAxes)


def draw_legend(figure: plt.Figure, wrong: int) -> None:
    def dot(colour: str, label: str, size: float = 9, edge: str | None = None) -> Line2D:
        edge_width = 1.9 if edge == INK else 0.8
        look = {"markerfacecolor": colour, "markeredgecolor": edge or colour, "markeredgewidth": edge_width}
        return Line2D([], [], linestyle="", marker="o", markersize=size, label=label, **look)

    grey = "#8a8a8a"
    regions = [dot(colour, region) for region, colour in COLOURS.items()]
    kinds = [
        dot(grey, "held out"),
        dot(grey, "seen in training", 4.2),
        dot("#e3e3e3", "unsure", edge=grey),
        dot("white", f"held out and wrong ({wrong})", edge=INK),
    ]
    style = {"frameon": False, "ncols": 4, "fontsize": 10, "handletextpad": 0.2, "columnspacing": 1.3}
    figure.legend(handles=regions, loc="upper left", bbox_to_anchor=(0.012, 0.893), labelcolor=INK, **style)
    figure.legend(handles=kinds, loc="upper right", bbox_to_anchor=(0.99, 0.893), labelcolor=INK, **style)


def main(scores: Path, picture: Path) -> None:
    table = airports(scores)
    tested = table[table.split == "test"]
    right = tested.region == tested.predicted
    plain = tested.region.value_counts(normalize=True).max()
    figure = plt.figure(figsize=(12, 7.9), dpi=125, facecolor="white")
    for name in FRAMES:
        draw_frame(figure, name, table)
    figure.text(
        0.018,
        0.945,
        "In which part of the country is this airport? Ask its routes",
        fontsize=20,
        weight="bold",
        color=INK,
    )
    figure.text(
        0.018,
        0.908,
        f"A graph neural network that sees no coordinates puts {right.mean():.0%} of {len(tested)} held-out airports "
        f"into the right US Census region (the commonest answer: {plain:.0%}).",
        fontsize=10.2,
        color=QUIET,
    )
    draw_legend(figure, int((~right).sum()))
    figure.text(
        0.018,
        0.016,
        "Land: the true region. Routes: July 2026, US Bureau of Transportation Statistics. Airports: OurAirports. "
        "Outlines: US Census Bureau.\n"
        "Not shown: airports without routes, Puerto Rico, US Virgin Islands, Guam, Saipan.",
        fontsize=8,
        color=QUIET,
    )
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png")
    plt.close(figure)
    coarse = np.round(np.asarray(Image.open(pixels).convert("RGB")) / 5) * 5  # 52 levels: half of the bytes
    Image.fromarray(coarse.astype(np.uint8)).save(picture, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
