"""How far the compiled float32 program is from a module's own float64 numbers, beside how far PyG's float32 is.

The witness is PyTorch Geometric; of pipeline there is only what is measured: import, plan, blocks, compiled loops.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import torch

from pipeline.blocks.block import Block
from pipeline.formula.program import Program
from pipeline.lowering import rewrites as rules
from pipeline.lowering.levels import levels
from pipeline.lowering.lower import lower
from pipeline.lowering.rewriting import always
from pipeline.plan.plan import Plan
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.run.fused import run_fused
from tests.pyg.graphs import column, run

BLOCKS = (1, 3, 8)
HUB = 10_000  # edges into one node of the first graph
ALLOWED = 4  # times PyG's own float32 error; or FLOOR of the largest number
FLOOR = 1e-6


@dataclass(frozen=True)
class Accuracy:
    """Largest errors over all graphs and block counts, as shares of the largest number."""

    ours: float
    pyg: float

    @property
    def good(self) -> bool:
        return self.ours <= max(ALLOWED * self.pyg, FLOOR)


@dataclass(frozen=True)
class Graph:
    nodes: int
    src: np.ndarray
    dst: np.ndarray


@cache
def graphs() -> list[Graph]:
    """Three seeds: a hub with 10 000 parallel and other in-edges, a dense graph with self-loops, a sparse one."""
    made = []
    for seed, (nodes, edges) in enumerate(((600, 2000), (90, 1500), (400, 500))):
        rng = np.random.default_rng(seed)
        src, dst = rng.integers(0, nodes - 5, (2, edges))  # the last five have no edge
        if seed == 0:
            src, dst = np.append(src, rng.integers(0, nodes, HUB)), np.append(dst, np.zeros(HUB, np.int64))
        # parallel self-loops: PyG keeps one of their values by the order of the edges
        loop = src == dst
        first = np.zeros(len(src), bool)
        first[np.unique(np.where(loop, src, -1 - np.arange(len(src))), return_index=True)[1]] = True
        made.append(Graph(nodes, src[first | ~loop], dst[first | ~loop]))
    return made


def accuracy(net: torch.nn.Module, program: Program, weights: dict[str, np.ndarray], x=16, nodes=None, **edges):
    """Runs both on every graph. `edges`, and `nodes` beside x: argument → shape of a row."""
    plan = Plan(*lower(program, weights))
    ours = theirs = 0.0
    for seed, graph in enumerate(graphs()):
        rng = np.random.default_rng(seed)
        features = column(rng, graph.nodes, x).astype(np.float32)
        values = _as({key: column(rng, len(graph.src), shape) for key, shape in edges.items()}, np.float32)
        more = _as({key: column(rng, graph.nodes, shape) for key, shape in (nodes or {}).items()}, np.float32)
        given = {**values, **more}
        expected = run(net, features.astype(np.float64), graph.src, graph.dst, _as(given, np.float64))
        single = run(net, features, graph.src, graph.dst, given, torch.float32)
        found = {blocks: compiled(plan, graph, {"x": features, **more}, values, blocks) for blocks in BLOCKS}
        for name, wanted in expected.items():
            finite = np.isfinite(wanted)
            scale = max(1.0, float(np.abs(wanted[finite]).max(initial=0)))
            theirs = max(theirs, _largest(single[name], wanted, finite) / scale)
            ours = max(ours, *(_largest(outputs[name], wanted, finite) / scale for outputs in found.values()))
    return Accuracy(ours, theirs)


def compiled(plan: Plan, graph: Graph, columns, values, blocks: int) -> dict[str, np.ndarray]:
    """The compiled program in one process, outputs in the order of the nodes."""
    made = cut(graph, columns, values, blocks, any(kind.is_reversed for kind in plan.program.edge_types))
    results = run_fused(plan, made)
    order = np.argsort(np.concatenate([next(iter(block.ids.values())).to_numpy() for block in made]))
    return {name: np.concatenate([result[name] for result in results])[order] for name in results[0]}


_CUT: dict[tuple[str, int, bool], list[Block]] = {}


def cut(graph: Graph, columns, values, blocks: int, reverse: bool) -> list[Block]:
    """Nobody writes to blocks, and most layers are run on the same ones."""
    content = hashlib.sha256()
    for name, array in (("src", graph.src), ("dst", graph.dst), *columns.items(), ("", graph.src[:0]), *values.items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    key = content.hexdigest(), blocks, reverse
    if key not in _CUT:
        nodes = pa.table({"id": pa.array(np.arange(graph.nodes)), **_arrow(columns)})
        edges = pa.table({"src": pa.array(graph.src), "dst": pa.array(graph.dst), **_arrow(values)})
        names = {name: name for name in columns}
        _CUT[key] = blocks_from_tables(nodes, edges, blocks, names, list(values), reverse=reverse)
    return _CUT[key]


def shipped(program: Program) -> int:
    """Lanes per node that cross the network if each value that `src` takes is sent as it is."""
    program = always(program, rules.flip_of_softmax, rules.flip_to_leaves)  # a dst seen from the other end is sent
    level = levels(program)
    sent = {(level[v.id], v.inputs[0].id): v.inputs[0].width for v in program.values if v.op == "src"}
    return sum(sent.values())


def shipped_by_plan(plan: Plan) -> int:
    return sum(shipment.width for step in plan.steps for shipment in step.ships)


def _largest(found: np.ndarray, expected: np.ndarray, finite: np.ndarray) -> float:
    assert found.shape == expected.shape
    assert np.array_equal(np.isfinite(found), finite), "NaN or infinity in other places"
    return float(np.abs(found[finite] - expected[finite]).max(initial=0))


def _arrow(columns: dict[str, np.ndarray]) -> dict[str, pa.Array]:
    return {name: pa.array(array if array.ndim == 1 else list(array)) for name, array in columns.items()}


def _as(values: dict[str, np.ndarray], kind: type[np.floating]) -> dict[str, np.ndarray]:
    """Numbers in a float type; categories stay integers, masks truth values."""
    return {name: array if array.dtype.kind in "ib" else array.astype(kind) for name, array in values.items()}
