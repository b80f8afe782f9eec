"""Verification: some nodes, or all, computed again by the textbook, straight from the raw tables, and compared with the
scores.

Comes in: a graph's tables, a model, scores. Goes out: a `Verification` that says how far they are apart. Knows nothing
of blocks and tiles: it runs the program as its author wrote it, in NumPy, in float64, on the sampled nodes' whole
neighbourhood. What it shares with the thing it verifies is the program and the meaning of the tables' columns; for the
size of rounding errors alone it asks which program is run (verifying/rounding.py).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import SettingError, StorageError, shortened
from pipeline.formula.classes import Label, labels_of
from pipeline.formula.program import Program
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.filesystem import opened
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.prepared import PreparedGraph
from pipeline.progress import Bar
from pipeline.report.run_report import RunReport, reads_of
from pipeline.result.by_type import giving
from pipeline.result.columns import Columns
from pipeline.result.inputs import inputs_of
from pipeline.result.manifest import id_columns
from pipeline.result.output import PREDICTED, PROBABILITY
from pipeline.run.arguments import given_session, model_of, path_or_table, some_graph
from pipeline.schema import ID, NODE
from pipeline.spark.resources import local_memory
from pipeline.tables.named import is_name
from pipeline.tables.survey import rows_of
from pipeline.tables.table import Table
from pipeline.verifying.around import Around
from pipeline.verifying.comparison import Comparison
from pipeline.verifying.edges import EdgeCheck, EdgeRows, sample_edges
from pipeline.verifying.neighbourhood import Hops, Neighbourhoods
from pipeline.verifying.recompute import Rows, Subgraph, edge_columns_read, subgraph_of
from pipeline.verifying.report import TypedVerification, Verification
from pipeline.verifying.rounding import WIRES
from pipeline.verifying.rows import RowCheck, check_rows
from pipeline.verifying.sampled import sample_rows
from pipeline.verifying.scores import standard_scores
from pipeline.verifying.semi_join import edge_rows, node_rows
from pipeline.verifying.sources import raw_graph, scores_table
from pipeline.verifying.typed_sources import scores_by_type, typed_graph
from pipeline.verifying.whole import bytes_needed, check_memory, count_edges, everything, totals_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ALL = "all"
GROUP_BYTES = 1 << 31  # what the interpreter may need for one group of the sample
HOLD_BYTES = 1 << 30  # what tables of edges and nodes may take that are collected together


def verify(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    scores: Any,
    nodes: Any = None,
    edges: Any = None,
    sample: int | str = 100,
    seed: int = 0,
    limit: int | None = None,
    spark: SparkSession | None = None,
    tolerance: float | None = None,
    output_id: str | None = None,
    report: str | os.PathLike[str] | None = None,
) -> Verification | TypedVerification:
    """Recomputes `sample` nodes, chosen by `seed` alone, and compares them with their scores.

    Every value is judged by what rounding to float32 can do to it, which is found by computing the same nodes several
    times in float32; where the result's marker says that numbers were sent in two bytes, that is counted in. The ids of
    the whole table are compared with those of the nodes, whatever the sample.

    Runs jobs; where nobody has a session and all tables are Parquet files that this process sees, it reads them itself.
    For a model that reads totals over all nodes the whole graph is computed at once, in the memory of this machine;
    also where the neighbourhoods of the sample would take more edges than the whole graph has, and half of the memory
    is enough.

    Of a typed graph the scores of each type are verified, as far as there are some; `sample` nodes of each. Of a run
    for targets, which its marker tells, the sample is taken of these, and other nodes have no rows.

    Parameters
    ----------
    graph
        The user's graph, or the prepared one: its manifest knows the tables that it was made of, and their columns.
    scores
        Where `score` wrote, Parquet or CSV, or what `infer` gave, a DataFrame or an Arrow table (pandas and polars
        too), of a typed graph node type → one of these; a lazy one is computed several times, and of one nobody knows
        whether the run sent numbers in two bytes: give the path of such a result, or a tolerance.
    nodes, edges
        The raw tables, as `Graph` takes them, where they are not those of the manifest; of a typed graph type → table.
    sample
        How many nodes; "all" computes the whole graph at once, in the memory of this machine.
    limit
        Edges that are computed with at a time. None: as many as the interpreter needs 2 GB for.
    tolerance
        Error that passes, in parts of the largest value of the column, in place of what rounding explains.
    output_id
        What the ids are called in the scores. None: as the marker of the run says, else as in the node table.
    report
        A file that ends in .html, or a folder: there goes a page about it, for people. It takes the libraries of
        `graphsweep[report]`.
    """
    started = time.perf_counter()
    asked = Asked.of(sample, seed, limit, tolerance, output_id)
    given = {"graph_path": graph, "model_path": model, "scores_path": scores}
    model = model_of(model)
    graph = some_graph(graph)
    given_session(spark)
    page = None if report is None else page_asked(report, graph, {"nodes": nodes, "edges": edges}, given)
    prepared = graph if isinstance(graph, PreparedGraph) else None
    found = _verified(graph, model, path_or_table(scores), nodes, edges, asked, spark, started)
    if page is not None:
        page.model(model)
        if prepared is not None:
            page.graph(prepared)
        page.write(found.facts, _place_of(scores))
    return found


def page_asked(
    report: str | os.PathLike[str],
    graph: Graph | PreparedGraph | None,
    tables: Mapping[str, Any],
    given: Mapping[str, Any],
) -> RunReport:
    """A page about a verification, refused before any work if it cannot be made; it must not touch what is read.

    Parameters
    ----------
    graph
        None: what is read of it is in `tables`.
    tables
        What they are called → tables or their paths, beside those of the graph.
    given
        graph_path, model_path, scores_path: what the caller was given, paths or not.
    """
    paths = {name: table for name, table in tables.items() if _is_path(table)}
    said = {name: each if _is_path(each) else None for name, each in given.items()}
    reads = inputs_of(graph, tables=paths, files={"the model": said["model_path"]})
    place = _place_of(said["scores_path"])
    page = RunReport.asked(
        report, "verify", reads_of({**reads, **({"the scores": place} if place else {})}, None, None)
    )
    page.of(**said)
    if isinstance(graph, Graph):
        paths |= {name: source.get("path") or source.get("table") for name, source in graph.sources.items()}
    if not isinstance(graph, PreparedGraph):
        page.tables(paths)
    return page


def _is_path(given: Any) -> bool:
    return isinstance(given, (str, os.PathLike))


def _place_of(scores: Any) -> Place | None:
    """Where they are; None of a table in memory, or by name."""
    return Place.of(scores) if _is_path(scores) and not is_name(os.fspath(scores)) else None


def _verified(
    graph: Graph | PreparedGraph,
    model: Model,
    found: Any,
    nodes: Any,
    edges: Any,
    asked: Asked,
    spark: SparkSession | None,
    started: float,
) -> Verification | TypedVerification:
    if isinstance(graph, PreparedGraph):
        # of the raw tables every direction can be read
        model.check_against(graph.schema.both_ways(), graph.ranges, graph.manifest.get("columns"))
        read = typed_graph if graph.is_typed else raw_graph
        graph = read(graph, path_or_table(nodes), path_or_table(edges), spark)
    model = model.bound_to(graph.describe()["columns"])
    marker = _marker(found) if isinstance(found, str) else {}
    run = _Run(graph, asked, _wire(marker), _targets(found, marker))
    if model.program.is_per_edge:
        return run.verified_edges(model, scores_table(graph, found), started)
    ids = id_columns(graph.id_names, marker, asked.output_id)
    if not graph.is_typed:
        frame = _standard(graph, model, NODE, scores_table(graph, found), ids)
        return run.verified(model, NODE, frame, started)
    tables = scores_by_type(graph, model.program.output_types, found)
    tables = {type: _standard(graph, model, type, frame, ids) for type, frame in tables.items()}
    checked = {}
    for node_type, frame in tables.items():
        checked[node_type] = run.verified(giving(model, [node_type]), node_type, frame, time.perf_counter())
    left_out = tuple(each for each in model.program.output_types if each not in checked)
    return TypedVerification(checked, left_out)


def _standard(
    graph: Graph, model: Model, node_type: str, scores: DataFrame | Table, ids: Mapping[str, str]
) -> DataFrame | Table:
    """The scores of a type in the form that is verified."""
    widths = {name: value.width for name, value in model.program.outputs_of(node_type).items()}
    (text,) = (layout.text for layout in graph.node_layouts if layout.type == node_type)
    return standard_scores(scores, ids[node_type], widths, text)


@dataclass(frozen=True)
class Asked:
    """How much is to be verified, and how."""

    size: int | None
    """Of the sample; None: all."""
    seed: int
    limit: int | None
    tolerance: float | None
    output_id: str | None

    @staticmethod
    def of(sample: Any = 100, seed: Any = 0, limit: Any = None, tolerance: Any = None, output_id: Any = None) -> Asked:
        """Options of `verify`; SettingError for what none of them can be."""
        size = _sample_size(sample)
        if limit is not None and not (_is_whole(limit) and limit >= 1):
            raise SettingError(f"limit is {shortened(limit)}; accepted: a whole number from 1")
        if tolerance is not None and not (isinstance(tolerance, (int, float)) and 0 <= tolerance <= 1):
            raise SettingError(f"tolerance is {shortened(tolerance)}; accepted: a number from 0 to 1")
        if not _is_whole(seed):
            raise SettingError(f"seed is {shortened(seed)}; accepted: a whole number")
        return Asked(size, seed, limit, tolerance, Columns(output_id=output_id).output_id)


@dataclass(frozen=True)
class _Run:
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
                around = Around(graph, node_type, model.program.edge_types, hops.edges, self._most(model))
                parts = _Parts(_around(model, graph, node_type, around, ids, classify), around.too_large)
            else:
                parts = self._neighbourhoods(model, hops, check.nodes, ids, classify)
        comparison = Comparison(model, node_type, sampled, classify, labels, self.wire, self.asked.tolerance)
        with Bar("verifying", len(ids), "node") as bar:
            for centres, part in parts.parts:
                comparison.add(centres, part)
                bar.to(comparison.recomputed)
        return self._found(comparison, parts, check, started)

    def verified_edges(self, model: Model, frame: DataFrame | Table, started: float) -> Verification:
        """Of scores that have a row per edge: those of all edges into `size` nodes."""
        graph, read = self.graph, sorted(edge_columns_read(model))
        classify, labels, columns = _compared(model, NODE, frame)
        (layout,) = graph.node_layouts
        sampled, rows = sample_edges(frame, [*read, *columns], layout.text, self.asked.size, self.asked.seed)
        edges = EdgeRows(sampled, read)
        nodes, hops = rows_of(graph, layout), Hops.of(model.program)
        there = node_rows(graph, layout).among(edges.nodes, values=False)[ID].combine_chunks()
        edges.leave_out(edges.nodes.filter(pc.invert(pc.is_in(edges.nodes, value_set=there))))
        ids = edges.nodes.filter(pc.is_in(edges.nodes, value_set=there))
        if self.asked.size is None or totals_of(model.program):
            check_memory(graph, model.program, {NODE: nodes})
            ids = everything(graph).nodes[NODE] if self.asked.size is None else ids
            parts = _Parts(_whole(model, graph, NODE, ids, classify), whole=True)
        else:
            parts = self._neighbourhoods(model, hops, nodes, ids, classify)
        comparison = Comparison(model, NODE, sampled, classify, labels, self.wire, self.asked.tolerance)
        compared = 0
        for centres, part in parts.parts:
            matched, names, some = edges.matched(centres, part)
            comparison.count(centres, part)
            comparison.compare(matched, names, some)
            compared += len(names)
        expected = None if graph.drop_dangling else edge_rows(graph, False).total()
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

    def _neighbourhoods(self, model: Model, hops: Hops, nodes: int, ids: pa.Array, classify: bool) -> _Parts:
        """Of a graph of one type, which has so many `nodes`."""
        held = HOLD_BYTES // _held_bytes(model.program)
        found = Neighbourhoods(self.graph, hops, self._most(model), held, partial(self._edges_at_once, model, nodes))
        return _Parts(_groups(model, self.graph, found, ids, classify), found.too_large, found)

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


def _compared(model: Model, node_type: str, frame: DataFrame | Table) -> tuple[bool, dict[str, Label], list[str]]:
    """Whether the scores have classes; the labels that they have; and the columns of all that is compared."""
    outputs = [*model.program.outputs_of(node_type)]
    classify = {PREDICTED, PROBABILITY} <= set(frame.columns) - set(outputs)
    labels = labels_of(model.program, node_type, model.classes)
    labels = {name: label for name, label in labels.items() if name in frame.columns}
    return classify, labels, [*outputs, *([PREDICTED, PROBABILITY] if classify else []), *labels]


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _sample_size(sample: int | str) -> int | None:
    """None for all."""
    if sample == ALL:
        return None
    if isinstance(sample, str) and sample.isascii() and sample.isdigit():
        sample = int(sample)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise SettingError(f"sample is {sample}; accepted: a whole number from 1, or all")
    return sample


def _marker(scores: str) -> Mapping[str, Any]:
    """What the run says of its result; nothing where there is no marker."""
    at = None if is_name(scores) else opened(Place.of(scores))
    return (read_marker(at) if at is not None else None) or {}


def _wire(marker: Mapping[str, Any]) -> str:
    """In what format the run sent numbers; float32 if it does not say."""
    settings = marker.get("settings")
    wire = settings.get("wire") if isinstance(settings, dict) else None
    return wire if isinstance(wire, str) and wire in WIRES else "float32"


def _targets(scores: Any, marker: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Which nodes were wanted; None if all were."""
    targets = marker.get("targets")
    if targets is None:
        return None
    by_type = targets.get("node_types") if isinstance(targets, dict) else None
    for each in by_type.values() if isinstance(by_type, dict) else [targets]:
        if isinstance(each, dict) and isinstance(each.get("rows"), int) and "ids" in each:
            continue
        raise StorageError(f"{scores}: its marker is damaged: targets is {shortened(targets)}")
    return targets


