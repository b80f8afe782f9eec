"""A part of the graph, as it came from the tables, made ready for the interpreter.

Comes in: ids of nodes, edges and features of a neighbourhood or of everything. Goes out: `Subgraph`, which runs a
program on them and gives what the scores' columns should hold. Knows nothing of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ModelError
from pipeline.formula.interpret import GraphArrays, Operands, interpret
from pipeline.formula.program import Program, input_name
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.result.output import PROBABILITY, is_softmax
from pipeline.schema import DST, EDGE, ID, NODE, SRC
from pipeline.tables.layout import Layout

FloatArray = npt.NDArray[np.float64]
LongArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subgraph:
    """Arrays of some nodes and edges, and which of the nodes are compared."""

    arrays: GraphArrays
    centres: LongArray
    """Rows of the nodes that are compared."""
    classes: str | None = None
    """The output whose most probable class the scores tell; None if they do not."""
    softmax: bool = False
    """Whether that output holds probabilities already."""

    def run(
        self, program: Program, weights: Mapping[str, Any], dtype: npt.DTypeLike, operands: Operands | None = None
    ) -> dict[str, FloatArray]:
        """Column of the scores → (centres, lanes)."""
        outputs = interpret(program, weights, self.arrays, dtype, operands)
        found = {name: np.asarray(v[self.centres], np.float64) for name, v in outputs.items()}
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

    def shuffled(self, rng: np.random.Generator) -> Subgraph:
        """The same edges in another order; self-loops come last, in their own order, since the last of a node counts
        for some layers."""
        src, dst = self.arrays.ends[EDGE]
        order = rng.permutation(len(src))
        loops = src == dst
        order = np.concatenate([order[~loops[order]], np.flatnonzero(loops)])
        columns = {name: values[order] for name, values in self.arrays.edge_columns[EDGE].items()}
        return replace(
            self, arrays=replace(self.arrays, ends={EDGE: (src[order], dst[order])}, edge_columns={EDGE: columns})
        )


def subgraph_of(
    model: Model, graph: Graph, nodes: pa.Array, edges: pa.Table, features: pa.Table, centres: pa.Array, classify: bool
) -> Subgraph:
    """`edges`: src, dst and values; `features`: id and values of the nodes that have been read. ModelError if the
    graph has not what the model reads."""
    src, dst = (pc.index_in(edges[end], value_set=nodes).to_numpy() for end in (SRC, DST))
    at = pc.index_in(features[ID], value_set=nodes).to_numpy()
    node_columns: dict[str, FloatArray] = {}
    edge_columns: dict[str, FloatArray] = {}
    for column in model.program.inputs:
        name = model.columns[input_name(column)]
        lanes = int(np.prod(column.shape, dtype=int))
        if column.table == "nodes":
            # beyond the hops that read features there are none: 0
            values = np.zeros((len(nodes), lanes))
            values[at] = _matrix(features, graph.node_layout, name, lanes)
            node_columns[column.name] = values
        else:
            edge_columns[column.name] = _matrix(edges, graph.edge_layout, name, lanes)
    # tables have no order, but the last of several self-loops needs one: the values' own
    order = np.lexsort([*(lane for values in edge_columns.values() for lane in values.T[::-1]), src, dst])
    arrays = GraphArrays(
        {NODE: len(nodes)},
        {EDGE: (src[order].astype(np.int64), dst[order].astype(np.int64))},
        {NODE: node_columns},
        {EDGE: {name: values[order] for name, values in edge_columns.items()}},
    )
    first, value = next(iter(model.program.outputs.items()))
    compared = pc.index_in(centres, value_set=nodes).to_numpy().astype(np.int64)
    return Subgraph(arrays, compared, first if classify else None, is_softmax(value))


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
