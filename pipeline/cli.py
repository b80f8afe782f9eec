"""The command line: `graphsweep prepare | infer | explain | verify | doctor | export`.

Comes in: arguments. Goes out: one call of the library each, what came of it on stdout, log lines and errors on stderr.
Options are parsed here, and here only; the jobs for spark-submit call the same commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.command.answers import OUTCOMES, answer
from pipeline.command.columns import (
    column_names,
    csv_options,
    edge_columns,
    feature_columns,
    input_column,
    output_names,
)
from pipeline.command.exits import DIFFERS, DONE, MENDABLE, TABLE
from pipeline.command.log_lines import json_line, wants_lines
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
    GraphPath,
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
    Reverse,
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
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.job.sessions import Sessions

USAGE: type[Exception] = typer.BadParameter.__bases__[0]
"""Of options that cannot be read: a class of click, or of the copy of it that newer versions of Typer hold."""

app = typer.Typer(
    name="graphsweep",
    help="Exact inference of graph neural networks over a whole graph, on Apache Spark.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.command(name="prepare")
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
        settings = _settings(conf, blocks=blocks, work_dir=work_dir)
        if graph_spec is None and (nodes is None or edges is None):
            raise SettingError("give --nodes and --edges, or --graph-spec")
        of_columns = _given(features=features, edge_features=edge_features, id=id, src=src, dst=dst)
        spec = spec_of(graph_spec, nodes, edges, of_columns)
        csv = csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids)
        tables = RawTables(nodes, edges, nodes_format, edges_format, csv, spec)
        options = _given(undirected=undirected, reverse=reverse, drop_dangling=drop_dangling, id=id, src=src, dst=dst)
        if spec is None or not spec.options:
            options["features"] = "x" if features is None else feature_columns(features)
            options["edge_features"] = edge_columns(edge_features or "")
        from pipeline.command.lineage import lineage
        from pipeline.job.prepare import prepare_paths

        files = {"the settings' file": conf, "the graph's file": graph_spec}
        with lineage("prepare", tables.tables, output) as told:
            prepared = prepare_paths(
                tables, output, options, settings, _sessions(verbose), overwrite, if_same, report, files
            )
            if told is not None:
                told.made(prepared.graph.nodes)
        answer("prepare", str(prepared), prepared.facts, json)


@app.command(name="infer")
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
        option("--table-mode", "MODE", "create (default); of a Delta table overwrite, append, or merge by id."),
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
        option("--format", "FORMAT", "Of the scores: parquet (default) or csv; of a new table delta or parquet."),
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
        settings = _settings(conf, tier=tier, blocks=blocks, exchange=exchange, work_dir=work_dir)
        columns = _given(
            features=None if features is None else feature_columns(features),
            edge_features=None if edge_features is None else edge_columns(edge_features),
            undirected=undirected, drop_dangling=drop_dangling, id=id, src=src, dst=dst,
        )  # fmt: skip
        csv = csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids)
        formats = _given(nodes_format=nodes_format, edges_format=edges_format, csv=csv)
        raw_given = graph_spec is not None or nodes is not None or edges is not None
        if (graph is None) != raw_given or (nodes is None) != (edges is None):
            raise SettingError("give either --graph, or both --nodes and --edges, or --graph-spec")
        if graph is not None and (columns or formats or blocks):
            extra = ", ".join(f"--{name.replace('_', '-')}" for name in [*columns, *formats, *_given(blocks=blocks)])
            raise SettingError(f"{extra}: of no use with --graph, which was prepared already")
        if (output is None) == (output_table is None):
            raise SettingError("give --output, a path, or --output-table, the name of a table")
        if output_table is None and table_mode is not None:
            raise SettingError("--table-mode is of --output-table, which names the table")
        if output_table is not None and (overwrite or if_same):
            extra = "--overwrite" if overwrite else "--if-same"
            raise SettingError(f"{extra}: of no use with --output-table; --table-mode says what becomes of a table")
        if output_table is not None and (report or mlflow):
            raise SettingError(f"{'--report' if report else '--mlflow'}: only for scores that go to a path, --output")
        from pipeline.command.lineage import lineage
        from pipeline.job.score import Scored, score_into_table, score_paths
        from pipeline.result.by_type import types_of
        from pipeline.result.into_table import IntoTable
        from pipeline.result.wish import Wish
        from pipeline.result.written import PARQUET
        from pipeline.tables.targets import Targets

        chosen = types_of(column_names(types)) if types else None
        wanted = Targets.of(Targets.of_paths(targets or []), ignore_unknown)
        of_columns = _given(features=features, edge_features=edge_features, id=id, src=src, dst=dst)
        spec = spec_of(graph_spec, nodes, edges, of_columns)
        source = RawTables(nodes, edges, spec=spec, **formats) if graph is None else graph
        target_files = {} if wanted is None else wanted.paths
        files = {"the settings' file": conf, "the graph's file": graph_spec, **target_files}
        read = {"graph": graph} if graph is not None else RawTables(nodes, edges, spec=spec).tables
        sessions = _sessions(verbose)
        with lineage("infer", {**read, "model": model, **target_files}, str(output or output_table)) as told:
            if output_table is not None:
                table = IntoTable(output_table, table_mode, format)
                made = partial(Wish, classify=classify, types=chosen, targets=wanted, output_id=output_id)
                scored: Scored = score_into_table(
                    source, columns, model, table, made, settings, sessions, files, not quiet
                )
            else:
                assert output is not None, "one of the two was given"
                wish = Wish(output, format or PARQUET, overwrite, classify, if_same, chosen, wanted, output_id)
                scored = score_paths(source, columns, model, wish, settings, sessions, files, not quiet, report, mlflow)
            if told is not None:
                told.made(scored.report.rows)
        answer("infer", str(scored), scored.facts, json)


@app.command(name="explain")
def explain_command(
    graph: GraphPath,
    model: ModelPath,
    tier: Tier = None,
    exchange: Exchange = None,
    targets: TargetTables = None,
    ignore_unknown: IgnoreUnknown = False,
    conf: Conf = None,
    html: Annotated[
        str | None, option("--html", "FILE|DIR", "The same as a page with a drawing. Needs graphsweep[report].")
    ] = None,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark."""
    with messages("explain", quiet, verbose, json, log_format):
        from pipeline.explain import Explanation
        from pipeline.tables.targets import Targets

        wanted = Targets.of(Targets.of_paths(targets or []), ignore_unknown)
        settings = _settings(conf, tier=tier, exchange=exchange)
        page = None
        if html is not None:
            from pipeline.job.drawn import page_of_plan

            target_files = {} if wanted is None else wanted.paths
            page = page_of_plan(html, graph, model, settings, {"the settings' file": conf, **target_files})
        found = Explanation.of(graph, model, settings, wanted)
        if page is not None:
            found = found.with_page(page, settings)
        answer("explain", str(found), found.facts if json else {}, json)