def _groups(
    model: Model, graph: Graph, neighbourhoods: Neighbourhoods, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group, features in neighbourhoods.groups(ids):
        rows = Rows.untyped(group.nodes, group.edges, features)
        yield group.centres, subgraph_of(model, graph, rows, group.centres, classify)
    if neighbourhoods.rest is not None:
        yield from _whole(model, graph, NODE, neighbourhoods.rest, classify)


def _around(
    model: Model, graph: Graph, node_type: str, around: Around, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    for group in around.groups(ids):
        yield group.centres, subgraph_of(model, graph, group.rows, group.centres, classify, node_type)


def _whole(
    model: Model, graph: Graph, node_type: str, ids: pa.Array, classify: bool
) -> Iterator[tuple[pa.Array, Subgraph]]:
    rows = everything(graph)
    # the others are unknown, which the check of the rows says
    ids = ids.filter(pc.is_in(ids, value_set=rows.nodes[node_type]))
    yield ids, subgraph_of(model, graph, rows, ids, classify, node_type)


def _bytes_per_edge(program: Program) -> int:
    """What the interpreter holds in the worst case, that every edge has a source of its own: all values, in float64."""
    return 8 * sum(value.width for value in program.values if not value.is_weight) or 8


def _held_bytes(program: Program) -> int:
    """What an edge takes in tables, and, at worst, a node of its own with its features."""
    return 24 + 4 * sum(math.prod(column.shape) for column in program.inputs)
