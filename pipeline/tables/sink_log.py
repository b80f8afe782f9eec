"""The log of a streaming sink: which files of a table that a stream writes are committed.

Comes in: names and texts of the files in `_spark_metadata`. Goes out: URIs of committed files. Knows nothing of file
systems. A file that a killed batch has left lies beside the others and is in no log; a batch is in the log whole.

    0  1  …  8  9.compact  10  11        9.compact holds what 0 to 9 hold; a line "v1", then a JSON object for each file
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

from pipeline.errors import StorageError

FOLDER = "_spark_metadata"


def committed(table: str, names: Iterable[str], read: Callable[[str], str]) -> list[str]:
    """URIs of the files of all batches. StorageError if the log lacks a batch, or cannot be understood."""
    found = [match for name in names if (match := re.fullmatch(r"(\d+)(\.compact)?", name))]
    whole = max((int(match[1]) for match in found if match[2]), default=-1)
    single = {int(match[1]) for match in found if not match[2] and int(match[1]) > whole}
    last = max(single, default=whole)
    missing = sorted(set(range(whole + 1, last + 1)) - single)
    if missing:
        raise StorageError(f"{table}: {FOLDER}, the log of the stream that wrote it, lacks batch {missing[0]}")
    batches = [f"{whole}.compact"] if whole >= 0 else []
    uris: dict[str, None] = {}
    for batch in [*batches, *map(str, sorted(single))]:
        version, *lines = read(batch).splitlines()
        try:
            if version != "v1":
                raise ValueError(f"version {version}")
            for line in lines:
                entry = json.loads(line)
                if entry["action"] == "delete":
                    uris.pop(entry["path"], None)
                elif not entry.get("isDir"):
                    uris[str(entry["path"])] = None
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{table}: {FOLDER}/{batch}, the log of the stream that wrote it: {error}") from error
    return list(uris)
