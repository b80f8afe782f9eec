"""What lies at a place: scores, a prepared graph, a model, or something else; and whether it may be removed.

Comes in: an opened place. Goes out: words for messages; the names of the files that we wrote there. Only these are ever
removed, and only if nothing else is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import StorageError
from pipeline.places.directories import list_directory, list_files
from pipeline.places.filesystem import Opened
from pipeline.places.marker import MARKER, MODEL, MOST_BYTES, PREPARED, SCORES, SCRATCH, UNFINISHED, read_marker
from pipeline.places.place import Place
from pipeline.shown import some

WORDS = {
    SCORES: "scores that graphsweep wrote",
    PREPARED: "a prepared graph",
    MODEL: "a model",
    UNFINISHED: "what a run of graphsweep is writing, or was when it was killed",
    SCRATCH: "a scratch directory of graphsweep",
}
A_FILE = "it is a file"
OURS = frozenset(f"it is {words}" for words in WORDS.values())
"""What `describe` says of these."""
DONE = "_SUCCESS"  # what Spark leaves in a table that it has written; others wait for it
SHOWN = 3  # names of files in a message

# What an attempt of a task that nobody waits for any more was writing when the directory was moved.
_LEFT = re.compile(r"\.part-\d+(?:-\d+)?\.(?:parquet|csv)-[0-9a-f]{32}")
_TABLE = re.compile(r"\.?part-.*|\.?_SUCCESS(?:\.crc)?|_temporary.*")

Written = Callable[[Opened], "dict[str, int | None] | None"]


def written_files(marker: dict[str, Any]) -> dict[str, int | None]:
    """The files that a marker lists, and their bytes."""
    files = marker.get("files")
    if not isinstance(files, list):
        return {}
    return {str(file["name"]): file.get("bytes") for file in files if isinstance(file, dict) and "name" in file}


def owned_files(place: Place, opened: Opened, kind: str, without_marker: Written | None = None) -> list[str]:
    """The names of all files there, if they are those that we wrote; a StorageError says why not.

    `without_marker` knows what an older version wrote: its files, or None.
    """
    marker = read_marker(opened)
    if marker is not None:
        ours = written_files(marker) if marker["kind"] == kind else None
    else:
        ours = without_marker(opened) if without_marker is not None else None
    if ours is None:
        raise StorageError(
            f"{place}: not overwritten, because {describe(opened)}, and not {WORDS[kind]}; give another path. "
            "Nothing was touched"
        )
    found = list_files(opened)
    strange = sorted(
        name for name, size in found.items() if not _is_beside(name, ours) and ours.get(name, -1) not in (None, size)
    )
    if strange:
        raise StorageError(
            f"{place}: not overwritten, because there are files that graphsweep did not write, or that were changed "
            f"since: {some(strange, SHOWN)}; move them away, or give another path. Nothing was touched"
        )
    return [name for name in found if name != MARKER]


def _is_beside(name: str, ours: dict[str, int | None]) -> bool:
    """Whether a file is what we, or a task of ours, leave beside those that a marker lists, in the same folder."""
    folder, _, name = name.rpartition("/")
    if folder and not any(other.startswith(f"{folder}/") for other in ours):
        return False
    return name == DONE or (name == MARKER and not folder) or _LEFT.fullmatch(name) is not None


def describe(opened: Opened) -> str:
    """What lies there, for a message: "it is a model"."""
    info = opened.info
    if info.type == fs.FileType.File:
        return A_FILE
    if info.type != fs.FileType.Directory:
        return "it is no directory"
    marker = read_marker(opened)
    if marker is not None:
        return f"it is {WORDS.get(marker['kind'], 'a ' + marker['kind'] + ' of graphsweep')}"
    if "graphsweep prepared graph" in _text(opened, "manifest.json"):
        return f"it is {WORDS[PREPARED]}"
    if is_model(_text(opened, "model.json")):
        return f"it is {WORDS[MODEL]}"
    names = list_directory(opened)
    if names and all(_TABLE.fullmatch(name) for name in names):
        return (
            f"it is a table without our marker ({MARKER}): somebody's, or scores of a graphsweep that wrote none "
            "(remove these yourself)"
        )
    return f"it holds {some(names, SHOWN)}"


def is_model(text: str) -> bool:
    """Whether a text is a model.json of ours, of any version."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"format", "inputs", "outputs", "program"} <= found.keys()


def _text(opened: Opened, name: str) -> str:
    with suppress(OSError, pa.ArrowException):
        info = opened.filesystem.get_file_info(f"{opened.path}/{name}")
        if info.type == fs.FileType.File and (info.size or 0) <= MOST_BYTES:
            with opened.filesystem.open_input_stream(info.path, compression=None) as stream:
                text: str = stream.read().decode(errors="replace")
            return text
    return ""
