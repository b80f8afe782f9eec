"""The command line: `graphsweep prepare | infer | explain | verify | export`.

Comes in: arguments. Goes out: one call of the library each, what came of it on stdout, log lines and errors on stderr.
Options are parsed here, and here only; the jobs for spark-submit call the same commands.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.command.exits import DIFFERS, TABLE
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
    ModelPath,
    NodesFormat,
    Overwrite,
    Quiet,
    Reverse,
    SomeEdges,
    SomeGraph,
    SomeNodes,
    Src,
    Tier,
    Types,
    Undirected,
    Verbose,
    option,
)
from pipeline.command.raw import (
    RawTables,
    column_names,
    columns_for,
    csv_options,
    feature_columns,
)
from pipeline.command.raw import (
    graph_spec as spec_of,
)
from pipeline.errors import SettingError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.graph import PreparedGraph
    from pipeline.result.report import Report

log = logging.getLogger("graphsweep")

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
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Cut a graph into blocks and store it: once per graph, for any number of models."""
    with messages(quiet, verbose):
        settings = _settings(conf, blocks=blocks)
        from pipeline.blocks.storage import find_manifest
        from pipeline.preparing.origin import places_named
        from pipeline.preparing.publish import refuse_taken

        if if_same not in (None, "skip"):
            raise SettingError(f"--if-same is {if_same!r}; accepted: skip")
        if graph_spec is None and (nodes is None or edges is None):
            raise SettingError("give --nodes and --edges, or --graph-spec")
        of_columns = _given(features=features, edge_features=edge_features, id=id, src=src, dst=dst)
        spec = spec_of(graph_spec, nodes, edges, of_columns)
        csv = csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids)
        tables = RawTables(nodes, edges, nodes_format, edges_format, csv, spec)
        if if_same is None or find_manifest(output) is None:
            refuse_taken(
                output, overwrite, places_named(tables.tables)
            )  # prepare does too, when Spark has been started
        options = _given(undirected=undirected, reverse=reverse, drop_dangling=drop_dangling, id=id, src=src, dst=dst)
        if spec is None or not spec.options:
            options["features"] = "x" if features is None else feature_columns(features)
            options["edge_features"] = column_names(edge_features or "")
        from pipeline.command.own_session import spark_is_optional
        from pipeline.prepare import already_there, prepare

        here = tables.read_without_spark(**options) if spark_is_optional() else None
        session: Any = nullcontext() if here else _session(verbose, small=_is_small(None, tables.tables.values()))
        with session as spark:
            graph = here or tables.read(spark, **options)
            there = already_there(graph, output, settings.blocks, overwrite) if if_same else None
            prepared = there or prepare(graph, output, settings.blocks, overwrite, settings.task_memory)
        typer.echo(f"{_describe(prepared)}; {'already there, in' if there else 'written to'} {output}")


