"""The whole graph at once, for `--sample all` and for models with totals over all nodes.

Comes in: a graph's tables, a program. Goes out: all nodes and edges; what computing with them takes. Knows nothing of
neighbourhoods: nothing is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError, SettingError
from pipeline.formula.interpret import last_readers
from pipeline.formula.operations import TOTALS
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import Value, topological
from pipeline.graph import Graph
from pipeline.schema import DST, ID, SRC, EdgeType
from pipeline.spark.resources import local_memory
from pipeline.tables.survey import rows_of
from pipeline.verifying.recompute import Rows
from pipeline.verifying.semi_join import OR_DROPPED, OTHER_TABLES, edge_rows, node_rows


def totals_of(program: Program) -> str:
    """The totals over all nodes that a program reads, in words; empty if there are none."""
    found = {value.inputs[0].id: value for value in program.values if value.op in TOTALS}
    return ", ".join(dict.fromkeys(f"{value.op} of width {value.width}" for value in found.values()))


def bytes_needed(program: Program, nodes: Mapping[str, int], edges: Mapping[EdgeType, int]) -> int:
    """What the interpreter holds at most: values in float64 until they have been read for the last time, and copies of
    the largest. `nodes`, `edges`: how many of each type."""

    def size(value: Value) -> int:
        rows = 1
        if isinstance(value.space, Edges):
            edge_type = value.space.type if value.space.type in edges else value.space.type.reversed
            rows = edges[edge_type] + nodes[value.space.type.target]
        elif isinstance(value.space, Nodes):
            rows = nodes[value.space.type]
        return 0 if value.is_weight else 8 * rows * value.width

    wanted = list(program.outputs.values())
    order = topological(wanted)
    sizes = {value.id: size(value) for value in order}
    last = last_readers(order, wanted)
    held = most = 0
    for value in order:
        held += sizes[value.id]
        most = max(most, held)
        held -= sum(sizes[number] for number in last.get(value.id, ()))
    return most + 2 * max(sizes.values())


def count_edges(graph: Graph) -> dict[EdgeType, int]:
    """Of each raw table; an undirected edge counts for both directions."""
    return {layout.edge_type: rows_of(graph, layout) * (2 if layout.undirected else 1) for layout in graph.edge_layouts}


def check_memory(graph: Graph, program: Program, nodes: Mapping[str, int]) -> None:
    """SettingError if the graph is too large to be computed at once on this machine. `nodes`: how many of each type."""
    edges = count_edges(graph)
    needed, free = bytes_needed(program, nodes, edges), local_memory()
    if needed <= free:
        return
    totals = totals_of(program)
    why = (
        f"the model reads totals over all nodes ({totals}), so the whole graph is computed at once"
        if totals
        else "with the sample 'all' the whole graph is computed at once"
    )
    instead = (
        "verify on a machine with more memory, or compare a smaller graph"
        if totals
        else "verify on a machine with more memory, or take a sample (--sample 10000)"
    )
    raise SettingError(
        f"{why}, in float64: {sum(nodes.values()):,} nodes and {sum(edges.values()):,} edges take "
        f"{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free here; {instead}"
    )


def everything(graph: Graph) -> Rows:
    """All rows of all tables; dangling edges are dropped where the graph says so, else DataError."""
    features = {layout.type: node_rows(graph, layout).everything() for layout in graph.node_layouts}
    nodes = {node_type: table[ID].combine_chunks() for node_type, table in features.items()}
    edges = {}
    for layout in graph.edge_layouts:
        found, edge_type = edge_rows(graph, False, layout).everything(), layout.edge_type
        ends = (nodes[edge_type.source], nodes[edge_type.target])
        known = [pc.is_in(found[end], value_set=ids) for end, ids in zip((SRC, DST), ends, strict=True)]
        kept = pc.and_(*known)
        if not graph.drop_dangling and not pc.all(kept, min_count=0).as_py():
            raise _dangling(found, known)
        edges[edge_type] = found.filter(kept)
    return Rows(nodes, edges, features)


def _dangling(edges: pa.Table, known: Sequence[pa.ChunkedArray]) -> DataError:
    lost = [
        id
        for end, there in zip((SRC, DST), known, strict=True)
        for id in edges[end].filter(pc.invert(there)).unique()[:3].to_pylist()
    ]
    first = ", ".join(map(str, list(dict.fromkeys(lost))[:3]))
    return DataError(f"the edges have ends that are not among the nodes (first: {first}); {OTHER_TABLES}; {OR_DROPPED}")
