"""What `explain` predicts beside what a run takes: core-seconds of the fused tier, without Spark, file to file.

    python -m jobs.bench.explain --scales 16 18 20 --runs 3

R-MAT graphs of 64 features are generated and prepared; models are formulas, so that torch is not
needed. Each is run once to compile, then RUNS times on one core, of which the least counts: what others do on the
machine only ever adds. Clocks are those of the process and its thread, not of the wall. The rates are in
pipeline/plan/seconds.py; a machine that is twice as fast shows 2 in every row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from jobs.bench.graph import Parameters, generate
from jobs.bench.measure import ROOT, machine, say
from jobs.bench.table import table
from pipeline.blocks.rows import LISTS
from pipeline.blocks.storage import read_block
from pipeline.formula import linear, relu, sigmoid
from pipeline.graph import Graph
from pipeline.layers import gat, gatv2, gcn, gin, sage
from pipeline.model import Model
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.seconds import READING, WRITING, core_seconds
from pipeline.prepare import prepare
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.result.output import OutputTable
from pipeline.result.written import PARQUET, Folder, write_block
from pipeline.run.fused import BlockSource, run_stored
from pipeline.run.task import opened_block, static_edges

IN = 64
Shapes = Mapping[str, Sequence[int]]


def _linear(name: str, out: int, width: int = IN) -> dict[str, Sequence[int]]:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def _attention(name: str, width: int, heads: int) -> tuple[Callable[..., Any], Shapes]:
    own = {"att_src": (1, heads, width // heads), "att_dst": (1, heads, width // heads)}
    if name == "gat":
        return lambda g, x, w: gat(g, x, w, heads=heads), {"lin.weight": (width, IN), **own}
    both = {**_linear("lin_l", width), **_linear("lin_r", width), "att": own["att_src"]}
    return lambda g, x, w: gatv2(g, x, w, heads=heads), both


def _gin(width: int) -> tuple[Callable[..., Any], Shapes]:
    return gin, {**_linear("nn.0", width), **_linear("nn.2", width, width)}


MODELS: dict[str, tuple[Callable[..., Any], Shapes]] = {
    "GraphSAGE 64→64→32": (
        lambda g, x, w: sage(g, relu(sage(g, x, w[0])), w[1]),
        {
            **_linear("0.lin_l", 64), "0.lin_r.weight": (64, IN),
            **_linear("1.lin_l", 32), "1.lin_r.weight": (32, 64),
        },
    ),
    "GCN 64→64→64": (
        lambda g, x, w: gcn(g, relu(gcn(g, x, w[0])), w[1]),
        {f"{n}.{name}": shape for n in (0, 1) for name, shape in {"lin.weight": (64, IN), "bias": (64,)}.items()},
    ),
    "GAT 64→4×16": _attention("gat", 64, 4),
    "GAT 64→8×16": _attention("gat", 128, 8),
    "GATv2 64→2×8": _attention("gatv2", 16, 2),
    "GATv2 64→4×32": _attention("gatv2", 128, 4),
    "GIN 64→16": _gin(16),
    "GIN 64→128": _gin(128),
    "gated 64→64": (
        lambda g, x, w: g.sum(sigmoid(g.dst(linear(x, w.q)) + g.src(linear(x, w.k))) * g.src(linear(x, w.v))),
        {f"{name}.weight": (64, IN) for name in "qkv"},
    ),
    "product per edge 64→32": (
        lambda g, x, w: g.max(relu(linear(g.src(x) - g.dst(x), w.a))),
        {"a.weight": (32, IN)},
    ),
    "median 64→16": (lambda g, x, w: g.median(g.src(linear(x, w.a))), {"a.weight": (16, IN)}),
    "no edges 64→256→256": (
        lambda g, x, w: linear(relu(linear(x, w.a)), w.b),
        {"a.weight": (256, IN), "b.weight": (256, 256)},
    ),
}  # fmt: skip


def build(name: str) -> Model:
    """A model with fixed random weights."""
    formula, shapes = MODELS[name]
    random = np.random.default_rng(1)
    return Model.from_formula(formula, {key: random.normal(0, 0.1, shapes[key]) for key in shapes}, {"nodes.x": IN})


@dataclass
class Found:
    """Of one model on one graph: core-seconds."""

    model: str
    scale: int
    predicted: dict[str, float]
    measured: dict[str, float]

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return sum(self.predicted.values()) / sum(self.measured.values())


def measure(name: str, scale: int, graph: PreparedGraph, runs: int, output: Path) -> Found:
    counts = Counts.of(graph.manifest)
    plan = choose_exchange(Plan.of(build(name)), counts)
    expected = core_seconds(plan, counts)
    predicted = {part: expected.pop(part, 0.0) for part in (READING, WRITING)}
    predicted["computing"] = sum(expected.values())
    seen = [run(plan, graph, output) for _ in range(runs + 1)][1:]
    best = min(seen, key=lambda one: sum(one.values()))
    say(f"scale {scale}: {name}: {sum(predicted.values()):.2f} predicted, {sum(best.values()):.2f} measured")
    return Found(name, scale, predicted, best)


def run(plan: Plan, graph: PreparedGraph, output: Path) -> dict[str, float]:
    """A run as a fused task does it, on one thread: core-seconds of each part."""
    table, edges = OutputTable.of(plan.program.outputs, graph.id_type, False), static_edges(plan.steps)
    spent = {READING: 0.0, WRITING: 0.0}

    def timed(part: str, work: Callable[..., Any], *given: Any) -> Any:
        started = time.thread_time()
        result = work(*given)
        spent[part] += time.thread_time() - started
        return result

    def finish(block: Any, outputs: Any) -> int:
        ids = next(iter(block.ids.values()))
        return write_block(Folder(str(output), str(output), PARQUET), block.index, table, table.rows([ids], outputs))

    source = BlockSource(
        graph.blocks,
        partial(timed, READING, partial(opened_block, graph.known, graph.folder)),
        partial(timed, READING, lambda index: read_block(graph.folder, index, LISTS, edges).sends),
    )
    output.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    for _ in run_stored(plan, source, partial(timed, WRITING, finish)):
        pass
    whole = time.process_time() - started
    shutil.rmtree(output)
    return {**spent, "computing": max(whole - sum(spent.values()), 0.0)}


def prepared(scale: int, given: argparse.Namespace) -> PreparedGraph:
    work = given.work.resolve()
    path = work / f"explain-scale{scale}-degree{given.degree}-blocks{given.blocks}"
    if not (path / "manifest.json").exists():
        tables = generate(Parameters(scale, given.degree, IN), work)
        graph = Graph.of_files(str(tables / "nodes.parquet"), str(tables / "edges.parquet"))
        assert graph is not None
        return prepare(graph, str(path), given.blocks)
    return open_graph(str(path))


def render(found: Sequence[Found], about: Mapping[str, Any]) -> str:
    parts = (READING, "computing", WRITING)
    rows = [
        [
            one.model,
            f"2^{one.scale}",
            *[f"{one.predicted[part]:.2f} / {one.measured[part]:.2f}" for part in parts],
            f"{sum(one.predicted.values()):.2f} / {sum(one.measured.values()):.2f}",
            f"{one.ratio:.2f}",
        ]
        for one in found
    ]
    within = {limit: sum(1 / limit <= one.ratio <= limit for one in found) for limit in (1.3, 1.5)}
    said = ", ".join(f"{count} of {len(found)} within a factor of {limit}" for limit, count in within.items())
    title = f"Core-seconds, predicted / measured. {about['cores']} cores of {about['cpu']}; commit {about['commit']}."
    head = ["model", "nodes", *parts, "all", "ratio"]
    return f"{title}\n\n{table(head, rows)}\n\n{said}; median ratio {median(one.ratio for one in found):.2f}.\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", type=int, nargs="+", default=(16, 18, 20), help="2 ** SCALE nodes each")
    parser.add_argument("--degree", type=int, default=16, help="edges per node (16)")
    parser.add_argument("--blocks", type=int, default=8, help="parts of a graph (8)")
    parser.add_argument("--runs", type=int, default=3, help="of which the least counts (3)")
    parser.add_argument("--only", default="", help="models whose name begins like this")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    given = parser.parse_args(arguments)
    found, about, output = [], machine(), given.work.resolve() / "explain-output"
    names = [name for name in MODELS if name.startswith(given.only)]
    if not names:
        parser.error(f"--only {given.only}: no model begins like this; there are {', '.join(MODELS)}")
    for scale in given.scales:
        graph = prepared(scale, given)
        found += [measure(name, scale, graph, given.runs, output) for name in names]
    rows = [{**asdict(one), "ratio": one.ratio} for one in found]
    (given.work / "explain.json").write_text(json.dumps({"machine": about, "found": rows}, indent=1) + "\n")
    (given.work / "explain.md").write_text(render(found, about))
    print(render(found, about))


if __name__ == "__main__":
    main()
