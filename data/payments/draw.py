"""Draw the accounts around a suspicious one: who shares devices with it, and where its money goes.

Comes in: scores (id, probability), the tables of generate.py, an account. Goes out: a picture.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from generate import PAYS, USES
from matplotlib.colors import to_rgb

CALM, ALARM, INK, QUIET = "#0072B2", "#D55E00", "#222222", "#8a8a8a"  # Okabe and Ito's
MOST = 24  # accounts in a picture


def neighbourhood(edges: dict[tuple[str, str, str], pd.DataFrame], account: str) -> list[str]:
    """The account, those that log in from the same devices, and those that it pays or is paid by; nearest first."""
    uses, pays = edges[USES], edges[PAYS]
    devices = uses.dst[uses.src == account]
    together = uses.src[uses.dst.isin(devices)]
    money = pd.concat([pays.dst[pays.src == account], pays.src[pays.dst == account]])
    return list(dict.fromkeys([account, *together, *money]))[:MOST]


def picture(
    scores: pd.Series, edges: dict[tuple[str, str, str], pd.DataFrame], account: str, fraud: set[str], path: Path
) -> None:
    """`scores`: id → probability. `fraud`: the accounts that are really in a ring, told by a black ring."""
    shown = neighbourhood(edges, account)
    score = scores.reindex(shown).to_numpy()
    angle = np.linspace(0, 2 * np.pi, len(shown), endpoint=False)
    radius = 1.25 - 0.85 * score  # the more suspicious, the nearer to the middle
    place = {name: (r * np.cos(a), r * np.sin(a)) for name, r, a in zip(shown, radius, angle, strict=True)}
    figure, axes = plt.subplots(figsize=(8, 8), dpi=110)
    pays = edges[PAYS][edges[PAYS].src.isin(shown) & edges[PAYS].dst.isin(shown)]
    for payer, payee, amount in zip(pays.src, pays.dst, pays.amount, strict=True):
        look = {"arrowstyle": "-|>", "color": INK, "alpha": 0.35, "linewidth": 0.4 + np.log10(1 + amount) / 2}
        axes.annotate("", place[payee], place[payer], arrowprops={**look, "connectionstyle": "arc3,rad=0.12"})
    uses = edges[USES][edges[USES].src.isin(shown)]
    for _, users in uses.groupby("dst"):
        points = np.array([place[name] for name in users.src])
        if len(points) > 1:
            axes.plot(points[:, 0], points[:, 1], color="#009E73", linewidth=3, alpha=0.35, zorder=1)
    for name, value in zip(shown, score, strict=True):
        axes.scatter(
            *place[name],
            s=160 if name != account else 380,
            color=[value * np.array(to_rgb(ALARM)) + (1 - value) * np.array(to_rgb(CALM))],
            edgecolors=INK if name in fraud else "white",
            linewidths=2.2 if name in fraud else 0.8,
            zorder=3,
        )
        axes.annotate(
            name, place[name], xytext=(0, 11), textcoords="offset points", ha="center", fontsize=7, color=QUIET
        )
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(f"{account} and those around it", loc="left", fontsize=14, weight="bold", color=INK)
    note = (
        "orange: suspicious, near the middle · black ring: really in a ring of fraudsters\n"
        "arrows: payments · green: a device in common"
    )
    axes.text(0, -0.02, note, transform=axes.transAxes, fontsize=8.5, color=QUIET, va="top")
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)
