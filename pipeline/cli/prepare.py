"""`graphsweep prepare`: raw tables become a prepared graph."""

from __future__ import annotations

from typing import Annotated

from pipeline.cli.given import given, sessions, settings_from
from pipeline.command.answers import answer
from pipeline.command.columns import (
    columns_by_type,
    csv_options,
    edge_columns,
    feature_columns,
)
from pipeline.command.messages import messages
from pipeline.command.options import (
    Blocks,
    BlocksBy,
    Conf,
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
    IfSame,
    Json,
    LogFormat,
    NodesFormat,
    Overwrite,
    Quiet,
    ReportPath,
    Reverse,
    SomeEdges,
    SomeNodes,
    Src,
    Undirected,
    Verbose,
    WorkDir,
    option,
)
from pipeline.errors import SettingError
from pipeline.job.raw_tables import RawTables
from pipeline.job.raw_tables import graph_spec as spec_of


def prepare_command(
    output: Annotated[str, option("--output", "PATH", "Where the prepared graph goes.")],
    nodes: SomeNodes = None,
    edges: SomeEdges = None,
    graph_spec: GraphSpecPath = None,
    features: Features = None,
    edge_features: EdgeFeatures = None,
    undirected: Undirected = False,
    reverse: Reverse = False,
    blocks: Blocks = None,
    blocks_by: BlocksBy = None,
    drop_dangling: DropDangling = False,
    overwrite: Overwrite = False,
    if_same: IfSame = None,
    work_dir: WorkDir = None,
    nodes_format: NodesFormat = None,
    edges_format: EdgesFormat = None,
    csv_sep: CsvSep = None,
    csv_no_header: CsvNoHeader = False,
    csv_encoding: CsvEncoding = None,
    csv_ids: CsvIds = None,
    id: Id = None,
    src: Src = None,
    dst: Dst = None,
    conf: Conf = None,
    report: ReportPath = None,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cut a graph into blocks and store it: once per graph, for any number of models."""
    with messages("prepare", quiet, verbose, json, log_format):
        settings = settings_from(conf, blocks=blocks, work_dir=work_dir)
        if graph_spec is None and (nodes is None or edges is None):
            raise SettingError("give --nodes and --edges, or --graph-spec")
        of_columns = given(features=features, edge_features=edge_features, id=id, src=src, dst=dst)
        spec = spec_of(graph_spec, nodes, edges, of_columns)
        csv = csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids)
        tables = RawTables(nodes, edges, nodes_format, edges_format, csv, spec)
        options = given(undirected=undirected, reverse=reverse, drop_dangling=drop_dangling, id=id, src=src, dst=dst)
        if spec is None or not spec.options:
            options["features"] = "x" if features is None else feature_columns(features)
            options["edge_features"] = edge_columns(edge_features or "")
        from pipeline.command.lineage import lineage
        from pipeline.job.prepare import prepare_paths

        files = {"the settings' file": conf, "the graph's file": graph_spec}
        with lineage("prepare", tables.tables, output) as told:
            by = columns_by_type(blocks_by or [])
            prepared = prepare_paths(
                tables, output, options, settings, sessions(verbose), overwrite, if_same, report, files, by
            )
            if told is not None:
                told.made(prepared.graph.nodes)
        answer("prepare", str(prepared), prepared.facts, json)
