"""`graphsweep doctor`: what is missing here, and where tasks run."""

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

        found = diagnose(path or [], settings_from(conf), sessions(verbose), check_pyspark, check_java)
        code = MENDABLE if found.failed else DONE
        answer("doctor", str(found), found.facts, json, code)
        if found.failed:
            raise typer.Exit(code)
