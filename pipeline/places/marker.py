"""The file by which we know again what we wrote: only what carries it is ever replaced or removed.

Comes in: an opened place. Goes out: what the marker there says. Written through the file system that it is read by.
Spark and other readers of tables pass over names that begin with an underscore.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import StorageError
from pipeline.places.filesystem import Opened

MARKER = "_graphsweep.json"
PRODUCT = "graphsweep"

# what a directory with a marker holds
SCORES = "scores"
PREPARED = "prepared graph"
MODEL = "model"
UNFINISHED = "unfinished"  # is being written, or was when its run was killed
SCRATCH = "scratch"  # of one process, for as long as it lives
WORK = "work"  # of a run that can be continued

MOST_BYTES = 64 << 20  # a marker is read whole: a file of another size is not ours
_TEMPORARY = re.compile(rf"\.{re.escape(MARKER)}-[0-9a-f]{{32}}")


def write_marker(opened: Opened, kind: str, facts: Mapping[str, Any]) -> None:
    """Writes the marker of a directory that is there; `kind` is what it holds: "scores", "prepared graph", …

    On a disk it appears whole or not at all, as objects do by themselves.
    """
    text = json.dumps({"product": PRODUCT, "kind": kind, **facts}, indent=1).encode()
    if not opened.is_local:
        with opened.filesystem.open_output_stream(f"{opened.path}/{MARKER}", compression=None) as stream:
            stream.write(text)
        return
    temporary = f"{opened.path}/.{MARKER}-{uuid.uuid4().hex}"
    try:
        with open(temporary, "wb") as file:
            file.write(text)
        os.replace(temporary, f"{opened.path}/{MARKER}")
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise


def is_half_marker(name: str) -> bool:
    """Whether a file is what is left of a marker whose process was killed while it wrote."""
    return _TEMPORARY.fullmatch(name) is not None


def read_marker(opened: Opened) -> dict[str, Any] | None:
    """What the marker of a directory says; None if it has none, or one that we did not write."""
    try:
        info = opened.filesystem.get_file_info(f"{opened.path}/{MARKER}")
        if info.type != fs.FileType.File or (info.size or 0) > MOST_BYTES:
            return None
        with opened.filesystem.open_input_stream(info.path, compression=None) as stream:
            found = json.loads(stream.read().decode())
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, ValueError, RecursionError):
        return None
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{opened.path}/{MARKER}: cannot be read: {error}") from error
    ours = isinstance(found, dict) and found.get("product") == PRODUCT and isinstance(found.get("kind"), str)
    return found if ours else None


def is_free(opened: Opened) -> bool:
    """Whether nothing is there, or an empty directory."""
    info = opened.info
    if info.type == fs.FileType.NotFound:
        return not (opened.is_local and os.path.lexists(opened.path))  # a link that leads nowhere is something
    if info.type != fs.FileType.Directory:
        return False
    return not opened.filesystem.get_file_info(fs.FileSelector(opened.path))