@app.command(name="infer")
def infer_command(
    model: ModelPath,
    output: Annotated[str, option("--output", "PATH", "Where the scores go.")],
    graph: SomeGraph = None,
    nodes: SomeNodes = None,
    edges: SomeEdges = None,
    graph_spec: GraphSpecPath = None,
    types: Types = None,
    format: Annotated[str, option("--format", "FORMAT", "Of the scores: parquet (default) or csv.")] = "parquet",
    classify: Annotated[bool, option("--classify", None, "Add predicted class and its probability.")] = False,
    overwrite: Overwrite = False,
    if_same: IfSame = None,
    tier: Tier = None,
    exchange: Exchange = None,
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
    conf: Conf = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a model over a whole graph: the exact output of every node, keyed by your ids."""
    with messages(quiet, verbose):
        settings = _settings(conf, tier=tier, blocks=blocks, exchange=exchange)
        tables = _given(
            features=features, edge_features=edge_features, undirected=undirected, drop_dangling=drop_dangling,
            nodes_format=nodes_format, edges_format=edges_format, id=id, src=src, dst=dst,
            csv=csv_options(csv_sep, csv_no_header, csv_encoding, csv_ids),
        )  # fmt: skip
        raw_given = graph_spec is not None or nodes is not None or edges is not None
        if (graph is None) != raw_given or (nodes is None) != (edges is None):
            raise SettingError("give either --graph, or both --nodes and --edges, or --graph-spec")
        if graph is not None and (tables or blocks):
            extra = ", ".join(f"--{name.replace('_', '-')}" for name in [*tables, *_given(blocks=blocks)])
            raise SettingError(f"{extra}: of no use with --graph, which was prepared already")
        from pipeline.command.output import Asked
        from pipeline.command.own_session import spark_is_optional
        from pipeline.command.warm_up import WarmUp
        from pipeline.graph import open_graph
        from pipeline.model import Model
        from pipeline.places.scratch import Scratch
        from pipeline.planning import prepare_for, runs_in_process
        from pipeline.result.by_type import giving, types_of
        from pipeline.result.wish import Wish
        from pipeline.run.progress import Progress
        from pipeline.run.python_worker import wake_worker
        from pipeline.score import scored
        from pipeline.spark.resources import is_local

        # whatever can be refused is refused before anything is started
        wish = Wish(output, format, overwrite, classify, if_same, types_of(column_names(types)) if types else None)
        of_columns = _given(features=features, edge_features=edge_features, id=id, src=src, dst=dst)
        spec = spec_of(graph_spec, nodes, edges, of_columns)
        optional = spark_is_optional()
        asked = Asked.of(wish, settings, optional)
        places: dict[str, str | None] = {"node": nodes, "edge": edges}
        if spec is not None:
            places = {
                f"{name.partition('[')[0].removesuffix('s')} table {name}": at for name, at in spec.tables.items()
            }
        asked.refuse_overlap(places, {"the model": model, "the settings' file": conf, "the graph's file": graph_spec})
        prepared = None if graph is None else open_graph(graph)
        if prepared is not None:
            asked.refuse_overlap_with(prepared)
        asked.refuse_taken()
        whole = Model.load(model)
        loaded = giving(whole, wish.types)
        if prepared is not None:
            loaded.check_against(prepared.schema, prepared.ranges, prepared.manifest.get("columns"))
            log.info("%s", _describe(prepared))
        found = asked.find_same(loaded, prepared)
        raw = RawTables(
            nodes, edges, tables.pop("nodes_format", None), tables.pop("edges_format", None), tables.pop("csv", None),
            spec,
        )  # fmt: skip
        columns = columns_for(loaded, tables, spec) if prepared is None else {}
        here = raw.read_without_spark(**columns) if prepared is None and optional else None
        found = found or asked.find_same(loaded, here)
        if found is not None:
            typer.echo(_already_there(found, format))
            return
        warm_up = WarmUp(loaded)
        with Scratch(settings.scratch) as scratch, Progress.on_terminal() as progress:
            source: Any = prepared
            preparing, started = 0.0, time.perf_counter()
            if here is not None:
                warm_up.start()
                source = prepare_for(here, loaded, settings, scratch)
                preparing = time.perf_counter() - started
            alone = source is not None and optional and runs_in_process(source, loaded, asked.place, settings)
            session = (
                nullcontext() if alone else _session(verbose, _is_small(prepared, raw.tables.values()), warm_up.start)
            )
            with session as spark:
                if spark:
                    wake_worker(spark)
                    if prepared is None and not (source and is_local(spark)):
                        source, preparing = raw.read(spark, **columns), 0.0
                waited = time.perf_counter()
                warm_up.wait()
                compiling = time.perf_counter() - waited
                bar = None if quiet else progress
                report = scored(source, whole, wish, settings, spark, bar, scratch, asked.tables)
        if report.skipped:
            typer.echo(_already_there(report, format))
        else:
            typer.echo(_summary(report.with_preparing(preparing), compiling, output, format))


@app.command(name="explain")
def explain_command(
    graph: GraphPath,
    model: ModelPath,
    tier: Tier = None,
    exchange: Exchange = None,
    conf: Conf = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark."""
    with messages(quiet, verbose):
        from pipeline.explain import explain

        typer.echo(explain(graph, model, _settings(conf, tier=tier, exchange=exchange)))


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
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Recompute some nodes from the raw tables in float64, and compare. Exit code 3 if they differ."""
    with messages(quiet, verbose):
        from pipeline.command.own_session import spark_is_optional
        from pipeline.graph import open_graph
        from pipeline.model import Model
        from pipeline.verify import verify
        from pipeline.verifying.sources import local_graph, local_scores
        from pipeline.verifying.typed_sources import local_typed_graph, local_typed_scores

        prepared, loaded = open_graph(graph), Model.load(model)
        if prepared.is_typed and (nodes or edges):
            raise SettingError("--nodes and --edges are tables without types, and this graph has several types")
        alone: object = spark_is_optional()
        if alone and prepared.is_typed:
            alone = local_typed_scores(output) and local_typed_graph(prepared)
        elif alone:
            alone = local_scores(output) and local_graph(prepared, nodes, edges)
        with nullcontext() if alone else _session(verbose) as spark:
            given = _given(tolerance=tolerance)
            found = verify(prepared, loaded, output, nodes, edges, sample, seed, limit, spark, **given)
        typer.echo(str(found))
        if not found.passed:
            raise typer.Exit(DIFFERS)


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
            "Argument of forward and its column: edge_weight=edges.weight, or none; adj_t=edge_index+edges.weight.",
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
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Turn a trained PyTorch Geometric module into a model. The only command that needs torch."""
    with messages(quiet, verbose):
        from pipeline.model import Model, refuse_to_save

        inputs = dict(_assignment(text) for text in input or [])
        refuse_to_save(output, overwrite, {"the checkpoint": checkpoint})  # before torch is imported, which takes long
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's own module
        try:
            from pipeline.pyg.load import build, source_of
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("torch", "torch_geometric"):
                raise
            raise SettingError(f"export needs {error.name}: pip install 'graphsweep[torch]'") from error
        from pipeline.tables.training import TrainingTable

        net = build(reference, checkpoint)
        refuse_to_save(output, overwrite, {"the module": _source_of(reference)})
        weights = source_of(reference, net, checkpoint, untrained)
        if checkpoint is None:
            log.warning("weights: %s", weights)
        names = tuple(column_names(columns or "")) or None
        model = Model.from_pyg(
            net, inputs=inputs, features=features, unused=unused or (), weights=weights,
            training=TrainingTable(training, names) if training else names,
        )  # fmt: skip
        model.save(output, overwrite)
        first, _, _ = str(model).partition("\n")
        about = "".join(f"{line}\n" for line in model.about.lines)
        typer.echo(f"{first}\n{about}checked against the module on other graphs; written to {output}")


@app.callback(invoke_without_command=True, epilog=TABLE)
def _options(version: Annotated[bool, option("--version", None, "Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"graphsweep {installed('graphsweep')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; `arguments` instead of the process's own. Ends in SystemExit."""
    app(args=list(arguments) if arguments is not None else None, prog_name="graphsweep")


# ---- from options to the library


def _session(verbose: bool, small: bool = False, meanwhile: Callable[[], None] | None = None) -> Any:
    from pipeline.command.own_session import spark_session

    return spark_session(verbose, small, meanwhile)


# Of Parquet files or of a prepared graph: up to here the JVM does not earn back what its optimising compiler costs.
SMALL_BYTES = 1 << 26


def _is_small(prepared: PreparedGraph | None, paths: Iterable[str]) -> bool:
    from pipeline.tables.opening import file_bytes

    if prepared is not None:
        totals = prepared.manifest["totals"]
        return int(totals["static_bytes"] + totals["sends_bytes"]) <= SMALL_BYTES
    sizes = [file_bytes(path) for path in paths]
    return all(size is not None for size in sizes) and sum(size or 0 for size in sizes) <= SMALL_BYTES


def _settings(conf: str | None, **given: Any) -> Settings:
    return (Settings.load(conf) if conf else Settings()).changed(_given(**given))


def _given(**options: Any) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def _source_of(reference: str) -> str | None:
    """The file of the user's module, which has been imported."""
    return getattr(sys.modules.get(reference.partition(":")[0]), "__file__", None)


def _assignment(text: str) -> tuple[str, Any]:
    """edge_weight=edges.weight, edge_weight=none, edges=edge_index, adj_t=edge_index+edges.weight"""
    name, found, column = text.partition("=")
    index, plus, values = column.partition("+")
    told: Any = (index, None if values == "none" else values) if plus else None if column == "none" else column
    if not found or not name or not column or (isinstance(told, str) and "." not in told and told != "edge_index"):
        raise SettingError(
            f"--input {text}: write NAME=TABLE.COLUMN, like edge_weight=edges.weight; NAME=none; or for a matrix "
            "adj_t=edge_index+edges.weight, adj_t=edge_index+gcn_norm, adj_t=edge_index+none"
        )
    return name, told


# ---- what a command says in the end


def _describe(graph: PreparedGraph) -> str:
    totals = graph.manifest["totals"]
    blocks = f"{graph.blocks:,} block" + ("" if graph.blocks == 1 else "s")
    return (
        f"graph of {totals['nodes']:,} nodes and {totals['edges']:,} edges ({totals['self_loops']:,} self-loops, "
        f"largest in-degree {totals['max_in_degree']:,}) in {blocks}"
        + (f"; {totals['dropped']:,} dangling edges dropped" if totals.get("dropped") else "")
        + (_types(graph) if graph.is_typed else "")
    )


def _types(graph: PreparedGraph) -> str:
    of_nodes = ", ".join(f"{type} {count:,}" for type, count in graph.node_counts.items())
    of_edges = ", ".join(
        f"{type.source} {type.relation} {type.target} {count:,}"
        for type, count in graph.edge_counts.items()
        if not type.is_reversed
    )
    return f"; nodes: {of_nodes}; edges: {of_edges}"


def _already_there(report: Report, format: str) -> str:
    return (
        f"skipped  {report.rows:,} nodes are scored already, by run {report.run} {report.reason}\n"
        f"written  {report.output} ({format})"
    )


def _summary(report: Report, compiling: float, output: str, format: str) -> str:
    computed = sum(step.seconds for step in report.supersteps)
    steps = ", ".join(f"{step.seconds:.1f}" for step in report.supersteps)
    where = [f"preparing {report.prepare_seconds:.1f} s"] if report.prepare_seconds else []
    where += [f"compiling {compiling:.1f} s"] if compiling >= 0.05 else []
    if report.tier == "fused":
        rest = max(0.0, report.seconds - report.prepare_seconds - computed)
        where += [f"supersteps {computed:.1f} s ({steps})", f"the rest {rest:.1f} s"]
    else:
        where += [f"the rest over {len(report.supersteps)} stages, whose tasks computed {computed:.1f} s ({steps})"]
    return "\n".join(
        [
            f"scored   {report.rows:,} nodes in {report.seconds + compiling:.1f} s: {', '.join(where)}",
            f"tier     {report.tier}{'' if report.spark else ', without Spark'}: {report.reason}",
            f"written  {output} ({format})",
        ]
    )
