"""What a raw table is known by without reading it: its files, their sizes, when they were changed.

Comes in: a `Graph` of tables that were read from paths. Goes out: a few numbers and hashes, the same as long as nobody
touches the files. Tables that come as DataFrames have none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.places.filesystem import Opened, opened
from pipeline.places.patterns import is_pattern
from pipeline.places.place import Place
from pipeline.places.through_spark import files_under
from pipeline.tables.listing import matches
from pipeline.tables.walk import walk_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.graph import Graph

Files = list[tuple[str, int, int]]
"""Name, bytes, time of change."""


def identity(graph: Graph) -> dict[str, Any] | None:
    """Of all tables, and what their columns mean. None if one of them cannot be known again."""
    if len(graph.sources) < len(graph.layouts):
        return None
    found: dict[str, Any] = {}
    for table, source in sorted(graph.sources.items()):
        known = known_source(source, graph.session)
        if known is None:
            return None
        found[table] = {"format": source["format"], **known}
    meaning = {name: value for name, value in graph.describe().items() if name != "sources"}
    return {**found, "meaning": meaning}


def known_source(source: Mapping[str, Any], spark: SparkSession | None) -> dict[str, Any] | None:
    """Of a table as its source says it: of Delta the version, else its files. None if it cannot be known again: of a
    view, and of other tables by name."""
    if "id" in source:
        return {"version": source["version"], "id": source["id"]}
    if "path" not in source:
        return None
    known = known_files(source["path"], spark)
    return None if known is None else {"files": known.count, "bytes": known.bytes, "digest": known.digest}


@dataclass(frozen=True)
class KnownFiles:
    """The files of a table, in three numbers: as long as nobody touches them these stay."""

    count: int
    bytes: int
    digest: str
    """Of their names, sizes and times of change."""


def known_files(path: str, spark: SparkSession | None) -> KnownFiles | None:
    """Of the table at a path; None if there are none, or they cannot be known."""
    files = _files_at(Place.of(path), spark)
    if not files:
        return None
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return KnownFiles(len(files), sum(size for _, size, _ in files), digest)


def _files_at(place: Place, spark: SparkSession | None) -> Files | None:
    here = opened(place)
    if here is None:
        return files_under(spark, place) if spark is not None else None
    try:
        if here.info.type == fs.FileType.NotFound and is_pattern(place.path):
            if not here.is_local:
                return None
            paths = sorted(set(matches(walk_of(here), here.path)))
            return [file for path in paths for file in _inside(Opened(here.filesystem, path))]
        return _inside(here)
    except (OSError, pa.ArrowException):
        return None


def _inside(here: Opened) -> Files:
    """All files, hidden ones too: the log of a Delta table says which of the others count."""
    info = here.info
    infos = [info]
    if info.type == fs.FileType.Directory:
        infos = here.filesystem.get_file_info(fs.FileSelector(here.path, recursive=True))
    start = len(here.path.rpartition("/")[0])
    return sorted(
        (found.path[start:], found.size, found.mtime_ns or 0) for found in infos if found.type == fs.FileType.File
    )
