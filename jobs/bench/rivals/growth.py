"""How graphsweep's time grows with the graph, and with a hub: one command, one table, a plot and JSON beside it.

    python -m jobs.bench.rivals.growth --scales 16 18 20 22 --runs 3

For each size a graph without a hub and one in which a node is the destination of a share of all edges; for each graph
PyG, our console command on the raw tables, prepare and both tiers in turns, as in __main__.py. PyG's row at a size
that it cannot do says why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from jobs.bench.graph import Parameters
from jobs.bench.measure import ROOT, machine, say
from jobs.bench.rivals.__main__ import make_task, run_round
from jobs.bench.rivals.contender import Outcome
from jobs.bench.rivals.rivals_table import TITLES
from jobs.bench.table import cores, gigabytes, table

CONTENDERS = ("pyg", "raw", "prepare", "fused", "distributed")
PARTS = {
    "read": ("read",),
    "move": ("move", "map ids"),
    "compute": ("compute", "forward"),
    "write": ("write",),
}
"""What is shown → as ours and PyG call it. The rest of PyG's time is the start of its process."""


@dataclass
class Point:
    """One contender on one graph: medians over rounds."""

    name: str
    scale: int
    hub: float
    edges: int
    seconds: float | None
    core_seconds: float | None = None
    peak_bytes: float | None = None
    difference: float | None = None
    parts: Mapping[str, float] | None = None
    """Seconds, by the names of PARTS."""
    failed: str | None = None

    @property
    def per_edge(self) -> float | None:
        return None if self.seconds is None else self.seconds / self.edges


def measure(parameters: Parameters, given: argparse.Namespace) -> list[Point]:
    say(f"{parameters.nodes:,} nodes, {parameters.edges:,} edges, hub {parameters.hub:g}")
    task = make_task(parameters, given.work.resolve(), blocks=given.blocks, split=True)
    outcomes: list[Outcome] = []
    for round in range(1, given.runs + 1):
        lost = {outcome.name for outcome in outcomes if outcome.failed}
        outcomes += run_round(task, [name for name in given.contenders if name not in lost], round, given.limit)
    return [point(name, parameters, [one for one in outcomes if one.name == name]) for name in given.contenders]


def point(name: str, parameters: Parameters, outcomes: Sequence[Outcome]) -> Point:
    runs = [outcome.run for outcome in outcomes if outcome.run]
    failed = next((outcome.failed for outcome in outcomes if outcome.failed), None)
    found = Point(name, parameters.scale, parameters.hub, parameters.edges, None, failed=failed)
    if not runs:
        return found
    found.seconds = median(run.seconds for run in runs)
    found.core_seconds = median(map(cores, runs))
    found.peak_bytes = median(run.peak_bytes for run in runs)
    found.difference = max((run.max_difference for run in runs if run.max_difference is not None), default=None)
    if runs[0].parts:
        found.parts = {
            part: median(sum(run.parts.get(name, 0.0) for name in names) for run in runs)
            for part, names in PARTS.items()
        }
    return found


# ---- the table


HEAD = [
    "", "edges", "hub", "seconds", "seconds per 10⁹ edges", "× the smallest graph, per edge", "× without hub",
    "core-seconds", "× without hub", "peak memory", *PARTS, "difference", "",
]  # fmt: skip


def render(points: Sequence[Point], about: Mapping[str, Any]) -> str:
    at = {(one.name, one.scale, one.hub): one for one in points}
    smallest = min(one.scale for one in points)
    rows = []
    for one in sorted(points, key=lambda one: (CONTENDERS.index(one.name), one.hub, one.scale)):
        without = at[one.name, one.scale, 0.0]
        first = at[one.name, smallest, one.hub]
        hub = one.hub > 0
        rows.append(
            [
                TITLES[one.name],
                f"{one.edges:,}",
                f"{one.hub:.0%}" if hub else "",
                number(one.seconds),
                number(one.per_edge and one.per_edge * 1e9),
                ratio(one.per_edge, first.per_edge),
                ratio(one.seconds, without.seconds) if hub else "",
                number(one.core_seconds),
                ratio(one.core_seconds, without.core_seconds) if hub else "",
                gigabytes(one.peak_bytes) if one.peak_bytes else "",
                *[number(one.parts[part]) if one.parts else "" for part in PARTS],
                f"{one.difference:.0e}" if one.difference is not None else "",
                one.failed or "",
            ]
        )
    machine = about["machine"]
    title = (
        f"GraphSAGE (mean) 64→64→32, R-MAT graphs of 16 edges per node, {about['blocks']} blocks. {machine['cores']} "
        f"cores of {machine['cpu']}, {gigabytes(machine['memory_bytes'])}; commit {machine['commit']}."
    )
    return f"{title}\n\n{table(HEAD, rows)}\n"


def number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def ratio(value: float | None, other: float | None) -> str:
    return f"{value / other:.2f}" if value and other else ""


# ---- the command


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work = given.work.resolve()
    points: list[Point] = []
    about = {"blocks": given.blocks, "runs": given.runs, "limit": given.limit, "machine": machine()}
    for scale in sorted(given.scales):
        for hub in sorted({0.0, given.hub}):
            points += measure(Parameters(scale, seed=given.seed, hub=hub), given)
            # after each graph: what is there so far survives whatever comes
            rows = [asdict(one) for one in points]
            (work / "growth.json").write_text(json.dumps({**about, "points": rows}, indent=1) + "\n")
            (work / "growth.md").write_text(render(points, about))
    print((work / "growth.md").read_text())
    if given.plot:
        from jobs.bench.rivals.growth_plot import plot

        plot(points, work / "growth.png")
        say(f"plot: {work / 'growth.png'}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=int, nargs="+", default=(16, 18, 20, 22), help="2 ** SCALE nodes each")
    parser.add_argument("--hub", type=float, default=0.1, help="share of all edges that a hub has (0.1); 0: no hub")
    parser.add_argument("--blocks", type=int, default=8, help="parts of a graph (8)")
    parser.add_argument("--runs", type=int, default=3, help="rounds per graph (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the graphs (1)")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one contender in a round (900)")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--plot", action="store_true", help="growth.png; needs matplotlib")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
