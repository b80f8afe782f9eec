"""`graphsweep status`: how far a run is that has a work directory."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Annotated

import typer

from pipeline.cli.given import as_typed, graph_columns, of_tables, only_given, sessions, settings_from
from pipeline.command.answers import OUTCOMES, answer
from pipeline.command.columns import (
    class_names,
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
    TargetTable,
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
