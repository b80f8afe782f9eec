"""`graphsweep explain`: what a run would do."""

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



def explain_command(
    graph: GraphPath,
    model: ModelPath,
    tier: Tier = None,
    exchange: Exchange = None,
    targets: TargetTable = None,
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

        settings = settings_from(conf, tier=tier, exchange=exchange)
        page = None
        if html is not None:
            from pipeline.job.drawn import page_of_plan

            page = page_of_plan(html, graph, model, settings, {"the settings' file": conf, "the targets": targets})
        found = Explanation.of(graph, model, settings, targets, ignore_unknown)
        if page is not None:
            found = found.with_page(page, settings)
        answer("explain", str(found), found.facts if json else {}, json)
