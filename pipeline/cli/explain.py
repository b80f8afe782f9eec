"""`graphsweep explain`: what a run would do."""

from __future__ import annotations

from typing import Annotated

from pipeline.cli.given import settings_from
from pipeline.command.answers import answer
from pipeline.command.messages import messages
from pipeline.command.options import (
    Conf,
    Exchange,
    GraphPath,
    IgnoreUnknown,
    Json,
    LogFormat,
    ModelPath,
    Quiet,
    TargetTables,
    Tier,
    Verbose,
    WorkDir,
    option,
)


def explain_command(
    graph: GraphPath,
    model: ModelPath,
    tier: Tier = None,
    exchange: Exchange = None,
    targets: TargetTables = None,
    ignore_unknown: IgnoreUnknown = False,
    work_dir: WorkDir = None,
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
        settings = settings_from(conf, tier=tier, exchange=exchange, work_dir=work_dir)
        page = None
        if html is not None:
            from pipeline.job.drawn import page_of_plan

            target_files = {} if wanted is None else wanted.paths
            page = page_of_plan(html, graph, model, settings, {"the settings' file": conf, **target_files})
        found = Explanation.of(graph, model, settings, wanted)
        if page is not None:
            found = found.with_page(page, settings)
        answer("explain", str(found), found.facts if json else {}, json)
