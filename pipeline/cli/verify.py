"""`graphsweep verify`: some scores are computed again, from the raw tables."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.given import as_typed, given, graph_columns, of_tables, sessions
from pipeline.command.answers import answer
from pipeline.command.columns import (
    csv_options,
)
from pipeline.command.exits import DIFFERS, DONE
from pipeline.command.messages import messages
from pipeline.command.options import (
    CsvEncoding,
    CsvIds,
    CsvNoHeader,
    CsvSep,
    DropDangling,
    Dst,
    EdgeFeatures,
    EdgesFormat,
    Features,
    GraphSpecPath,
    Id,
    Json,
    LogFormat,
    ModelPath,
    NodesFormat,
    Quiet,
    ReportPath,
    SomeEdges,
    SomeGraph,
    SomeNodes,
    Src,
    Undirected,
    Verbose,
    option,
)
from pipeline.errors import SettingError
from pipeline.job.raw_tables import RawTables
from pipeline.job.raw_tables import graph_spec as spec_of


def verify_command(
    model: ModelPath,
    output: Annotated[str, option("--output", "PATH", "The scores that infer wrote.")],
    graph: SomeGraph = None,
    nodes: SomeNodes = None,
    edges: SomeEdges = None,
    graph_spec: GraphSpecPath = None,
    sample: Annotated[str, option("--sample", "N|all", "Nodes to recompute; all: the whole graph at once.")] = "100",
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Which nodes.")] = 0,
    limit: Annotated[
        int | None, option("--limit", "E", "Edges to compute with at a time; else what 2 GB are enough for.")
    ] = None,
    tolerance: Annotated[
        float | None,
        option("--tolerance", "T", "Error that passes, in parts of the largest value; else what rounding explains."),
    ] = None,
    output_id: Annotated[
        str | None, option("--output-id", "NAME", "Column of ids in the scores; else as the run has written it.")
    ] = None,
    features: Features = None,
    edge_features: EdgeFeatures = None,
    undirected: Undirected = False,
    drop_dangling: DropDangling = False,
    nodes_format: NodesFormat = None,
    edges_format: EdgesFormat = None,
    csv_sep: CsvSep = None,
    csv_no_header: CsvNoHeader = False,
    csv_encoding: CsvEncoding = None,
    csv_ids: CsvIds = None,
    id: Id = None,
    src: Src = None,
    dst: Dst = None,
    report: ReportPath = None,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Recompute some nodes from the raw tables in float64, and compare. Exit code 3 if they differ.

    With --graph the raw tables are those that it was prepared from; --nodes and --edges name others in their place.
    """
    with messages("verify", quiet, verbose, json, log_format):
        from pipeline.job.verify import verify_paths

        columns = graph_columns(features, edge_features, undirected, drop_dangling, id, src, dst)
        csv = csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids)
        formats = given(nodes_format=nodes_format, edges_format=edges_format, csv=csv)
        if graph is None and graph_spec is None and (nodes is None or edges is None):
            raise SettingError("give --graph, or the raw tables: both --nodes and --edges, or --graph-spec")
        if graph is not None and (graph_spec or columns or formats):
            extra = as_typed([*given(graph_spec=graph_spec), *columns, *formats])
            raise SettingError(f"{extra}: of no use with --graph, which knows its tables and columns")
        spec = spec_of(graph_spec, nodes, edges, of_tables(columns))
        source = RawTables(nodes, edges, spec=spec, **formats) if graph is None else graph
        options = {
            "sample": sample,
            "seed": seed,
            "limit": limit,
            **given(tolerance=tolerance, output_id=output_id),
        }
        found = verify_paths(source, columns, model, output, nodes, edges, sessions(verbose), report, **options)
        code = DONE if found.passed else DIFFERS
        answer("verify", str(found), found.facts, json, code)
        if not found.passed:
            raise typer.Exit(code)
