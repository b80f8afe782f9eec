"""Log lines: for people, or for a collector, one JSON object a line. docs/operations.md lists the keys.

Comes in: records of the logger, the format that was asked for. Goes out: text. Knows nothing of commands.

A record may bring an event, one word that stays, and facts: `log.info("…", extra=event("superstep", number=1))`.
Without one its event is "log".
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

from pipeline.command.answers import plain

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)
KEPT = ("time", "level", "event", "message")
"""Keys of every line; no fact has such a name."""


def json_line(level: str, event: str, message: str, facts: dict[str, Any], seconds: float | None = None) -> str:
    """One object. `seconds`: since 1970; None: now."""
    at = datetime.now(timezone.utc) if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
    told = {"time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "level": level, "event": event}
    told |= {"message": message, **{name: fact for name, fact in facts.items() if name not in KEPT}}
    return json.dumps(plain(told), allow_nan=False, ensure_ascii=False, default=str)


def wants_lines(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, as far as that can be told of one that may be wrong."""
    return f"--log-format={JSON}" in arguments or ("--log-format", JSON) in pairwise(arguments)


class JsonLines(logging.Formatter):
    """A record as one object. Line breaks within are those of JSON: one line is one object."""

    def __init__(self, spelled: Any) -> None:
        """`spelled`: a message of the library → the words of the command line."""
        super().__init__()
        self._spelled = spelled

    def format(self, record: logging.LogRecord) -> str:
        facts = dict(getattr(record, "facts", {}))
        if record.exc_info and record.exc_info[1] is not None:
            facts["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        message, event = self._spelled(record.getMessage()), getattr(record, "event", "log")
        return json_line(record.levelname.lower(), event, message, facts, record.created)
