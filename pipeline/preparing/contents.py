"""What is in the directory of a prepared graph: a graph, what killed runs left of one, or somebody's files.

Comes in: a place. Goes out: `Contents`, and a refusal. Only what is known here is ever replaced or removed. Knows
nothing of who writes there at the moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.blocks.storage import FORMAT, MANIFEST, PREPARE_ID, folder_name
from pipeline.errors import StorageError, unreadable
from pipeline.places.directories import sizes_within
from pipeline.places.filesystem import Opened
from pipeline.places.marker import MARKER, read_marker
from pipeline.places.place import Place

KIND = "blocks of a prepared graph"  # what the marker of each folder says
OLD_FOLDER = "blocks"  # of a graph in version 3 of the format or before
LOCKED = "manifest"  # what the lock within the directory is named after
LOCK = f".{LOCKED}.graphsweep-lock"
EXAMPLES = 3

_HEX = "[0-9a-f]{32}"
_MARKER = rf"{re.escape(MARKER)}|\.{re.escape(MARKER)}-{_HEX}"
_FOLDER = re.compile(f"{folder_name(PREPARE_ID.pattern)}|{OLD_FOLDER}")
_BESIDE = re.compile(rf"\.{re.escape(MANIFEST)}-{_HEX}|{re.escape(LOCK)}(-{_HEX})?")
# within a folder; what a task was writing when it was killed has a name that begins with a dot
_DIRECTORIES = re.compile(r"target=\d+|\.exchange-\w+")
_FILES = re.compile(
    rf"{_MARKER}|\.probe|\.communities-\d+|\.exchange-\w+/\d+-\d+|target=\d+/((static|sends)\.parquet|\.(static|sends)-{_HEX})"
)


@dataclass(frozen=True)
class Contents:
    """What is there, as far as it is ours, and what is not."""

    manifest: dict[str, Any] | None
    """Of a prepared graph in any version of the format; None if there is no graph."""
    folders: tuple[str, ...]
    """Names of our folders of blocks: the graph's, and those that killed runs left."""
    beside: tuple[str, ...]
    """Names of files that a killed run was writing beside the manifest."""
    strange: tuple[str, ...]
    """Paths of what is not ours; a directory stands for all that is in it."""

    @property
    def current(self) -> str | None:
        """The name of the graph's own folder."""
        return _current(self.manifest)

    @property
    def left(self) -> tuple[str, ...]:
        """Folders that no graph needs."""
        return tuple(name for name in self.folders if name != self.current)

    @staticmethod
    def of(place: Place, opened: Opened) -> Contents | None:
        """None if a file is there instead of a directory. StorageError if it cannot be read."""
        try:
            type = opened.info.type
            if type not in (fs.FileType.NotFound, fs.FileType.Directory):
                return None
            there = sizes_within(opened) if type == fs.FileType.Directory or not opened.renames else {}
            manifest = _manifest(opened) if there.get(MANIFEST) else None
        except (OSError, pa.ArrowException) as error:
            raise unreadable(str(place), error) from error
        folders, beside, strange = [], [], []
        for name in sorted({path.partition("/")[0] for path in there}):
            inside = {path.partition("/")[2]: size for path, size in there.items() if path.startswith(f"{name}/")}
            size = there.get(name)
            if size is not None:
                known = size >= 0 and (_BESIDE.fullmatch(name) if name != MANIFEST else manifest is not None)
                strange += [] if known else [name]
                beside += [name] if known and name not in (MANIFEST, LOCK) else []
            elif _FOLDER.fullmatch(name) and (name == _current(manifest) or _is_marked(opened, name, inside)):
                folders.append(name)
                strange += [f"{name}/{path}" for path, size in inside.items() if not _is_known(path, size)]
            else:
                strange.append(f"{name}/")
        return Contents(manifest, tuple(folders), tuple(beside), tuple(strange))


def refuse_contents(place: Place, found: Contents | None, overwrite: bool) -> None:
    """StorageError unless a graph may be written there: nothing is there, or what a killed run left, or, with
    `overwrite`, a prepared graph and nothing else."""
    if found is None:
        raise StorageError(f"{place}: a file of this name exists already; give another path")
    if found.manifest is None and found.strange:
        raise StorageError(
            f"{place}: exists already and is not a prepared graph (there is {_some(found.strange)}); give another path"
        )
    if found.manifest is not None and not overwrite:
        raise StorageError(f"{place}: exists already; give another path, or overwrite")
    if found.strange:
        raise StorageError(
            f"{place}: not overwritten, because there is something beside the prepared graph: {_some(found.strange)}; "
            f"move it away, or give another path"
        )


def _manifest(opened: Opened) -> dict[str, Any] | None:
    try:
        with opened.filesystem.open_input_stream(f"{opened.path}/{MANIFEST}", compression=None) as stream:
            found = json.loads(stream.read())
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


def _current(manifest: dict[str, Any] | None) -> str | None:
    if manifest is None:
        return None
    return folder_name(str(manifest["prepare"])) if "prepare" in manifest else OLD_FOLDER


def _is_marked(opened: Opened, name: str, inside: dict[str, int | None]) -> bool:
    """Whether a folder says that we made it. One that a kill left before its marker was written is as good as empty."""
    if not inside.get(MARKER) and all(re.fullmatch(_MARKER, path) for path in inside):
        return True
    marker = read_marker(opened._replace(path=f"{opened.path}/{name}"))
    return marker is not None and marker["kind"] == KIND and marker.get("folder") == name


def _is_known(path: str, size: int | None) -> bool:
    if size is None:
        return _DIRECTORIES.fullmatch(path) is not None
    return size >= 0 and _FILES.fullmatch(path) is not None


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return ", ".join(names[:EXAMPLES]) + more
