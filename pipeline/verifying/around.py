"""Exact neighbourhoods of a few nodes of a typed graph, collected from the raw tables hop by hop with semi-joins.

Comes in: a graph's tables by type, ids of nodes of one type, how many hops. Goes out: rows of all tables that the
outputs of these nodes depend on, in groups that fit in memory. Knows nothing of prepared graphs, blocks or plans.
Simpler than neighbourhood.py, which is of graphs without types: where a group is too large, its halves are collected
anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.graph import Graph
from pipeline.schema import DST, ID, SRC, EdgeType
from pipeline.verifying.recompute import Rows
from pipeline.verifying.semi_join import edge_rows, node_rows


class Group(NamedTuple):
    """Some nodes, and everything that their outputs depend on."""

    centres: pa.Array
    rows: Rows


class Around:
    """The neighbourhoods of nodes of one type."""

    def __init__(self, graph: Graph, node_type: str, edge_types: Collection[EdgeType], hops: int, limit: int) -> None:
        """`edge_types`: those that the program reads, none of them against its direction; `limit`: edges of a group."""
        self.too_large: list[int | str] = []
        """Ids around which there are more edges than the limit; complete when all groups have been taken."""
        self._type, self._hops, self._limit = node_type, hops, limit
        self._drop_dangling = graph.drop_dangling
        self._nodes = {layout.type: node_rows(graph, layout) for layout in graph.node_layouts}
        self._edges = {
            layout.edge_type: edge_rows(graph, False, layout)
            for layout in graph.edge_layouts
            if layout.edge_type in edge_types
        }

    def groups(self, centres: pa.Array) -> Iterator[Group]:
        """In the order of the centres. DataError if one of these, or an end of edges, is no node."""
        if not len(centres):
            return
        edges = self._collected(centres)
        if edges is not None:
            yield Group(centres, self._with_nodes(centres, edges))
        elif len(centres) == 1:
            self.too_large.append(centres[0].as_py())
        else:
            half = len(centres) // 2
            for some in (centres[:half], centres[half:]):
                yield from self.groups(some)

    def _collected(self, centres: pa.Array) -> dict[EdgeType, pa.Table] | None:
        """The edges around some nodes; None if they are more than the limit."""
        found = {edge_type: [rows.none()] for edge_type, rows in self._edges.items()}
        reached = {node_type: rows.none()[ID].combine_chunks() for node_type, rows in self._nodes.items()}
        outer = {self._type: centres}
        room = self._limit
        for _ in range(self._hops):
            reached |= {each: pa.concat_arrays([reached[each], ids]) for each, ids in outer.items()}
            beyond = {each: [ids[:0]] for each, ids in reached.items()}
            for edge_type, rows in self._edges.items():
                targets = outer.get(edge_type.target)
                if targets is None or not len(targets):
                    continue
                edges = rows.among(targets, room + 1)
                room -= len(edges)
                if room < 0:
                    return None
                found[edge_type].append(edges)
                beyond[edge_type.source].append(edges[SRC].combine_chunks())
            outer = {each: _new(pa.concat_arrays(parts), reached[each]) for each, parts in beyond.items()}
        return {edge_type: pa.concat_tables(parts) for edge_type, parts in found.items()}

    def _with_nodes(self, centres: pa.Array, edges: dict[EdgeType, pa.Table]) -> Rows:
        """All nodes at the ends of edges, with their features; without dangling edges."""
        ends = {each: [rows.none()[ID].combine_chunks()] for each, rows in self._nodes.items()}
        ends[self._type].append(centres)
        for edge_type, table in edges.items():
            ends[edge_type.source].append(table[SRC].combine_chunks())
            ends[edge_type.target].append(table[DST].combine_chunks())
        wanted = {each: pc.unique(pa.concat_arrays(parts)) for each, parts in ends.items()}
        features = {each: self._nodes[each].among(ids) for each, ids in wanted.items()}
        nodes = {each: pc.unique(table[ID].combine_chunks()) for each, table in features.items()}
        lost = {each: _new(ids, nodes[each]) for each, ids in wanted.items()}
        scored = centres.filter(pc.is_in(centres, value_set=lost[self._type]))
        if len(scored) or (any(map(len, lost.values())) and not self._drop_dangling):
            what = "the scores hold ids" if len(scored) else "the edges begin at ids"
            each, some = next((each, ids) for each, ids in lost.items() if len(ids))
            first = ", ".join(map(str, (scored if len(scored) else some)[:3].to_pylist()))
            kind = self._type if len(scored) else each
            raise DataError(
                f"{what} that are not among the nodes of type {kind!r} (first: {first}); verify with the tables that "
                "were scored"
            )
        kept = {}
        for edge_type, table in edges.items():
            known = pc.and_(
                pc.is_in(table[SRC], value_set=nodes[edge_type.source]),
                pc.is_in(table[DST], value_set=nodes[edge_type.target]),
            )
            kept[edge_type] = table.filter(known)
        return Rows(nodes, kept, features)


def _new(ids: pa.Array, known: pa.Array) -> pa.Array:
    """Each once, without those that are known."""
    ids = pc.unique(ids)
    return ids.filter(pc.invert(pc.is_in(ids, value_set=known)))
