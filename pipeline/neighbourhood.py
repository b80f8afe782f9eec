"""Exact k-hop neighbourhoods of a few nodes, collected from the raw tables hop by hop with semi-joins.

Comes in: a graph's tables, node ids, how many hops. Goes out: sub-graphs that fit in memory. Knows nothing of prepared
graphs, blocks or plans: `verify` is to share as little as possible with what it verifies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import DST, ID, SRC
from pipeline.errors import DataError
from pipeline.formula.operations import REDUCTIONS
from pipeline.formula.program import Program
from pipeline.graph import Graph
from pipeline.layout import Layout

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Hops:
    """How far from a node its output reads."""

    edges: int
    """Edges into the node, into the sources of these edges, …: so many times."""
    features: int
    """Features are read up to this distance. A degree needs edges one hop beyond the features."""

    @staticmethod
    def of(program: Program) -> Hops:
        distance = dict.fromkeys((value.id for value in program.values), 0)
        for value in reversed(program.values):
            for operand in value.inputs:
                distance[operand.id] = max(distance[operand.id], distance[value.id] + (value.op == "src"))
        reductions = [distance[value.id] + 1 for value in program.values if value.op in REDUCTIONS]
        inputs = [distance[value.id] for value in program.values if value.op == "input" and value.is_node]
        return Hops(max(reductions, default=0), max(inputs, default=0))


@dataclass(frozen=True)
class Neighbourhood:
    """Some nodes, and everything that their outputs depend on."""

    centres: pa.Array
    """Ids of the nodes that it is around."""
    inner: pa.Array
    """Ids of nodes whose in-edges are all in `edges`."""
    outer: pa.Array
    """Ids of the other nodes: the sources of the outermost edges."""
    edges: pa.Table
    """src, dst, and the values v0, v1, … of the edge layout."""

    @property
    def nodes(self) -> pa.Array:
        return pa.concat_arrays([self.inner, self.outer])

    def grown(self, edges: pa.Table) -> Neighbourhood:
        """One hop larger; `edges` are all the edges into `outer`."""
        reached = self.nodes
        sources = pc.unique(edges[SRC])
        beyond = sources.filter(pc.invert(pc.is_in(sources, value_set=reached)))
        return Neighbourhood(self.centres, reached, beyond, pa.concat_tables([self.edges, edges]))

    def around(self, centres: pa.Array, hops: int) -> Neighbourhood:
        """The part of it that belongs to some of its centres; `hops`: how often it has grown."""
        part = Neighbourhood(centres, centres[:0], centres, self.edges[:0])
        for _ in range(hops):
            part = part.grown(self.edges.filter(pc.is_in(self.edges[DST], value_set=part.outer)))
        return part


class Neighbourhoods:
    """The neighbourhoods of a sample, in as few groups as the limit allows."""

    def __init__(self, graph: Graph, hops: Hops, limit: int) -> None:
        """`limit`: edges in one group."""
        self.hops = hops
        self.limit = limit
        self.too_large: list[int | str] = []
        """Ids around which there are more edges than the limit; complete when all groups have been taken."""
        self._drop_dangling = graph.drop_dangling
        self._spark = graph.nodes.sparkSession
        self._nodes = _standard(graph.nodes, graph.node_layout, (ID,))
        self._edges = _standard(graph.edges, graph.edge_layout, (SRC, DST))
        if graph.edge_layout.undirected:
            back = [self._edges[DST].alias(SRC), self._edges[SRC].alias(DST)]
            values = [self._edges[name] for name in self._edges.columns[2:]]
            self._edges = self._edges.union(self._edges.where(f"{SRC} != {DST}").select(*back, *values))

    def groups(self, centres: pa.Array) -> Iterator[tuple[Neighbourhood, pa.Table]]:
        """Runs jobs, one for each hop: neighbourhoods with the features of their nodes (id, v0, v1, …)."""
        empty = self._edges.limit(0).toArrow()
        for group in self._expand(Neighbourhood(centres, centres[:0], centres, empty), 0):
            yield self._with_features(group)

    def _expand(self, group: Neighbourhood, hop: int) -> Iterator[Neighbourhood]:
        if hop == self.hops.edges:
            yield group
            return
        room = self.limit - len(group.edges)
        edges = self._among(self._edges, DST, group.outer).limit(room + 1).toArrow()
        if len(edges) <= room:
            yield from self._expand(group.grown(edges), hop + 1)
        else:
            for smaller in self._split(group, hop):
                yield from self._expand(smaller, hop)

    def _split(self, group: Neighbourhood, hop: int) -> Iterator[Neighbourhood]:
        """Runs a job, in-degrees of the outermost nodes: groups whose next hop will fit, in the centres' order."""
        counted = self._among(self._edges, DST, group.outer).groupBy(DST).count().toArrow()
        chosen: list[int] = []
        total = 0
        for at in range(len(group.centres)):
            alone = group.around(group.centres[at : at + 1], hop)
            asked = counted.filter(pc.is_in(counted[DST], value_set=alone.outer))
            edges = len(alone.edges) + (pc.sum(asked["count"]).as_py() or 0)
            if edges > self.limit:
                self.too_large.append(group.centres[at].as_py())
                continue
            if total + edges > self.limit:
                yield group.around(group.centres.take(pa.array(chosen)), hop)
                chosen, total = [], 0
            chosen.append(at)
            total += edges
        if chosen:
            yield group.around(group.centres.take(pa.array(chosen)), hop)

    def _with_features(self, group: Neighbourhood) -> tuple[Neighbourhood, pa.Table]:
        """Runs one or two jobs: the nodes' rows, and whether the nodes beyond the features are nodes at all."""
        near = group.around(group.centres, self.hops.features).nodes
        features = self._among(self._nodes, ID, near).toArrow()
        known = pc.unique(features[ID])
        beyond = group.nodes.filter(pc.invert(pc.is_in(group.nodes, value_set=near)))
        if len(beyond):
            more = self._among(self._nodes.select(ID), ID, beyond).toArrow()
            known = pa.concat_arrays([known, pc.unique(more[ID])])
        unknown = group.nodes.filter(pc.invert(pc.is_in(group.nodes, value_set=known)))
        if len(unknown):
            group = self._without(group, unknown)
        return group, features

    def _without(self, group: Neighbourhood, unknown: pa.Array) -> Neighbourhood:
        """Without dangling edges. Unknown centres, or dangling edges that were not to be dropped: other tables."""
        scored = group.centres.filter(pc.is_in(group.centres, value_set=unknown))
        if len(scored) or not self._drop_dangling:
            what = "the scores hold ids" if len(scored) else "the edges begin at ids"
            first = ", ".join(map(str, (scored if len(scored) else unknown)[:3].to_pylist()))
            raise DataError(
                f"{what} that are not among the nodes (first: {first}); "
                "give the tables that were scored: --nodes, --edges"
            )
        ends = pc.or_(*(pc.is_in(group.edges[end], value_set=unknown) for end in (SRC, DST)))
        kept = [ids.filter(pc.invert(pc.is_in(ids, value_set=unknown))) for ids in (group.inner, group.outer)]
        return Neighbourhood(group.centres, kept[0], kept[1], group.edges.filter(pc.invert(ends)))

    def _among(self, table: DataFrame, column: str, ids: pa.Array) -> DataFrame:
        """The rows whose column is one of these ids."""
        wanted = self._spark.createDataFrame(pa.table({column: ids}))
        return table.join(wanted, on=column, how="left_semi").select(*table.columns)


def _standard(table: DataFrame, layout: Layout, keys: tuple[str, ...]) -> DataFrame:
    """The keys under our names, as bigint or string; the values as v0, v1, …, arrays of float or float."""
    from pyspark.sql import functions as F

    def column(name: str) -> Column:
        return F.col("`" + name.replace("`", "``") + "`")

    key = "string" if layout.text else "bigint"
    chosen = [column(name).cast(key).alias(ours) for name, ours in zip(layout.keys, keys, strict=True)]
    for number, value in enumerate(layout.values):
        parts = [column(name) for name in value.columns]
        array = parts[0] if value.array else F.array(*(part.cast("float") for part in parts))
        chosen.append(array.cast("array<float>").alias(f"v{number}"))
    return table.select(*chosen)
