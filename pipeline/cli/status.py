"""`graphsweep status`: how far a run is that has a work directory."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.command.answers import answer
from pipeline.command.messages import messages
from pipeline.command.options import (
    Json,
    LogFormat,
    Quiet,
    Verbose,
)


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
