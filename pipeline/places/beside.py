"""The names of what we put beside a place: where a run writes, the old one on its way out, the lock.

Comes in: the name of a place, a run's id. Goes out: names. They begin with a dot, so that readers of tables pass over
them, and with the place's own name, so that the next run into the same place finds them.

    .scores.graphsweep-20260131T235959-0a1b2c3d        what that run writes
    .scores.graphsweep-20260131T235959-0a1b2c3d-old    what was there before, on its way out
    .scores.graphsweep-lock                            who is writing
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid

LONGEST = 255  # bytes of a name, on all common file systems
ADDED = 64  # of these, for what we add
RUN = r"\d{8}T\d{6}-[0-9a-f]{8}"
OLD = "-old"
LOCK = "lock"


def new_run() -> str:
    """The id of a run: the time, for people, and what makes it the only one."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"


def beside(name: str, suffix: str) -> str:
    """The name of something beside `name`. A long name is cut: what is left out counts by its hash."""
    return f".{_short(name)}.graphsweep-{suffix}"


def run_of(name: str, entry: str) -> tuple[str, bool] | None:
    """The run that an entry beside `name` is of, and whether it is the old one on its way out; None for others."""
    found = re.fullmatch(f"{re.escape(beside(name, ''))}({RUN})({OLD})?", entry)
    return (found[1], found[2] is not None) if found else None


def _short(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= LONGEST - ADDED:
        return name
    start = encoded[: LONGEST - ADDED - 20].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(encoded).hexdigest()[:16]}"
