"""Verification: some nodes, or all, computed again by the textbook, straight from the raw tables, and compared with the
scores.

Comes in: a graph's tables, a model, scores. Goes out: a `Verification` that says how far they are apart. Knows nothing
of blocks and tiles: it runs the program as its author wrote it, in NumPy, in float64, on the sampled nodes' whole
neighbourhood. What it shares with the thing it verifies is the program and the meaning of the tables' columns; for the
size of rounding errors alone it asks which program is run (verifying/rounding.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.place import Place
from pipeline.prepared import PreparedGraph
from pipeline.report.run_report import RunReport, reads_of
from pipeline.result.by_type import giving
from pipeline.result.inputs import inputs_of
from pipeline.result.manifest import id_columns
from pipeline.run.arguments import given_session, model_of, path_or_table, some_graph
from pipeline.schema import EDGE, ID, NODE
from pipeline.tables.named import is_name
from pipeline.tables.table import Table
from pipeline.verifying.asked import Asked
from pipeline.verifying.marked import marker_of, targets_of, wire_of
from pipeline.verifying.report import TypedVerification, Verification
from pipeline.verifying.run import Run
from pipeline.verifying.scores import standard_scores
from pipeline.verifying.sources import raw_graph, scores_table
from pipeline.verifying.typed_sources import scores_by_type, typed_graph

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


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
        too), of a typed graph type → one of these; a lazy one is computed several times, and of one nobody knows
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
    marker = marker_of(found) if isinstance(found, str) else {}
    run = Run(graph, asked, wire_of(marker), targets_of(found, marker))
    if model.program.is_per_edge and not graph.is_typed:
        return run.verified_edges(model, EDGE, scores_table(graph, found), started)
    ids = id_columns(graph.id_names, marker, asked.output_id)
    if not graph.is_typed:
        frame = _standard(graph, model, NODE, scores_table(graph, found), ids)
        return run.verified(model, NODE, frame, started)
    tables = scores_by_type(graph, model.program.output_types, found)
    checked = {}
    for type, frame in tables.items():
        part = giving(model, [type])
        if isinstance(type, str):
            frame = _standard(graph, part, type, frame, ids)
            checked[str(type)] = run.verified(part, type, frame, time.perf_counter())
        else:
            checked[str(type)] = run.verified_edges(part, type, frame, time.perf_counter())
    left_out = tuple(str(each) for each in model.program.output_types if each not in tables)
    return TypedVerification(checked, left_out)


def _standard(
    graph: Graph, model: Model, node_type: str, scores: DataFrame | Table, ids: Mapping[str, str]
) -> DataFrame | Table:
    """The scores of a type in the form that is verified."""
    widths = {name: value.width for name, value in model.program.outputs_of(node_type).items()}
    (text,) = (layout.text for layout in graph.node_layouts if layout.type == node_type)
    return standard_scores(scores, {ID: ids[node_type]}, widths, [text])
