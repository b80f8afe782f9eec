"""`graphsweep doctor`: what is missing here, and where tasks run."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.given import sessions, settings_from
from pipeline.command.answers import answer
from pipeline.command.exits import DONE, MENDABLE
from pipeline.command.messages import messages
from pipeline.command.options import (
    Conf,
    Json,
    LogFormat,
    Quiet,
    Verbose,
    option,
)


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