@app.command(name="status")
def status_command(
    work_dir: Annotated[str, typer.Argument(metavar="DIR", help="What infer or prepare was given as --work-dir.")],
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say how far a run is, or was when it was killed. Starts no work, not even Spark."""
    with messages("status", quiet, verbose, json, log_format):
        from pipeline.job.status import status

        found = status(work_dir)
        answer("status", str(found), found.facts, json)


@app.command(name="verify")
def verify_command(
    graph: GraphPath,
    model: ModelPath,
    output: Annotated[str, option("--output", "PATH", "The scores that infer wrote.")],
    nodes: SomeNodes = None,
    edges: SomeEdges = None,
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
    report: ReportPath = None,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Recompute some nodes from the raw tables in float64, and compare. Exit code 3 if they differ."""
    with messages("verify", quiet, verbose, json, log_format):
        from pipeline.job.verify import verify_paths

        options = {"sample": sample, "seed": seed, "limit": limit, **_given(tolerance=tolerance, output_id=output_id)}
        found = verify_paths(graph, model, output, nodes, edges, _sessions(verbose), report, **options)
        code = DONE if found.passed else DIFFERS
        answer("verify", str(found), found.facts, json, code)
        if not found.passed:
            raise typer.Exit(code)


@app.command(name="doctor")
def doctor_command(
    path: Annotated[
        list[str] | None, option("--path", "PATH", "A folder that all machines should share; may be given again.")
    ] = None,
    conf: Conf = None,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what is missing, here and where tasks run, and what to change. Exit code 2 if runs would fail."""
    with messages("doctor", quiet, verbose, json, log_format):
        from pipeline.command.own_session import check_java, check_pyspark
        from pipeline.job.doctor import diagnose

        found = diagnose(path or [], _settings(conf), _sessions(verbose), check_pyspark, check_java)
        code = MENDABLE if found.failed else DONE
        answer("doctor", str(found), found.facts, json, code)
        if found.failed:
            raise typer.Exit(code)


@app.command(name="export")
def export_command(
    reference: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="What makes the PyG module.")],
    output: Annotated[str, option("--output", "PATH", "Where the model goes.")],
    checkpoint: Annotated[str | None, option("--checkpoint", "FILE", "Weights: .safetensors, or a state dict.")] = None,
    input: Annotated[
        list[str] | None,
        option(
            "--input",
            "NAME=COLUMN",
            "Argument of forward and its column: edge_weight=edges.weight, or none, or a number; "
            "edge_attr=edges.a+edges.b; adj_t=edge_index+edges.weight.",
        ),
    ] = None,
    outputs: Annotated[
        str | None,
        option(
            "--outputs",
            "NAME[,NAME…]",
            "What the outputs are called, in their order, like logits; of a dict: those that are wanted; "
            "logits=output_0: both.",
        ),
    ] = None,
    features: Annotated[int | None, option("--features", "WIDTH", "Width of x; else it is found by trying.")] = None,
    unused: Annotated[
        list[str] | None, option("--unused", "PATTERN", "Weights that may go unread, such as 'decoder.*'.")
    ] = None,
    columns: Annotated[
        str | None, option("--columns", "COL[,COL…]", "Columns of x in training, in order: infer checks them.")
    ] = None,
    training: Annotated[
        str | None,
        option("--training", "TABLE", "Node table of training, for its ranges: infer warns of numbers far outside."),
    ] = None,
    untrained: Annotated[bool, option("--untrained", None, "The weights are random, and that is meant.")] = False,
    like: Annotated[
        str | None,
        option("--like", "GRAPH", "The typed graph that the model is for: prepared, or as --graph-spec takes it."),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    log_format: LogFormat = "text",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn a trained PyTorch Geometric module into a model. The only command that needs torch."""
    with messages("export", quiet, verbose, json, log_format):
        from pipeline.job.export import export_module

        inputs = dict(input_column(text) for text in input or [])
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's own module
        model = export_module(
            reference, output, checkpoint, inputs, features, unused or (), column_names(columns or ""), training,
            untrained, overwrite, like, output_names(outputs),
        )  # fmt: skip
        first, _, _ = str(model).partition("\n")
        about = "".join(f"{line}\n" for line in model.about.lines)
        text = f"{first}\n{about}checked against the module on other graphs; written to {output}"
        answer("export", text, {"output": output, **model.facts}, json)


@app.callback(invoke_without_command=True, epilog=TABLE)
def _options(version: Annotated[bool, option("--version", None, "Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"graphsweep {installed('graphsweep')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; `arguments` instead of the process's own. Ends in SystemExit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not wants_lines(given):
        app(args=given, prog_name="graphsweep")
    try:  # options that cannot be read are told as everything else is
        left = app(args=given, prog_name="graphsweep", standalone_mode=False)
    except USAGE as error:
        command = next((word for word in given if not word.startswith("-")), "")
        facts = {"command": command, "outcome": OUTCOMES[MENDABLE], "exit_code": MENDABLE}
        typer.echo(json_line("error", "end", getattr(error, "format_message", error.__str__)(), facts), err=True)
        raise SystemExit(MENDABLE) from None
    raise SystemExit(left if isinstance(left, int) else DONE)


def task() -> None:
    """The same for a wheel task of Databricks: it returns when all is well, where a command ends in SystemExit(0)."""
    try:
        main()
    except SystemExit as end:
        if end.code != DONE:
            raise


# ---- from options to the library


def _sessions(verbose: bool) -> Sessions:
    from pipeline.command.own_session import spark_is_optional
    from pipeline.job.sessions import Sessions

    return Sessions(spark_is_optional, partial(_session, verbose))


def _session(verbose: bool, small: bool = False, meanwhile: Callable[[], None] | None = None) -> Any:
    from pipeline.command.own_session import spark_session

    return spark_session(verbose, small, meanwhile)


def _settings(conf: str | None, **given: Any) -> Settings:
    return (Settings.load(conf) if conf else Settings()).changed(_given(**given))


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False}
