"""What a command answers on stdout: its text, or with --json one JSON object whose keys stay.

Comes in: a result's text and facts, or the message of an error. Goes out: one line of stdout, or several. Knows nothing
of what the facts are; docs/json.md lists them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer

from pipeline.command.exits import DIFFERS, DONE, FAILED, INTERRUPTED, MENDABLE, SPARK_FAILED

FORMAT = 1
"""Of the object: a key that is removed, or means something else, makes it 2. New keys do not."""

OUTCOMES = {
    DONE: "done",
    FAILED: "failed",
    MENDABLE: "refused",
    DIFFERS: "differs",
    SPARK_FAILED: "spark failed",
    INTERRUPTED: "interrupted",
}
"""Exit code → one word for it."""


def answer(command: str, text: str, facts: Mapping[str, Any], as_json: bool, code: int = DONE) -> None:
    """Says what came of a command."""
    typer.echo(_object(command, code, None, facts) if as_json else text)


def answer_error(command: str, code: int, message: str) -> None:
    """Says to a program why a command ended; the message for people is on stderr."""
    typer.echo(_object(command, code, message, {}))


def _object(command: str, code: int, message: str | None, facts: Mapping[str, Any]) -> str:
    try:
        installed = version("graphsweep")
    except PackageNotFoundError:  # run from its sources
        installed = None
    told = {
        "format": FORMAT,
        "graphsweep": installed,
        "command": command,
        "outcome": OUTCOMES[code],
        "exit_code": code,
        "message": message,
        **facts,
    }
    return json.dumps(plain(told), allow_nan=False, ensure_ascii=False)


def plain(item: Any) -> Any:
    """As JSON has it: of numbers that are not finite their names, which JSON has not."""
    if isinstance(item, Mapping):
        return {str(key): plain(each) for key, each in item.items()}
    if isinstance(item, (list, tuple)):
        return [plain(each) for each in item]
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)
    return item
