"""A tiny tiler, independent of the project's own: node i belongs to block i mod P, tiles by plain NumPy."""

from __future__ import annotations

import types
from collections.abc import Mapping

import numpy as np

from pipeline.blocks.block import LOOPS, Tile
from pipeline.compiler import CompiledReduction, compile_reduction
from pipeline.compiler.load import load
from pipeline.formula import GraphArrays, Program, Value, interpret
from pipeline.formula.program import output_key
from pipeline.formula.spaces import ALL, PROPER
from pipeline.formula.spaces import SELF_LOOPS as LOOPS_PART


def tile(src, dst, blocks, values):
    """(tile, send list) of some edges: dst and src are global, all dst of one block, all src of one block."""
    order = np.lexsort([*(column[:, lane] for column in values.values() for lane in range(column.shape[1])), src, dst])
    src, dst = src[order], dst[order]
    sent, columns = np.unique(src, return_inverse=True)
    rows, counts = np.unique(dst // blocks, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    cut = Tile(
        rows=rows.astype(np.int32),
        indptr=offsets.astype(np.int32),
        indices=columns.reshape(-1).astype(np.int32),
        values={name: np.ascontiguousarray(column[order]) for name, column in values.items()},
        senders=len(sent),
    )
    return cut, sent // blocks


def tiles(graph: GraphArrays, edge_type, blocks: int):
    """dst block → source block (or LOOPS) → (tile, send list of the source block)."""
    src, dst = graph.ends[edge_type]
    values = {
        name: np.asarray(column, np.float32).reshape(len(src), int(np.prod(column.shape[1:])))
        for name, column in graph.edge_columns.get(edge_type, {}).items()
    }
    own = (src == dst) if edge_type.source == edge_type.target else np.zeros(len(src), bool)
    cuts: list[dict[int, tuple[Tile, np.ndarray]]] = []
    for target in range(blocks):
        cuts.append({})
        for source in [*range(blocks), LOOPS]:
            chosen = (dst % blocks == target) & (own if source == LOOPS else ~own & (src % blocks == source))
            if chosen.any():
                cuts[target][source] = tile(
                    src[chosen], dst[chosen], blocks, {name: column[chosen] for name, column in values.items()}
                )
    return cuts


def feed(reduction: CompiledReduction, graph: GraphArrays, offsets: Mapping[int, int], width: int, blocks: int):
    """What a superstep does with a reduction: (n, *shape) float32 of the whole graph."""
    edge_type = reduction.edges.type
    count = graph.counts[edge_type.target]
    result = np.empty((count, *reduction.value.shape), np.float32)
    for target, row in enumerate(tiles(graph, edge_type, blocks)):
        nodes = len(range(target, count, blocks))

        def read(value: Value, target: int = target) -> np.ndarray:
            array = column(graph, value)[target::blocks].copy()
            array.flags.writeable = False
            return array

        accumulator = reduction.start(nodes, read)
        for source, (cut, sent) in row.items():
            part = {ALL: True, PROPER: source != LOOPS, LOOPS_PART: source == LOOPS}[reduction.edges.part]
            if not part:
                continue
            payload = np.full((len(sent), width), np.nan, np.float32)  # lanes that nobody asked for are poison
            for value in reduction.sent:
                of_block = column(graph, value)[target if source == LOOPS else source :: blocks]
                start = offsets[value.id]
                payload[:, start : start + value.width] = of_block[sent].reshape(len(sent), -1)
            if not reduction.sent:
                payload = np.zeros((1, 0), np.float32)
            reduction.add(accumulator, cut, payload, read)
        reduction.settle(accumulator, 0, nodes)
        result[target::blocks] = reduction.finish(accumulator)
    return result


def column(graph: GraphArrays, value: Value) -> np.ndarray:
    if value.op == "fill":
        return np.full((graph.counts[value.space.type], *value.shape), value.attributes["value"], np.float32)
    assert value.op == "input"
    return np.asarray(graph.node_columns[value.space.type][value.attributes["name"]], np.float32).reshape(
        -1, *value.shape
    )


def node_values(value: Value) -> list[Value]:
    """The node values that a reduction reads."""
    program = Program({output_key(value.space.type, "y"): value})
    return [inner for inner in program.values if inner.is_node and inner.op in ("input", "fill")]


def compiled(value: Value, graph: GraphArrays, weights: Mapping[str, np.ndarray], blocks: int) -> np.ndarray:
    """One reduction through the compiler, the graph cut into blocks."""
    offsets, width = lanes(value)
    return feed(compile_reduction(value, offsets, weights), graph, offsets, width, blocks)


def lanes(value: Value) -> tuple[dict[int, int], int]:
    """Places in the payload, with gaps between them, last value first; and the payload's width."""
    offsets, width = {}, 3
    for node in reversed(node_values(value)):
        offsets[node.id] = width
        width += node.width + 2
    return offsets, width


def expected(value: Value, graph: GraphArrays, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """The same by the interpreter, in float64."""
    return interpret(Program({output_key(value.space.type, "y"): value}), weights, graph)[
        output_key(value.space.type, "y")
    ]


def load_plain(text: str):
    """Stands in for pipeline.compiler.load.load: the generated function, not compiled."""
    function = load(text).py_func
    names = dict(function.__globals__)
    for name in ("exp", "expm1", "maximum", "minimum", "sigmoid", "tanh"):
        # called from Python, a compiled function returns Python's float
        names[name] = lambda *x, compiled=names[name]: np.float32(compiled(*map(np.float32, x)))
    return types.FunctionType(function.__code__, names)
