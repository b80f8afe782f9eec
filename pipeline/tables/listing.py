"""The files of a table, as far as this process can look at the place.

Comes in: the place that the user named, which may be a file, a folder, or a pattern of names. Goes out: a `Listing`, or
None if only Spark can look there. Knows what other programs leave beside the files to say which of them count: a
stream's log is followed; Delta is told apart; Iceberg and Hudi are refused.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import StorageError
from pipeline.places.filesystem import Opened, opened
from pipeline.places.patterns import expanded, is_pattern
from pipeline.places.place import Place
from pipeline.tables.belonging import Found, Part, belonging, is_hidden, one_table
from pipeline.tables.partitions import column_type
from pipeline.tables.sink_log import FOLDER as SINK
from pipeline.tables.sink_log import committed
from pipeline.tables.walk import Walk, walk_of

log = logging.getLogger("graphsweep")

DELTA = "_delta_log"
ICEBERG, HUDI = "metadata", ".hoodie"
FOREIGN = {ICEBERG: "an Iceberg table", HUDI: "a Hudi table"}


@dataclass(frozen=True)
class Listing:
    """What belongs to a table."""

    place: Place
    parts: tuple[Part, ...]
    is_delta: bool = False
    """Its log says which files count, and only Delta's own reader knows it: there are no parts."""
    partitions: dict[str, str] = field(default_factory=dict)
    """Columns in the names of folders, and Spark's words for their types."""
    is_pattern: bool = False
    """Its path is a pattern of names, and no name itself."""

    @staticmethod
    def of(place: Place, parts: Sequence[Part], is_pattern: bool = False) -> Listing:
        names = [name for name, _ in parts[0].folders] if parts else []
        types = {name: column_type(part.folders[at][1] for part in parts) for at, name in enumerate(names)}
        return Listing(place, tuple(parts), False, types, is_pattern)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(part.size for part in self.parts)


def list_table(place: Place) -> Listing | None:
    """What is at a place; None if this process cannot look there, or sees nothing where Spark might.

    Raises
    ------
    StorageError
        If nothing is there, or what is there is no table that can be read whole.
    """
    found = opened(place)
    if found is None:
        return None
    try:
        return _listed(place, found)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, StorageError) or place.is_local:
            raise
        # no permission of ours, or another endpoint: Spark may have what it takes
        log.warning("%s: cannot be read without Spark: %s", place, error)
        return None


def _listed(place: Place, opened: Opened) -> Listing | None:
    walk = walk_of(opened)
    literal = walk.size(opened.path) is not None or walk.is_folder(opened.path)
    pattern = not literal and is_pattern(opened.path)
    roots = sorted(matches(walk, opened.path)) if pattern else [opened.path] if literal else []
    if not roots:
        if not place.is_local:
            return None
        raise StorageError(f"{place}: no file has such a name" if pattern else f"{place}: no such file or directory")
    parts: list[Part] = []
    for root in roots:
        log = _log_of(walk, str(place), root)
        if log is not None and log[0] == DELTA:
            if pattern or log[1] != root:
                raise StorageError(
                    f"{place}: lies in a Delta table, of which not all files count; give the table itself ({log[1]})"
                )
            return Listing(place, (), is_delta=True)
        files = _committed(walk, opened, str(place), root, log[1]) if log else _files(walk, root)
        parts += belonging(str(place), root, files)
    if not parts:
        raise StorageError(f"{place}: {_nothing(walk, opened.path)}")
    return Listing.of(place, one_table(str(place), parts) if len(roots) > 1 else parts, pattern)


def _nothing(walk: Walk, path: str) -> str:
    if walk.size(path) is not None:
        return f"{posixpath.basename(path)} is empty, without a header line or a footer"
    return "the directory holds no data files"


def _files(walk: Walk, root: str) -> Iterator[Found]:
    size = walk.size(root)
    if size is None:
        yield from walk.files(root)
    else:
        yield Found("", size)


def matches(walk: Walk, pattern: str) -> Iterator[str]:
    """Paths that a pattern names and that are there; hidden names are no table's."""

    def names(folder: str) -> Iterator[str]:
        return (name for name in walk.names(folder) if not is_hidden(name))

    return (path for path in expanded(pattern, names) if walk.size(path) is not None or walk.is_folder(path))


