"""`graphsweep infer`: a graph and a model become scores."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pipeline.cli.given import as_typed, given, graph_columns, of_tables, sessions, settings_from
from pipeline.command.answers import answer
from pipeline.command.columns import (
    column_names,
    csv_options,
)
from pipeline.command.messages import messages
from pipeline.command.options import (
    Blocks,
    Conf,
    CsvEncoding,
    CsvIds,
    CsvNoHeader,
    CsvSep,
    DropDangling,
    Dst,
    EdgeFeatures,
    EdgesFormat,
    Exchange,
    Features,
    GraphSpecPath,
    Id,
    IfSame,
    IgnoreUnknown,
    Json,
    LogFormat,
    LogToMlflow,
    ModelPath,
    NodesFormat,
    Overwrite,
    Quiet,
    ReportPath,
    SomeEdges,
    SomeGraph,
    SomeNodes,
    Src,
    TargetTables,
    Tier,
    Types,
    Undirected,
    Verbose,
    WorkDir,
    option,
)
from pipeline.errors import SettingError
from pipeline.job.raw_tables import RawTables
from pipeline.job.raw_tables import graph_spec as spec_of


def infer_command(
    model: ModelPath,
    output: Annotated[str | None, option("--output", "PATH", "Where the scores go.")] = None,
    output_table: Annotated[
        str | None,
        option(
            "--output-table", "NAME", "Instead of --output: a table of Spark's catalog, with updated_at and run_id."
        ),
    ] = None,
    table_mode: Annotated[
        str | None,
        option(
            "--table-mode",
            "MODE",
            "create (default); of a Delta or Iceberg table overwrite, append, merge by id, or mirror.",
        ),
    ] = None,
    partition_by: Annotated[
        str | None,
        option(
            "--partition-by",
            "COL[,COL…]",
            "Columns that a new table is partitioned by: run_id, updated_at, label, predicted.",
        ),
    ] = None,
    graph: SomeGraph = None,
    nodes: SomeNodes = None,
    edges: SomeEdges = None,
    graph_spec: GraphSpecPath = None,
    types: Types = None,
    targets: TargetTables = None,
    ignore_unknown: IgnoreUnknown = False,
    format: Annotated[
        str | None,
        option(
            "--format", "FORMAT", "Of the scores: parquet (default) or csv; of a new table delta, iceberg or parquet."
        ),
    ] = None,
    classify: Annotated[bool, option("--classify", None, "Add predicted class and its probability.")] = False,
    output_id: Annotated[
        str | None, option("--output-id", "NAME", "Column of ids in the scores; else as --id.")
    ] = None,
    overwrite: Overwrite = False,
    if_same: IfSame = None,
    tier: Tier = None,
    exchange: Exchange = None,
    work_dir: WorkDir = None,
    blocks: Blocks = None,
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
    mlflow: LogToMlflow = False,
    conf: Conf = None,
    report: ReportPath = None,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a model over a whole graph: the exact output of every node, keyed by your ids."""
    with messages("infer", quiet, verbose, json, log_format):
        settings = settings_from(conf, tier=tier, blocks=blocks, exchange=exchange, work_dir=work_dir)
        columns = graph_columns(features, edge_features, undirected, drop_dangling, id, src, dst)
        csv = csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids)
        formats = given(nodes_format=nodes_format, edges_format=edges_format, csv=csv)
        raw_given = graph_spec is not None or nodes is not None or edges is not None
        if (graph is None) != raw_given or (nodes is None) != (edges is None):
            raise SettingError("give either --graph, or both --nodes and --edges, or --graph-spec")
        if graph is not None and (columns or formats or blocks):
            extra = as_typed([*columns, *formats, *given(blocks=blocks)])
            raise SettingError(f"{extra}: of no use with --graph, which was prepared already")
        if (output is None) == (output_table is None):
            raise SettingError("give --output, a path, or --output-table, the name of a table")
        if output_table is None and table_mode is not None:
            raise SettingError("--table-mode is of --output-table, which names the table")
        if output_table is None and partition_by is not None:
            raise SettingError("--partition-by is of --output-table, which names the table")
        if table_mode == "mirror" and targets:
            raise SettingError(
                "--table-mode mirror removes rows of nodes that the run does not have, and --targets scores only some; "
                "take merge"
            )
        if output_table is not None and (overwrite or if_same):
            extra = "--overwrite" if overwrite else "--if-same"
            raise SettingError(f"{extra}: of no use with --output-table; --table-mode says what becomes of a table")
        from pipeline.command.lineage import lineage
        from pipeline.job.score import score_into_table, score_paths
        from pipeline.result.by_type import types_of
        from pipeline.result.into_table import IntoTable, refuse_name
        from pipeline.result.wish import Wish
        from pipeline.result.written import PARQUET
        from pipeline.tables.targets import Targets

        chosen = types_of(column_names(types)) if types else None
        wanted = Targets.of(Targets.of_paths(targets or []), ignore_unknown)
        spec = spec_of(graph_spec, nodes, edges, of_tables(columns))
        source = RawTables(nodes, edges, spec=spec, **formats) if graph is None else graph
        target_files = {} if wanted is None else wanted.paths
        files = {"the settings' file": conf, "the graph's file": graph_spec, **target_files}
        read = {"graph": graph} if graph is not None else RawTables(nodes, edges, spec=spec).tables
        giver = sessions(verbose)
        with lineage("infer", {**read, "model": model, **target_files}, str(output or output_table)) as told:
            if output_table is not None:
                table = IntoTable(output_table, table_mode, format, column_names(partition_by or ""))
                made = partial(Wish, classify=classify, types=chosen, targets=wanted, output_id=output_id)
                scored = score_into_table(source, columns, model, table, made, settings, giver, files, report, mlflow)
            else:
                assert output is not None, "one of the two was given"
                refuse_name(output)
                wish = Wish(output, format or PARQUET, overwrite, classify, if_same, chosen, wanted, output_id)
                scored = score_paths(source, columns, model, wish, settings, giver, files, report, mlflow)
            if told is not None:
                told.made(scored.report.rows)
        answer("infer", str(scored), scored.facts, json)
