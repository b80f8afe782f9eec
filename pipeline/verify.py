"""Verification: some nodes computed again by the textbook, straight from the raw tables, and compared with the scores.

Comes in: a graph's tables, a model, scores. Goes out: a `Verification` that says how far they are apart. Knows nothing
of blocks, tiles or plans: it runs the program as its author wrote it, in NumPy, in float64, on the sampled nodes' whole
neighbourhood. What it shares with the thing it verifies is the program and the meaning of the tables' columns.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import DST, ID, SRC
from pipeline.errors import DataError, ModelError, SettingError
from pipeline.formula.interpret import GraphArrays, interpret
from pipeline.formula.operations import TOTALS
from pipeline.formula.program import Program, input_name
from pipeline.graph import Graph, PreparedGraph
from pipeline.model import Model
from pipeline.neighbourhood import Hops, Neighbourhood, Neighbourhoods
from pipeline.result.sampled import sample_rows
from pipeline.run.arguments import given_session, model_of, path_or_table, some_graph
from pipeline.schema import EDGE, NODE
from pipeline.sources import raw_graph, scores_table
from pipeline.tables.layout import Layout

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FloatArray = npt.NDArray[np.float64]

# Sums of thousands of float32 terms are off by some 1e-6 of the largest output; a lost edge, a wrong degree or a stale
# weight by 1e-2 and more.
TOLERANCE = 1e-4
SMALLEST_SCALE = 1e-6  # below it outputs are zero for all purposes
GROUP_BYTES = 1 << 31  # what the interpreter may need for one group of the sample
HOLD_BYTES = 1 << 30  # what tables of edges and nodes may take that are collected together


@dataclass(frozen=True)
class OutputError:
    """How far an output is from the recomputed one, over the whole sample."""

    name: str
    error: float
    """Largest absolute difference; inf where one side alone is NaN or infinite."""
    scale: float
    """Largest absolute value of the recomputed output."""
    worst: int | str | None
    """The user's id of the node with the largest difference."""

    tolerance: float = TOLERANCE
    """Of the scale."""

    @property
    def accepted(self) -> float:
        """The largest error that passes."""
        return self.tolerance * max(self.scale, SMALLEST_SCALE)

    @property
    def passed(self) -> bool:
        return self.error <= self.accepted

    def __str__(self) -> str:
        return (
            f"{self.name}: largest error {self.error:.3g} (id {self.worst}); tolerance {self.accepted:.3g}, "
            f"which is {self.tolerance:g} of the largest value {self.scale:.4g}"
        )


@dataclass(frozen=True)
class Verification:
    """What was recomputed, and what came of it."""

    outputs: tuple[OutputError, ...]
    recomputed: int
    """Nodes of the sample that were compared."""
    too_large: tuple[int | str, ...]
    """Ids of the sample that were left out: more edges than `limit` lead to them."""
    repeated: int
    """Rows of the sample whose id has another row."""
    rows: int
    """Rows of the scores; they must be as many as `expected_rows`, the nodes of the raw table."""
    expected_rows: int
    hops: int
    nodes: int
    """Nodes touched; a node that several groups touch counts for each."""
    edges: int
    limit: int
    seconds: float

    @property
    def passed(self) -> bool:
        complete = self.rows == self.expected_rows and not self.repeated
        return complete and (self.recomputed > 0 or self.rows == 0) and all(output.passed for output in self.outputs)

    def __str__(self) -> str:
        lines = [
            f"recomputed {self.recomputed:,} of {self.recomputed + len(self.too_large):,} sampled nodes in float64 "
            f"from the raw tables: {self.hops} hops, {self.nodes:,} nodes and {self.edges:,} edges touched, "
            f"{self.seconds:.1f} s",
            *map(str, self.outputs),
        ]
        if self.too_large:
            lines.append(
                f"not recomputed: {len(self.too_large):,} nodes (first: {', '.join(map(str, self.too_large[:3]))}) "
                f"that more than {self.limit:,} edges lead to; a higher limit (--limit) includes them"
            )
        if self.rows != self.expected_rows:
            lines.append(f"the scores have {self.rows:,} rows, the graph has {self.expected_rows:,} nodes")
        if self.repeated:
            lines.append(f"{self.repeated:,} rows of the sample have an id that another row has too")
        return "\n".join([*lines, "PASS" if self.passed else "FAIL"])