# ---- logs beside the files


def _log_of(walk: Walk, table: str, root: str) -> tuple[str, str] | None:
    """The log that says which files of a root count, and the table that it is of: in the root or a folder around it."""
    for folder in walk.above(root):
        if walk.is_folder(f"{folder}/{DELTA}"):
            return DELTA, folder
        if walk.is_folder(f"{folder}/{SINK}"):
            return SINK, folder
        if walk.is_folder(f"{folder}/{HUDI}"):
            raise foreign(table, FOREIGN[HUDI], folder)
        if walk.is_folder(f"{folder}/{ICEBERG}") and _is_iceberg(walk.names(f"{folder}/{ICEBERG}")):
            raise foreign(table, FOREIGN[ICEBERG], folder)
    return None


def _is_iceberg(names: Sequence[str]) -> bool:
    return any(name.endswith((".metadata.json", ".metadata.json.gz")) or name == "version-hint.text" for name in names)


def foreign(table: str, what: str, folder: str) -> StorageError:
    """What is said of a table that other programs keep a log of."""
    return StorageError(
        f"{table}: {what} ({folder}), of which not all files count; read it with Spark and give the DataFrame: "
        "Graph(spark.table(…), …)"
    )


def _committed(walk: Walk, opened: Opened, table: str, root: str, folder: str) -> list[Found]:
    """The files below a root that the log of a stream knows, which are all there."""

    def read(name: str) -> str:
        with opened.filesystem.open_input_stream(f"{folder}/{SINK}/{name}", compression=None) as stream:
            return str(stream.read().decode())

    below = {walk.real(f"{root}/{file.path}".rstrip("/")): file.size for file in _files(walk, root)}
    known = [walk.real(_path_of(uri, opened)) for uri in committed(table, walk.names(f"{folder}/{SINK}"), read)]
    within = walk.real(root)
    found = choose_committed(table, within, walk.real(folder), known, below)
    return [Found(path[len(within) :].strip("/"), size) for path, size in found.items()]


def choose_committed(
    table: str, root: str, folder: str, known: Sequence[str], files: Mapping[str, int]
) -> dict[str, int]:
    """Of the files below a root those that the log of a stream in `folder` knows.

    Raises
    ------
    StorageError
        If there are none, one is missing, or the log is of a table at another place.
    """
    if not known:
        raise StorageError(f"{table}: {SINK} holds no batch: the stream that writes it has not committed any")
    chosen: dict[str, int] = {}
    for path in known:
        if not path.startswith(f"{folder.rstrip('/')}/"):
            raise StorageError(
                f"{table}: {SINK}, the log of the stream that wrote it, names files elsewhere ({path}); a table that "
                "was moved or copied has to be written anew: spark.read.parquet(where it was).write.parquet(…)"
            )
        if path == root or path.startswith(f"{root.rstrip('/')}/"):
            if path not in files:
                raise StorageError(f"{table}: {path} is missing, which {SINK} says is a part of it")
            chosen[path] = files[path]
    return chosen


def _path_of(uri: str, opened: Opened) -> str:
    """The path that a log names, in the words of the opened file system."""
    place = Place.of(unquote(uri))
    if place.is_local:
        return place.path
    start = opened.path.partition("/")[0] if opened.filesystem.type_name in ("s3", "gcs", "abfs") else ""
    return f"{start}{place.path}" if start else place.path


# ---- files that are known to belong to a table


def data_filesystem(place: Place) -> fs.FileSystem:
    """Of a place that is reachable from here, or was from another process: StorageError if it is not."""
    found = opened(place)
    if found is None:
        raise StorageError(f"{place}: cannot be opened from here")
    return found.filesystem


def is_visible(place: str, file: str) -> bool:
    """Whether this process can open a file of a table at a place."""
    try:
        found = opened(Place.of(place))
        return found is not None and bool(found.filesystem.get_file_info(file).is_file)
    except (OSError, pa.ArrowException):
        return False


def absolute(place: Place) -> str:
    """A place for a manifest: the same from any directory and in any session."""
    return place.path if place.is_local else place.for_spark
