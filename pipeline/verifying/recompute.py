"""A part of the graph, as it came from the tables, made ready for the interpreter.

Comes in: ids of nodes, edges and features of a neighbourhood or of everything. Goes out: `Subgraph`, which runs a
program on them and gives what the scores' columns should hold. Knows nothing of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ModelError
from pipeline.formula.interpret import GraphArrays, Operands, interpret
from pipeline.formula.program import Program, input_name, output_key
from pipeline.formula.spaces import Edges, Nodes
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.result.output import PROBABILITY, is_softmax
from pipeline.schema import DST, EDGE, ID, NODE, SRC, AnyType, EdgeType
from pipeline.tables.layout import Layout

FloatArray = npt.NDArray[np.float64]
LongArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subgraph:
    """Arrays of some nodes and edges, and which of the nodes, or of the edges, are compared, all of one type."""

    arrays: GraphArrays
    centres: LongArray
    """Rows of the nodes that are compared; or of the edges."""
    type: AnyType = NODE
    classes: str | None = None
    """The output whose most probable class the scores tell; None if they do not."""
    softmax: bool = False
    """Whether that output holds probabilities already."""
    edges: pa.Table | None = None
    """src and dst of the edges that are compared, if they are edges."""
    read: Mapping[str, str] = field(default_factory=dict)
    """Column of the edges in the graph → what the program calls it."""

    def run(
        self, program: Program, weights: Mapping[str, Any], dtype: npt.DTypeLike, operands: Operands | None = None
    ) -> dict[str, FloatArray]:
        """Column of the scores → (centres, lanes). The program gives nothing for other types."""
        outputs = interpret(program, weights, self.arrays, dtype, operands)
        columns = {name: outputs[output_key(self.type, name)] for name in program.outputs_of(self.type)}
        found = {name: np.asarray(v[self.centres], np.float64) for name, v in columns.items()}
        found = {name: values.reshape(len(values), math.prod(values.shape[1:])) for name, values in found.items()}
        if self.classes is not None:
            found[PROBABILITY] = self._probability(found[self.classes])
        return found

    def _probability(self, scores: FloatArray) -> FloatArray:
        """Of the most probable class, (n, 1)."""
        highest = scores.max(axis=1, keepdims=True, initial=-np.inf)
        if self.softmax:
            return highest
        with np.errstate(all="ignore"):
            return np.asarray(1 / np.exp(scores - highest).sum(axis=1, keepdims=True))

    def edge_lanes(self, columns: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """(edges that are compared, lanes) of columns of theirs."""
        assert isinstance(self.type, EdgeType), "edges are compared"
        of_edges = self.arrays.edge_columns[self.type]
        return [np.asarray(of_edges[self.read[name]][self.centres], np.float32) for name in columns]

    def of_rows(self, rows: LongArray) -> Subgraph:
        """Comparing some of the edges only."""
        assert self.edges is not None, "edges are compared"
        return replace(self, centres=self.centres[rows], edges=self.edges.take(rows))

    def shuffled(self, rng: np.random.Generator) -> Subgraph:
        """The same edges in another order; self-loops come last, in their own order, since the last of a node counts
        for some layers."""
        ends, columns, centres = {}, {}, self.centres
        for edge_type, (src, dst) in self.arrays.ends.items():
            order = rng.permutation(len(src))
            if edge_type.source == edge_type.target:
                loops = src == dst
                order = np.concatenate([order[~loops[order]], np.flatnonzero(loops)])
            ends[edge_type] = src[order], dst[order]
            of_edges = self.arrays.edge_columns[edge_type]
            columns[edge_type] = {name: values[order] for name, values in of_edges.items()}
            if edge_type == self.type:
                place = np.empty_like(order)
                place[order] = np.arange(len(order))
                centres = place[self.centres]
        return replace(self, centres=centres, arrays=replace(self.arrays, ends=ends, edge_columns=columns))


@dataclass(frozen=True)
class Rows:
    """Rows of the tables, by type. Edge types that the model does not read may be left out."""

    nodes: Mapping[str, pa.Array]
    """Ids."""
    edges: Mapping[EdgeType, pa.Table]
    """src, dst and values v0, v1, …"""
    features: Mapping[str, pa.Table]
    """id and values of the nodes that have been read."""

    @staticmethod
    def untyped(nodes: pa.Array, edges: pa.Table, features: pa.Table) -> Rows:
        return Rows({NODE: nodes}, {EDGE: edges}, {NODE: features})


def subgraph_of(
    model: Model, graph: Graph, rows: Rows, centres: pa.Array, classify: bool, type: AnyType = NODE
) -> Subgraph:
    """`centres`: ids of the nodes of a type that are compared, or of those that the compared edges lead to. ModelError
    if the graph has not what the model reads."""
    of_nodes = {layout.type: layout for layout in graph.node_layouts}
    of_edges = {layout.edge_type: layout for layout in graph.edge_layouts}
    ends, node_columns, edge_columns = {}, {}, {}
    for each, ids in rows.nodes.items():
        node_columns[each] = _node_columns(model, of_nodes[each], ids, rows.features[each])
    for edge_type, edges in rows.edges.items():
        values = _edge_columns(model, of_edges[edge_type], edges)
        known = [rows.nodes[edge_type.source], rows.nodes[edge_type.target]]
        src, dst = (
            pc.index_in(edges[end], value_set=ids).to_numpy() for end, ids in zip((SRC, DST), known, strict=True)
        )
        # tables have no order, but the last of several self-loops needs one: the values' own
        order = np.lexsort([*(lane for matrix in values.values() for lane in matrix.T[::-1]), src, dst])
        ends[edge_type] = src[order].astype(np.int64), dst[order].astype(np.int64)
        edge_columns[edge_type] = {name: matrix[order] for name, matrix in values.items()}
    arrays = GraphArrays({each: len(ids) for each, ids in rows.nodes.items()}, ends, node_columns, edge_columns)
    first, value = next(iter(model.program.outputs_of(type).items()))
    node_type = type if isinstance(type, str) else type.target
    compared = pc.index_in(centres, value_set=rows.nodes[node_type]).to_numpy().astype(np.int64)
    part = Subgraph(arrays, compared, type, first if classify else None, is_softmax(value))
    return part if isinstance(type, str) else _comparing_edges(model, rows, part, type)


def _comparing_edges(model: Model, rows: Rows, part: Subgraph, type: EdgeType) -> Subgraph:
    """The same for the edges into the nodes that were to be compared."""
    src, dst = part.arrays.ends[type]
    chosen = np.flatnonzero(np.isin(dst, part.centres))
    sources, targets = rows.nodes[type.source], rows.nodes[type.target]
    edges = pa.table({SRC: sources.take(pa.array(src[chosen])), DST: targets.take(pa.array(dst[chosen]))})
    return replace(part, centres=chosen, edges=edges, read=edge_columns_read(model, type))


def edge_columns_read(model: Model, type: EdgeType) -> dict[str, str]:
    """Column of the edges of a type in the graph → what the program calls it, of those that it reads."""
    return {
        model.columns[input_name(column)].rpartition(".")[2]: column.name
        for column in model.program.inputs
        if isinstance(column.space, Edges) and column.space.type in (type, type.reversed)
    }


def _node_columns(model: Model, layout: Layout, ids: pa.Array, features: pa.Table) -> dict[str, FloatArray]:
    at, found = pc.index_in(features[ID], value_set=ids).to_numpy(), {}
    for column in model.program.inputs:
        if isinstance(column.space, Nodes) and column.space.type == layout.type:
            lanes = int(np.prod(column.shape, dtype=int))
            own, name = model.node_rows.get(layout.type), model.columns[input_name(column)].rpartition(".")[2]
            if own is not None and name in own.columns:
                found[column.name] = own.rows(name, ids).astype(np.float64)
                continue
            # beyond the hops that read features there are none: 0
            values = np.zeros((len(ids), lanes))
            values[at] = _matrix(features, layout, model.columns[input_name(column)], lanes)
            found[column.name] = values
    return found


def _edge_columns(model: Model, layout: Layout, edges: pa.Table) -> dict[str, FloatArray]:
    return {
        column.name: _matrix(edges, layout, model.columns[input_name(column)], int(np.prod(column.shape, dtype=int)))
        for column in model.program.inputs
        if isinstance(column.space, Edges) and layout.edge_type in (column.space.type, column.space.type.reversed)
    }


def _matrix(table: pa.Table, layout: Layout, name: str, lanes: int) -> FloatArray:
    """A value of a table, (n, lanes); `name` as the model says it: nodes.x."""
    known = [value.name for value in layout.values]
    wanted = name.rpartition(".")[2]
    if wanted not in known:
        raise ModelError(f"the model reads {name}, which the graph does not have; it has {', '.join(known) or 'none'}")
    flat = pc.list_flatten(table[f"v{known.index(wanted)}"]).to_numpy()
    if len(flat) != len(table) * lanes:
        raise ModelError(
            f"the model expects {name} of width {lanes}; the table holds {len(flat):,} in {len(table):,} rows"
        )
    return np.asarray(flat, np.float64).reshape(len(table), lanes)
