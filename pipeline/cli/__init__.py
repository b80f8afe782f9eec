"""The command line: `graphsweep prepare | infer | explain | status | verify | doctor | export`.

Comes in: arguments. Goes out: one call of the library each, what came of it on stdout, log lines and errors on stderr.
Options are parsed here, and here only; the jobs for spark-submit call the same commands.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pipeline.cli.doctor import doctor_command
from pipeline.cli.explain import explain_command
from pipeline.cli.export import export_command
from pipeline.cli.infer import infer_command
from pipeline.cli.prepare import prepare_command
from pipeline.cli.status import status_command
from pipeline.cli.verify import verify_command
from pipeline.command.answers import OUTCOMES
from pipeline.command.exits import DONE, MENDABLE, TABLE
from pipeline.command.log_lines import json_line, wants_lines
from pipeline.command.options import option
from pipeline.garbage import collect_seldom

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
app.command(name="prepare")(prepare_command)
app.command(name="infer")(infer_command)
app.command(name="explain")(explain_command)
app.command(name="status")(status_command)
app.command(name="verify")(verify_command)
app.command(name="doctor")(doctor_command)
app.command(name="export")(export_command)


@app.callback(invoke_without_command=True, epilog=TABLE)
def _options(version: Annotated[bool, option("--version", None, "Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"graphsweep {installed('graphsweep')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command; `arguments` instead of the process's own. Ends in SystemExit."""
    collect_seldom()
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
