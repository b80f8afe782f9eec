"""The options that several commands share: their names, and their help.

Knows nothing of what is done with them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pipeline.command.exits import MENDABLE
from pipeline.command.log_lines import FORMATS, wants_lines


def option(name: str, metavar: str | None, text: str) -> Any:
    refuse = _refuse_empty if metavar in PATHS else None
    return typer.Option(name, metavar=metavar, help=text, show_default=False, callback=refuse)


def _one_of(name: str, given: str, choices: Sequence[str]) -> str:
    if given not in choices:
        raise typer.BadParameter(f"{given!r} is not one of {', '.join(choices)}", param_hint=name)
    return given


PATHS = ("PATH", "FILE", "TABLE", "FILE|DIR")


def _refuse_empty(parameter: typer.CallbackParam, given: str | list[str] | None) -> str | list[str] | None:
    """A path that is empty is a variable of the shell that is not set. It would mean the directory that one is in."""
    texts = given if isinstance(given, list) else [] if given is None else [given]
    if not all(text.strip() for text in texts):
        text = f"{parameter.opts[0]} is empty; is a variable unset?"
        if wants_lines(sys.argv):
            raise typer.BadParameter(text)
        typer.echo(f"graphsweep: {text}", err=True)
        raise typer.Exit(MENDABLE)
    return given


# the raw tables
Nodes = Annotated[str, option("--nodes", "PATH", "Node table: Parquet, CSV or Delta; or catalog.schema.table.")]
Edges = Annotated[str, option("--edges", "PATH", "Edge table.")]
GraphSpecPath = Annotated[
    str | None,
    option(
        "--graph-spec",
        "PATH",
        "Typed graph: a TOML file that names a table for each type; or a folder: nodes/TYPE, edges/SRC__REL__DST.",
    ),
]
Types = Annotated[
    str | None,
    option("--types", "TYPE[,TYPE…]", "Typed graph: node types to score; what these do not need is not computed."),
]
TargetTables = Annotated[
    list[str] | None,
    option(
        "--targets",
        "TABLE",
        "Score these nodes only: a table with their ids; typed graph: TYPE=TABLE, once for each type. The same bits "
        "as in a run for all.",
    ),
]
IgnoreUnknown = Annotated[bool, option("--ignore-unknown", None, "Leave out targets that are not among the nodes.")]
SomeNodes = Annotated[
    str | None, option("--nodes", "PATH", "Node table: Parquet, CSV or Delta; or catalog.schema.table.")
]
SomeEdges = Annotated[str | None, option("--edges", "PATH", "Edge table.")]
NodesFormat = Annotated[str | None, option("--nodes-format", "FORMAT", "parquet, csv or delta; else by file names.")]
EdgesFormat = Annotated[str | None, option("--edges-format", "FORMAT", "parquet, csv or delta; else by file names.")]
CsvSep = Annotated[
    str | None,
    option("--csv-sep", "CHAR", "Between fields of CSV; else what is certain from the header: , ; | or tab."),
]
CsvNoHeader = Annotated[
    bool, option("--csv-no-header", None, "CSV files have no header line: columns are _c0, _c1, … by position.")
]
CsvEncoding = Annotated[str | None, option("--csv-encoding", "NAME", "Of CSV files: latin-1, cp1252, …; else utf-8.")]
CsvIds = Annotated[
    str | None, option("--csv-ids", "KIND", "text: ids of CSV are text; else integers if every one is written as one.")
]
Features = Annotated[
    str | None,
    option(
        "--features",
        "COL[,COL…]",
        "Node columns, which are x together: one of arrays, or numbers; x,kind=kind: also one of its own; "
        "kind=a+b: several.",
    ),
]
EdgeFeatures = Annotated[
    str | None,
    option(
        "--edge-features",
        "COL[,COL…]",
        "Edge columns that models may read, each by itself; edge_attr=a+b: several of numbers as one value.",
    ),
]
Undirected = Annotated[
    bool, option("--undirected", None, "Each edge is there in both directions; between two types as a type rev_….")
]
Reverse = Annotated[
    bool,
    option("--reverse", None, "Also store the edges against their direction, for models that reduce at the source."),
]
DropDangling = Annotated[bool, option("--drop-dangling", None, "Leave out edges whose ends are not nodes.")]
Id = Annotated[str | None, option("--id", "COL", "Node table's column of ids; else id.")]
Src = Annotated[str | None, option("--src", "COL", "Edge table's column of sources; else src.")]
Dst = Annotated[str | None, option("--dst", "COL", "Edge table's column of destinations; else dst.")]
Blocks = Annotated[int | None, option("--blocks", "P", "Parts to cut the graph into; else by its size.")]
BlocksBy = Annotated[
    list[str] | None,
    option(
        "--blocks-by",
        "COL",
        "A column of the node table, such as a community's number: nodes with the same value go into one block; typed "
        "graph: the same column in all tables, or TYPE=COL once for each type.",
    ),
]
# the rest
GraphPath = Annotated[str, option("--graph", "PATH", "Prepared graph.")]
SomeGraph = Annotated[str | None, option("--graph", "PATH", "Prepared graph, instead of --nodes and --edges.")]
ModelPath = Annotated[
    str,
    option("--model", "PATH", "Saved model; or models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/PATH of MLflow."),
]
LogToMlflow = Annotated[
    bool, option("--mlflow", None, "Log a run to MLflow (MLFLOW_TRACKING_URI): parameters, metrics, the report.")
]
Overwrite = Annotated[bool, option("--overwrite", None, "Replace what is there, if graphsweep wrote it.")]
IfSame = Annotated[
    str | None,
    option(
        "--if-same",
        "skip",
        "skip: succeed without work if the same is there already, of the same input.",
    ),
]
Tier = Annotated[str | None, option("--tier", "TIER", "auto, fused or distributed.")]
WorkDir = Annotated[
    str | None,
    option("--work-dir", "DIR", "Keeps what is done, so that the same command goes on where a killed one stopped."),
]
Exchange = Annotated[
    str | None,
    option("--exchange", "KIND", "pull: send rows only; auto: partial results for some edges, if fewer bytes."),
]
Conf = Annotated[str | None, option("--conf", "FILE", "Settings, as conf/local.toml.")]
Json = Annotated[
    bool, option("--json", None, "For programs: what came of it as one JSON object on stdout, errors too.")
]
ReportPath = Annotated[
    str | None,
    option(
        "--report",
        "FILE|DIR",
        "A page about it, for people: a file that ends in .html, or a folder. Needs graphsweep[report].",
    ),
]
LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        metavar="text|json",
        help="Of log lines on stderr: text, or for a log collector json, one object a line; errors too.",
        show_default=False,
        callback=lambda given: _one_of("--log-format", given, FORMATS),
    ),
]
Quiet = Annotated[bool, option("--quiet", None, "No log lines.")]
Verbose = Annotated[bool, option("--verbose", None, "All log lines, Spark's too, and tracebacks.")]
