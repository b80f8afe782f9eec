"""The interpreter: executes any program in NumPy, on a whole graph held in memory. The obvious twin of the compiler.

Comes in: a program, weights, a graph as arrays. Goes out: the outputs. Everything that the compiled path does cleverly
(tiles, running softmax, self-loops apart) is done here the long way: edge values are arrays with a row per edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import Program
from pipeline.formula.reductions import REDUCTIONS, softmax
from pipeline.formula.spaces import ALL, BASE_PART, SELF_LOOPS, Edges, Nodes, WholeGraph
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value, topological
from pipeline.schema import EDGE, NODE, EdgeType

Array = npt.NDArray[Any]
Operands = Callable[[Value, list[Array]], list[Array]]


@dataclass
class GraphArrays:
    """A graph in memory: number of nodes per type, (src, dst) rows per edge type, columns of both.

    The edges of a reversed type are those of the type itself, in the same order, src and dst having changed places.
    """

    counts: Mapping[str, int]
    ends: Mapping[EdgeType, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
    node_columns: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    edge_columns: Mapping[EdgeType, Mapping[str, Array]] = field(default_factory=dict)

    @staticmethod
    def single(src: Array, dst: Array, x: Array, **edge_columns: Array) -> GraphArrays:
        """A graph of one node type and one edge type, its features called x."""
        return GraphArrays(
            {NODE: len(x)},
            {EDGE: (np.asarray(src, np.int64), np.asarray(dst, np.int64))},
            {NODE: {"x": x}},
            {EDGE: edge_columns},
        )

    def table(self, edge_type: EdgeType) -> tuple[Array, Array]:
        """src and dst rows of all edges of a type."""
        if edge_type in self.ends:
            return self.ends[edge_type]
        dst, src = self.ends[edge_type.reversed]
        return src, dst

    def index(self, edges: Edges) -> tuple[Array, Array]:
        """src and dst rows of a part of the edges."""
        src, dst = self.table(edges.type)
        if edges.part == ALL:
            return src, dst
        if edges.part in BASE_PART:
            src, dst = self.index(Edges(edges.type, BASE_PART[edges.part]))
            own = np.arange(self.counts[edges.type.target])
            return np.concatenate([src, own]), np.concatenate([dst, own])
        kept = self.kept(edges)
        return src[kept], dst[kept]

    def kept(self, edges: Edges) -> Array:
        """Which edges of the table belong to a part; added loops are none of them."""
        src, dst = self.table(edges.type)
        part = BASE_PART.get(edges.part, edges.part)
        if part == ALL or edges.type.source != edges.type.target:
            return np.full(len(src), part != SELF_LOOPS)
        return (src == dst) if part == SELF_LOOPS else (src != dst)


def align(value: Value, arrays: list[Array]) -> list[Array]:
    """Operands of an operation with 1s behind the row axis, so that NumPy broadcasts rows as `value`'s rule said."""
    rank = len(value.shape)
    if value.op == "matmul" and len(value.inputs[0].shape) == 1:
        return arrays
    return [
        array
        if operand.is_weight or len(operand.shape) == rank
        else array.reshape(len(array), *(1,) * (rank - len(operand.shape)), *operand.shape)
        for operand, array in zip(value.inputs, arrays, strict=True)
    ]


def execute_rows(value: Value, arrays: list[Array]) -> Array:
    """One elementwise or row operation, on arrays of rows (weights without a row axis)."""
    operation = OPERATIONS[value.op]
    assert operation.meaning is not None, value.op
    if value.is_weight and operation.kind == "row":
        return operation.meaning(*(array[None] for array in arrays), **value.attributes)[0]
    if operation.kind == "elementwise" or value.op in ("matmul", "concat"):
        arrays = align(value, arrays)
    if value.op == "concat":
        rows = next(len(a) for operand, a in zip(value.inputs, arrays, strict=True) if not operand.is_weight)
        arrays = [
            np.broadcast_to(a, (rows, *a.shape)) if operand.is_weight else a
            for operand, a in zip(value.inputs, arrays, strict=True)
        ]
    return operation.meaning(*arrays, **value.attributes)


def interpret(
    program: Program,
    weights: Mapping[str, Array],
    graph: GraphArrays,
    dtype: npt.DTypeLike = np.float64,
    operands: Operands | None = None,
) -> dict[str, Array]:
    """Executes a program on a whole graph. `operands`: what an operation takes in place of its operands, if not these.

    Returns
    -------
    Output name → (n, *shape) array of `dtype`, in the node order of the graph.
    """
    results = evaluate(program.outputs.values(), weights, graph, dtype, operands, keep=False)
    return {name: results[value.id] for name, value in program.outputs.items()}


