"""Computing alone: single layers, graphsweep on one core beside PyG on all cores, in one process and in turns.

    python -m jobs.bench.layers --scale 18 --runs 3

Ours is a run of all supersteps over 8 blocks without Spark and files; PyG's is one forward, with the faster of its two
forms of edges (as they come, or sorted by destination; with edge features as they come). Each output of ours is
compared with PyG's. Where several reductions share a pass over the edges, the whole run is timed against one with a
pass for each. Then the generated loops of GraphSAGE and GAT beside the same loops written by hand (hand.py), on
the same tiles.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.graph import Parameters, generate
from jobs.bench.hand import compare
from jobs.bench.measure import machine, say
from jobs.bench.pyg import positions, sorted_edges
from jobs.bench.table import table
from pipeline.blocks.block import Block
from pipeline.compiler import EdgePass
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.run.fused import run_fused

WIDTH, HEADS, EDGE_WIDTH = 64, 4, 8
TOLERANCE = 1e-4  # of the largest number


def layers(degrees: Any) -> dict[str, tuple[Any, bool]]:
    """Layer 64 → 64, and whether it reads edge features. `degrees`: histogram of in-degrees, which PNA wants."""
    import torch
    from torch import nn
    from torch_geometric import nn as pyg

    torch.manual_seed(0)

    def mlp() -> Any:
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))

    each = WIDTH // HEADS
    scalers = ["identity", "amplification", "attenuation"]
    made = {
        "GCN": (pyg.GCNConv(WIDTH, WIDTH), False),
        "GraphSAGE, mean": (pyg.SAGEConv(WIDTH, WIDTH), False),
        "GAT, 4 heads": (pyg.GATConv(WIDTH, each, HEADS), False),
        "GATv2, 4 heads": (pyg.GATv2Conv(WIDTH, each, HEADS), False),
        "GIN": (pyg.GINConv(mlp()), False),
        "GINE, edge features": (pyg.GINEConv(mlp(), edge_dim=EDGE_WIDTH), True),
        "TransformerConv, 4 heads, edge features": (pyg.TransformerConv(WIDTH, each, HEADS, edge_dim=EDGE_WIDTH), True),
        "PNA, 4 aggregators × 3 scalers": (
            pyg.PNAConv(WIDTH, WIDTH, ["mean", "min", "max", "std"], scalers, degrees), False,
        ),
        "SAGE, mean, max and std": (pyg.SAGEConv(WIDTH, WIDTH, ["mean", "max", "std"]), False),
    }  # fmt: skip
    return {name: (net.eval(), features) for name, (net, features) in made.items()}


@dataclass
class Inputs:
    """One graph in both forms."""

    x: Any
    edge_attr: Any
    edges: Mapping[str, Any]
    """How PyG's edges lie → (edge_index, edge_attr)."""
    blocks: list[Block]
    order: Any
    """Node of each row of the blocks, put one after the other."""


def load(directory: Path, blocks: int) -> Inputs:
    import torch

    nodes, edges = (pq.read_table(directory / f"{name}.parquet") for name in ("nodes", "edges"))
    x = torch.from_numpy(nodes["x"].combine_chunks().values.to_numpy().reshape(len(nodes), -1).copy())
    edge_index = positions(nodes["id"], edges)
    features = np.random.default_rng(1).standard_normal((len(edges), EDGE_WIDTH), np.float32)
    offsets = pa.array(np.arange(len(edges) + 1, dtype=np.int32) * EDGE_WIDTH)
    column = pa.ListArray.from_arrays(offsets, pa.array(features.reshape(-1)))
    made = blocks_from_tables(nodes, edges.append_column("edge_attr", column), blocks, "x", ["edge_attr"])
    ids = np.concatenate([next(iter(block.ids.values())).to_numpy() for block in made])
    place = np.argsort(ids)
    order = place[np.searchsorted(ids[place], nodes["id"].to_numpy())]
    forms = {"as they come": edge_index, "sorted": sorted_edges(edge_index, len(nodes))}
    return Inputs(x, torch.from_numpy(features), forms, made, order)


@dataclass
class Layer:
    """What was measured of one layer."""

    name: str
    supersteps: int
    ours: list[float]
    pyg: list[float]
    difference: float
    together: float | None = None
    """Seconds divided by those with a pass over the edges for each reduction, if there are several."""


