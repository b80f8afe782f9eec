"""The whole graph at once, for `--sample all` and for models with totals over all nodes.

Comes in: a graph's tables, a program. Goes out: all nodes and edges; what computing with them takes. Knows nothing of
neighbourhoods: nothing is cut.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError, SettingError
from pipeline.formula.interpret import last_readers
from pipeline.formula.operations import TOTALS
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import Value, topological
from pipeline.graph import Graph
from pipeline.schema import DST, ID, SRC
from pipeline.spark.resources import local_memory
from pipeline.verifying.semi_join import edge_rows, node_rows


class Everything(NamedTuple):
    nodes: pa.Array
    """Ids."""
    edges: pa.Table
    features: pa.Table


def totals_of(program: Program) -> str:
    """The totals over all nodes that a program reads, in words; empty if there are none."""
    found = {value.inputs[0].id: value for value in program.values if value.op in TOTALS}
    return ", ".join(dict.fromkeys(f"{value.op} of width {value.width}" for value in found.values()))


def bytes_needed(program: Program, nodes: int, edges: int) -> int:
    """What the interpreter holds at most: values in float64 until they have been read for the last time, and copies of
    the largest."""

    def size(value: Value) -> int:
        edge = isinstance(value.space, Edges)
        rows = nodes + edges if edge else nodes if isinstance(value.space, Nodes) else 1
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


def count_edges(graph: Graph) -> int:
    """Of the raw table; an undirected one counts for both directions."""
    return int(graph.edges.count()) * (2 if graph.edge_layout.undirected else 1)


def check_memory(graph: Graph, program: Program, nodes: int) -> None:
    """SettingError if the graph is too large to be computed at once on this machine."""
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
        f"{why}, in float64: {nodes:,} nodes and {edges:,} edges take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
        f"free here; {instead}"
    )


def everything(graph: Graph) -> Everything:
    """All rows of both tables; dangling edges are dropped where the graph says so, else DataError."""
    features = node_rows(graph).everything()
    edges = edge_rows(graph, False).everything()
    nodes = features[ID].combine_chunks()
    known = [pc.is_in(edges[end], value_set=nodes) for end in (SRC, DST)]
    kept = pc.and_(*known)
    if not graph.drop_dangling and not pc.all(kept, min_count=0).as_py():
        lost = pc.unique(pa.concat_arrays([
            edges[end].filter(pc.invert(there)).combine_chunks()
            for end, there in zip((SRC, DST), known, strict=True)
        ]))  # fmt: skip
        first = ", ".join(map(str, lost[:3].to_pylist()))
        raise DataError(
            f"the edges have ends that are not among the nodes (first: {first}); "
            "give the tables that were scored: --nodes, --edges"
        )
    return Everything(nodes, edges.filter(kept), features)