def verify(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    scores: DataFrame | str | os.PathLike[str],
    nodes: DataFrame | str | os.PathLike[str] | None = None,
    edges: DataFrame | str | os.PathLike[str] | None = None,
    sample: int = 100,
    seed: int = 0,
    limit: int | None = None,
    spark: SparkSession | None = None,
    tolerance: float = TOLERANCE,
) -> Verification:
    """Recomputes `sample` nodes, chosen by `seed` alone, and compares them with their scores.

    Runs jobs; where nobody has a session and all tables are Parquet files that this process sees, it reads them itself.
    A model that reads totals over all nodes is refused before anything is read: no neighbourhood holds them.

    Parameters
    ----------
    graph
        The user's graph, or the prepared one: its manifest knows the tables that it was made of, and their columns.
    scores
        Where `infer` wrote, or its DataFrame; a lazy one is computed twice.
    nodes, edges
        The raw tables, where they are not those of the manifest.
    limit
        Edges that are computed with at a time. None: as many as the interpreter needs 2 GB for.
    tolerance
        Error that passes, in parts of the largest value; of scores whose run had a wire of two bytes it shows more.
    """
    started = time.perf_counter()
    for name, number in (("sample", sample), ("limit", limit)):
        if number is not None and number < 1:
            raise SettingError(f"{name} is {number}; accepted: a whole number from 1")
    if not 0 <= tolerance <= 1:
        raise SettingError(f"tolerance is {tolerance}; accepted: a number from 0 to 1")
    model = model_of(model)
    check_local(model.program)
    graph = some_graph(graph)
    given_session(spark)
    if isinstance(graph, PreparedGraph):
        # of the raw tables every direction can be read
        model.check_against(graph.schema.both_ways(), graph.ranges)
        graph = raw_graph(graph, path_or_table(nodes), path_or_table(edges), spark)
    found = path_or_table(scores)
    frame = scores_table(graph, found) if isinstance(found, str) else found
    sampled = sample_rows(frame, list(model.outputs), graph.node_layout.text, sample, seed)
    ids = pc.unique(sampled[ID])

    hops = Hops.of(model.program)
    limit = limit or max(1, GROUP_BYTES // _bytes_per_edge(model.program))
    neighbourhoods = Neighbourhoods(graph, hops, limit, HOLD_BYTES // _held_bytes(model.program))
    recomputed = touched_nodes = touched_edges = 0
    worst = {name: OutputError(name, 0.0, 0.0, None, tolerance) for name in model.outputs}
    for group, features in neighbourhoods.groups(ids):
        expected = _recompute(model, graph, group, features)
        for name, values in expected.items():
            worst[name] = _worse(worst[name], _compare(name, group.centres, values, sampled))
        recomputed += len(group.centres)
        touched_nodes += len(group.nodes)
        touched_edges += len(group.edges)
    return Verification(
        outputs=tuple(worst.values()),
        recomputed=recomputed,
        too_large=tuple(neighbourhoods.too_large),
        repeated=len(sampled) - len(ids),
        rows=frame.count(),
        expected_rows=graph.nodes.count(),
        hops=hops.edges,
        nodes=touched_nodes,
        edges=touched_edges,
        limit=limit,
        seconds=time.perf_counter() - started,
    )


def check_local(program: Program) -> None:
    """ModelError if an output depends on more than a neighbourhood."""
    totals = {value.inputs[0].id: value for value in program.values if value.op in TOTALS}
    if totals:
        named = ", ".join(dict.fromkeys(f"{value.op} of {value.width} lanes" for value in totals.values()))
        raise ModelError(
            f"verify recomputes neighbourhoods; this model reads totals over all nodes ({named}), so every output "
            "depends on every node; compare its scores with PyTorch Geometric's on a graph that fits in memory"
        )


def _bytes_per_edge(program: Program) -> int:
    """What the interpreter holds in the worst case, that every edge has a source of its own: all values, in float64."""
    return 8 * sum(value.width for value in program.values if not value.is_weight) or 8


def _held_bytes(program: Program) -> int:
    """What an edge takes in tables, and, at worst, a node of its own with its features."""
    return 24 + 4 * sum(math.prod(column.shape) for column in program.inputs)


def _recompute(model: Model, graph: Graph, group: Neighbourhood, features: pa.Table) -> Mapping[str, FloatArray]:
    """Output → (centres, lanes), in float64. Inputs are float32, as they are for the network."""
    nodes = group.nodes
    src, dst = (pc.index_in(group.edges[end], value_set=nodes).to_numpy() for end in (SRC, DST))
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
            edge_columns[column.name] = _matrix(group.edges, graph.edge_layout, name, lanes)
    # tables have no order, but the last of several self-loops needs one: the values' own
    order = np.lexsort([*(lane for values in edge_columns.values() for lane in values.T[::-1]), src, dst])
    arrays = GraphArrays(
        {NODE: len(nodes)},
        {EDGE: (src[order].astype(np.int64), dst[order].astype(np.int64))},
        {NODE: node_columns},
        {EDGE: {name: values[order] for name, values in edge_columns.items()}},
    )
    centres = pc.index_in(group.centres, value_set=nodes).to_numpy()
    outputs = interpret(model.program, model.weights, arrays, np.float64)
    return {name: values[centres].reshape(len(centres), -1) for name, values in outputs.items()}


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


def _compare(name: str, ids: pa.Array, expected: FloatArray, sampled: pa.Table) -> OutputError:
    """The worst of some nodes; where an id has several rows, the first counts."""
    rows = sampled.take(pc.index_in(ids, value_set=sampled[ID].combine_chunks()))
    column = rows[name]
    found = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if len(found) != expected.size:
        raise DataError(
            f"the scores' {name} has {len(found) / max(1, len(rows)):g} lanes; the model gives {expected.shape[1]}"
        )
    scores = np.asarray(found.to_numpy(), np.float64).reshape(expected.shape)
    with np.errstate(invalid="ignore"):
        off = np.abs(scores - expected)
    same = (scores == expected) | (np.isnan(scores) & np.isnan(expected))
    off = np.where(same, 0.0, np.where(np.isfinite(off), off, np.inf)).max(axis=1, initial=0.0)
    finite = np.abs(expected[np.isfinite(expected)])
    at = int(off.argmax()) if len(off) else 0
    return OutputError(name, float(off[at]), float(finite.max(initial=0.0)), ids[at].as_py())


def _worse(one: OutputError, other: OutputError) -> OutputError:
    worst = other if one.worst is None or other.error > one.error else one
    return OutputError(one.name, worst.error, max(one.scale, other.scale), worst.worst, one.tolerance)
