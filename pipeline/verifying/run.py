"""The verification of some scores: a sample of nodes is computed again, on neighbourhoods or on the whole graph.

Comes in: raw tables, a model, scores in the form that is verified. Goes out: a `Verification`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.formula.classes import Label, labels_of
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.progress import Bar
from pipeline.result.output import PREDICTED, PROBABILITY
from pipeline.schema import DST, ID, NODE, SRC, AnyType, EdgeType
from pipeline.spark.resources import local_memory
from pipeline.tables.survey import rows_of
from pipeline.tables.table import Table
from pipeline.verifying.around import Around
from pipeline.verifying.asked import Asked
from pipeline.verifying.comparison import Comparison
from pipeline.verifying.edges import EdgeCheck, EdgeRows, sample_edges
from pipeline.verifying.neighbourhood import Hops, Neighbourhoods
from pipeline.verifying.recompute import Rows, Subgraph, edge_columns_read, subgraph_of
from pipeline.verifying.report import Verification
from pipeline.verifying.rows import RowCheck, check_rows
from pipeline.verifying.sampled import sample_rows
from pipeline.verifying.scores import standard_scores
from pipeline.verifying.semi_join import edge_rows, node_rows
from pipeline.verifying.whole import bytes_needed, check_memory, count_edges, everything, totals_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

GROUP_BYTES = 1 << 31  # what the interpreter may need for one group of the sample
HOLD_BYTES = 1 << 30  # what tables of edges and nodes may take that are collected together


@dataclass(frozen=True)
class Run:
    """The verification of some scores."""

    graph: Graph
    asked: Asked
    wire: str
    targets: Mapping[str, Any] | None
    """What the marker says of them, if the scores are of some nodes only."""

    def verified(self, model: Model, node_type: str, frame: DataFrame | Table, started: float) -> Verification:
        """Of the scores of the nodes of one type; `model` gives nothing for others."""
        graph = self.graph
        (layout,) = (each for each in graph.node_layouts if each.type == node_type)
        classify, labels, columns = _compared(model, node_type, frame)
        targets = self.targets
        if targets is not None and graph.is_typed:
            targets = targets.get("node_types", {}).get(node_type)
        check = check_rows(graph, frame, layout, targets)
        size = check.rows if self.asked.size is None else self.asked.size
        sampled = sample_rows(frame, columns, layout.text, size, self.asked.seed)
        ids = pc.unique(sampled[ID])

        hops = Hops.of(model.program)
        # what a typed graph has at the other end of its edges is of another type, and not looked for
        whole = self.asked.size is None or bool(totals_of(model.program)) or (graph.is_typed and hops.both_ways)
        if whole:
            counts = {each.type: rows_of(graph, each) for each in graph.node_layouts}
            check_memory(graph, model.program, counts)
            parts = _Parts(_whole(model, graph, node_type, ids, classify), whole=True)
        else:
            if check.unknown:  # which the check of the rows says; the others are compared, if there are any
                there = node_rows(graph, layout).among(ids, values=False)[ID].combine_chunks()
                known = ids.filter(pc.is_in(ids, value_set=there))
                ids = known if len(known) else ids
            if graph.is_typed:
                parts = self._around(model, node_type, hops, ids, classify)
            else:
                parts = self._neighbourhoods(model, hops, check.nodes, NODE, ids, classify)
        comparison = Comparison(model, node_type, sampled, classify, labels, self.wire, self.asked.tolerance)
        with Bar("verifying", len(ids), "node") as bar:
            for centres, part in parts.parts:
                comparison.add(centres, part)
                bar.to(comparison.recomputed)
        return self._found(comparison, parts, check, started)

    def verified_edges(
        self, model: Model, edge_type: EdgeType, frame: DataFrame | Table, started: float
    ) -> Verification:
        """Of scores that have a row per edge: those of all edges of a type into `size` nodes."""
        graph, read = self.graph, sorted(edge_columns_read(model, edge_type))
        classify, labels, columns = _compared(model, edge_type, frame)
        (layout,) = (each for each in graph.node_layouts if each.type == edge_type.target)
        (of_type,) = (each for each in graph.edge_layouts if each.edge_type == edge_type)
        widths = {name: value.width for name, value in model.program.outputs_of(edge_type).items()}
        of_edges = {name: model.inputs[f"{Edges(edge_type)}.{name}"] for name in read}
        frame = standard_scores(frame, {SRC: SRC, DST: DST}, of_edges | widths, of_type.texts)
        sampled, rows = sample_edges(frame, [*read, *columns], of_type.texts, self.asked.size, self.asked.seed)
        edges = EdgeRows(sampled, read)
        nodes, hops = {each.type: rows_of(graph, each) for each in graph.node_layouts}, Hops.of(model.program)
        there = node_rows(graph, layout).among(edges.nodes, values=False)[ID].combine_chunks()
        edges.leave_out(edges.nodes.filter(pc.invert(pc.is_in(edges.nodes, value_set=there))))
        ids = edges.nodes.filter(pc.is_in(edges.nodes, value_set=there))
        if self.asked.size is None or totals_of(model.program) or (graph.is_typed and hops.both_ways):
            check_memory(graph, model.program, nodes)
            ids = everything(graph).nodes[edge_type.target] if self.asked.size is None else ids
            parts = _Parts(_whole(model, graph, edge_type, ids, classify), whole=True)
        elif graph.is_typed:
            parts = self._around(model, edge_type, hops, ids, classify)
        else:
            parts = self._neighbourhoods(model, hops, nodes[NODE], edge_type, ids, classify)
        comparison = Comparison(model, edge_type, sampled, classify, labels, self.wire, self.asked.tolerance)
        compared = 0
        for centres, part in parts.parts:
            matched, names, some = edges.matched(centres, part)
            comparison.count(centres, part)
            comparison.compare(matched, names, some)
            compared += len(names)
        expected = None if graph.drop_dangling else edge_rows(graph, False, of_type).total()
        return self._found(comparison, parts, edges.check(rows, expected), started, compared)

    def _found(
        self,
        comparison: Comparison,
        parts: _Parts,
        check: RowCheck | EdgeCheck,
        started: float,
        compared_edges: int | None = None,
    ) -> Verification:
        model, seen = comparison.model, parts.neighbourhoods
        covered = seen is not None and seen.rest is not None
        return Verification(
            outputs=comparison.outputs(),
            recomputed=comparison.recomputed,
            too_large=tuple(parts.too_large),
            check=check,
            hops=Hops.of(model.program).edges,
            nodes=comparison.nodes,
            edges=comparison.edges,
            limit=self._most(model),
            seconds=time.perf_counter() - started,
            whole=parts.whole or covered,
            covered=covered,
            wrong_classes=tuple(comparison.wrong_classes),
            wrong_labels={name: tuple(ids) for name, ids in comparison.wrong_labels.items()},
            compared_edges=compared_edges,
            wire=self.wire,
        )

    def _most(self, model: Model) -> int:
        """Edges that are computed with at a time."""
        return self.asked.limit or max(1, GROUP_BYTES // _bytes_per_edge(model.program))

    def _around(self, model: Model, type: AnyType, hops: Hops, ids: pa.Array, classify: bool) -> _Parts:
        """Of a typed graph."""
        node_type = type if isinstance(type, str) else type.target
        found = Around(self.graph, node_type, model.program.edge_types, hops.edges, self._most(model))
        return _Parts(_around(model, self.graph, type, found, ids, classify), found.too_large)

    def _neighbourhoods(
        self, model: Model, hops: Hops, nodes: int, type: AnyType, ids: pa.Array, classify: bool
    ) -> _Parts:
        """Of a graph of one type, which has so many `nodes`."""
        held = HOLD_BYTES // _held_bytes(model.program)
        found = Neighbourhoods(self.graph, hops, self._most(model), held, partial(self._edges_at_once, model, nodes))
        return _Parts(_groups(model, self.graph, found, type, ids, classify), found.too_large, found)

    def _edges_at_once(self, model: Model, nodes: int) -> int | None:
        """Of the whole graph of one type, if the user did not limit what is computed at a time, and half of the memory
        is enough: nobody asked for all of it."""
        edges = count_edges(self.graph)
        fits = self.asked.limit is None and 2 * bytes_needed(model.program, {NODE: nodes}, edges) <= local_memory()
        return sum(edges.values()) if fits else None


@dataclass(frozen=True)
class _Parts:
    """Of the graph, those that are computed; each with the nodes that are compared."""

    parts: Iterator[tuple[pa.Array, Subgraph]]
    too_large: list[int | str] = field(default_factory=list)
    """Ids that are left out; known when all parts are computed."""
    neighbourhoods: Neighbourhoods | None = None
    whole: bool = False
    """Whether it is all of the graph, because that was asked for or is needed."""


def _compared(model: Model, type: AnyType, frame: DataFrame | Table) -> tuple[bool, dict[str, Label], list[str]]:
    """Whether the scores have classes; the labels that they have; and the columns of all that is compared."""
    outputs = [*model.program.outputs_of(type)]
    classify = {PREDICTED, PROBABILITY} <= set(frame.columns) - set(outputs)
    labels = labels_of(model.program, type, model.classes)
    labels = {name: label for name, label in labels.items() if name in frame.columns}
    return classify, labels, [*outputs, *([PREDICTED, PROBABILITY] if classify else []), *labels]


def _groups(
    model: Model, graph: Graph, neighbourhoods: Neighbourhoods, type: AnyType, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group, features in neighbourhoods.groups(ids):
        rows = Rows.untyped(group.nodes, group.edges, features)
        yield group.centres, subgraph_of(model, graph, rows, group.centres, classify, type)
    if neighbourhoods.rest is not None:
        yield from _whole(model, graph, type, neighbourhoods.rest, classify)


def _around(
    model: Model, graph: Graph, type: AnyType, around: Around, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group in around.groups(ids):
        yield group.centres, subgraph_of(model, graph, group.rows, group.centres, classify, type)


def _whole(
    model: Model, graph: Graph, type: AnyType, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    rows = everything(graph)
    # the others are unknown, which the check of the rows says
    ids = ids.filter(pc.is_in(ids, value_set=rows.nodes[type if isinstance(type, str) else type.target]))
    yield ids, subgraph_of(model, graph, rows, ids, classify, type)


def _bytes_per_edge(program: Program) -> int:
    """What the interpreter holds in the worst case, that every edge has a source of its own: all values, in float64."""
    return 8 * sum(value.width for value in program.values if not value.is_weight) or 8


def _held_bytes(program: Program) -> int:
    """What an edge takes in tables, and, at worst, a node of its own with its features."""
    return 24 + 4 * sum(math.prod(column.shape) for column in program.inputs)