def measure(name: str, net: Any, features: bool, inputs: Inputs, rounds: int) -> tuple[Layer, Plan]:
    from pipeline.pyg import import_module

    columns = {"edge_attr": "edges.edge_attr"} if features else {}
    widths = {"x": WIDTH, **({"edge_attr": EDGE_WIDTH} if features else {})}
    program, weights, _ = import_module(net, inputs=columns, features=widths)
    plan = Plan(*lower(program, weights))
    run_fused(plan, inputs.blocks)  # compiles
    forms = ["as they come"] if features else list(inputs.edges)
    form = min(forms, key=lambda form: _seconds(lambda: _forward(net, features, inputs, form))[0])
    found = Layer(name, len(plan.steps), [], [], 0.0)
    for _ in range(rounds):
        gc.collect()
        seconds, expected = _seconds(lambda: _forward(net, features, inputs, form))
        found.pyg.append(seconds)
        gc.collect()
        seconds, results = _seconds(lambda: run_fused(plan, inputs.blocks))
        found.ours.append(seconds)
        got = np.concatenate([next(iter(result.values())) for result in results])[inputs.order]
        largest = float(np.abs(expected).max())
        found.difference = max(found.difference, float(np.abs(got - expected).max()) / largest)
    found.together = _together(plan, inputs.blocks, rounds)
    if not found.difference <= TOLERANCE:
        raise SystemExit(f"{name} differs from PyG by {found.difference:g} of the largest number")
    say(f"{name}: {median(found.ours):.2f} s on one core; PyG {median(found.pyg):.2f} s ({form})")
    return found, plan


def _together(plan: Plan, blocks: list[Block], rounds: int) -> float | None:
    """Seconds of the plan, divided by those of the same plan with a pass for each reduction."""
    if not any(len(one.reductions) > 1 for step in plan.steps for phase in plan.passes(step) for one in phase):
        return None
    apart = Plan(plan.program, plan.weights, plan.pushes, plan.wire)
    for step in apart.steps:
        compiled = apart.compile(step)
        alone = [[EdgePass([compiled[value.id]]) for value in phase.reductions] for phase in step.phases]
        apart._passes[step.number] = alone
    run_fused(apart, blocks)  # compiles
    ratios = []
    for _ in range(rounds):
        seconds = []
        for each in (plan, apart):
            gc.collect()
            seconds.append(_seconds(lambda each=each: run_fused(each, blocks))[0])
        ratios.append(seconds[0] / seconds[1])
    return median(ratios)


def _forward(net: Any, features: bool, inputs: Inputs, form: str) -> Any:
    import torch

    with torch.no_grad():
        options = {"edge_attr": inputs.edge_attr} if features else {}
        return net(inputs.x, inputs.edges[form], **options).numpy()


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def render(found: list[Layer], loops: Mapping[str, float], parameters: Parameters) -> str:
    about = machine()
    rows = [
        [
            layer.name,
            str(layer.supersteps),
            f"{median(layer.ours):.2f}",
            f"{parameters.edges / median(layer.ours) / 1e6:.0f}",
            f"{median(layer.pyg):.2f}",
            f"{median(a / b for a, b in zip(layer.ours, layer.pyg, strict=True)):.2f}",
            f"{layer.difference:.0e}",
            f"{layer.together:.2f}" if layer.together else "",
        ]
        for layer in found
    ]
    head = [
        "layer, 64 → 64",
        "supersteps",
        "graphsweep, 1 core: s",
        "million edges/s",
        "PyG, all cores: s",
        "ratio",
        "error",
        "× a pass for each reduction",
    ]
    hand = [[name, f"{ratio:.2f}"] for name, ratio in loops.items()]
    return "\n\n".join(
        [
            f"{parameters.nodes:,} nodes, {parameters.edges:,} edges; {about['cores']} cores of {about['cpu']}; "
            f"commit {about['commit']}.",
            table(head, rows),
            table(["generated loop", "× the same loop by hand"], hand),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scale", type=int, default=18, help="2 ** SCALE nodes (18: PyG's tensors of edges × width fit)"
    )
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="layers whose name begins like this")
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    given = parser.parse_args()
    parameters = Parameters(given.scale)
    inputs = load(generate(parameters, given.work.resolve()), given.blocks)

    from torch_geometric.utils import degree

    degrees = degree(inputs.edges["as they come"][1], parameters.nodes).long().bincount()
    found, loops = [], {}
    for name, (net, features) in layers(degrees).items():
        if not name.startswith(given.only):
            continue
        layer, plan = measure(name, net, features, inputs, given.runs)
        found.append(layer)
        if name.startswith(("GraphSAGE", "GAT,")):
            loops[name] = compare(plan, inputs.blocks, given.runs)
    print(render(found, loops, parameters))


if __name__ == "__main__":
    main()