def evaluate(
    values: Iterable[Value],
    weights: Mapping[str, Array],
    graph: GraphArrays,
    dtype: npt.DTypeLike = np.float64,
    operands: Operands | None = None,
    keep: bool = True,
) -> dict[int, Array]:
    """Value.id → its array, for the values given and all that they need; without `keep` for those given alone."""
    results: dict[int, Array] = {}
    values = list(values)
    order = topological(values)
    last = {} if keep else last_readers(order, values)
    with np.errstate(all="ignore"):
        for value in order:
            inputs = [results[operand.id] for operand in value.inputs]
            if operands is not None:
                inputs = operands(value, inputs)
            results[value.id] = np.asarray(_execute(value, inputs, weights, graph, np.dtype(dtype)), dtype)
            for number in last.get(value.id, ()):
                del results[number]
    return results


def last_readers(
    order: Sequence[Value], wanted: Iterable[Value], operands: Callable[[Value], Sequence[Value]] | None = None
) -> dict[int, list[int]]:
    """Value.id → values that nobody reads after it has been computed, and that are not wanted. `operands`: what a value
    is computed from, if not from its inputs."""
    reader = {entry.id: value.id for value in order for entry in (operands(value) if operands else value.inputs)}
    kept = {value.id for value in wanted}
    last: dict[int, list[int]] = {}
    for number, by in reader.items():
        if number not in kept:
            last.setdefault(by, []).append(number)
    return last


def _execute(
    value: Value, inputs: list[Array], weights: Mapping[str, Array], graph: GraphArrays, dtype: np.dtype[Any]
) -> Array:
    op, attributes = value.op, value.attributes
    if op == "weight":
        return weights[attributes["name"]]
    if op == "constant":
        return np.asarray(attributes["value"])
    if op == "fill":
        return np.full((_rows(value, graph), *value.shape), attributes["value"])
    if op == "input":
        return _column(value, graph).reshape(-1, *value.shape)
    if op in ("src", "dst"):
        src, dst = graph.index(attributes["edges"])
        return inputs[0][src if op == "src" else dst]
    if op == "restrict":
        assert isinstance(value.inputs[0].space, Edges)
        assert isinstance(value.space, Edges)
        old, new = graph.kept(value.inputs[0].space), graph.kept(value.space)
        return inputs[0][: old.sum()][new[old]]  # added loops come last
    if op == "flip":
        return inputs[0]
    if op == "extend":
        own = np.broadcast_to(inputs[1], (len(inputs[1]), *value.shape))
        return np.concatenate([np.broadcast_to(inputs[0], (len(inputs[0]), *value.shape)), own])
    if op in TOTALS:
        return TOTALS[op].meaning(*inputs)
    if op == "spread":
        return np.broadcast_to(inputs[0], (_rows(value, graph), *value.shape))
    if OPERATIONS[op].kind in ("reduce", "normalise"):
        return _over_edges(value, inputs, graph)
    return execute_rows(value, inputs)


def _rows(value: Value, graph: GraphArrays) -> int:
    if isinstance(value.space, WholeGraph):
        return 1
    if isinstance(value.space, Nodes):
        return graph.counts[value.space.type]
    assert isinstance(value.space, Edges)
    return len(graph.index(value.space)[0])


def _column(value: Value, graph: GraphArrays) -> Array:
    name = value.attributes["name"]
    if isinstance(value.space, Nodes):
        return np.asarray(graph.node_columns[value.space.type][name])
    assert isinstance(value.space, Edges)
    kind = value.space.type
    return np.asarray(graph.edge_columns[kind if kind in graph.edge_columns else kind.reversed][name])


def _over_edges(value: Value, inputs: list[Array], graph: GraphArrays) -> Array:
    edges = value.inputs[0].space
    assert isinstance(edges, Edges)
    count = graph.counts[edges.type.target]
    dst = graph.index(edges)[1]
    if value.op == "softmax":
        return softmax(inputs[0], dst, count)
    record = REDUCTIONS[value.op]
    messages, own = inputs[: record.messages], inputs[record.messages :]
    if own:  # one more edge per node, before the others
        dst = np.concatenate([np.arange(count), dst])
        rows = [np.broadcast_to(row, (count, *message.shape[1:])) for row, message in zip(own, messages, strict=True)]
        messages = [np.concatenate(both) for both in zip(rows, messages, strict=True)]
    found = record.meaning(*messages, dst, count, **value.attributes)
    return found.reshape(len(found), *value.shape)
