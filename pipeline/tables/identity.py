"""What a raw table is known by without reading it: its files, their sizes, when they were changed.

Comes in: a `Graph` of tables that were read from paths. Goes out: a few numbers and hashes, the same as long as nobody
touches the files. Tables that come as DataFrames have none.
"""

from __future__ import annotations

import glob
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.places.filesystem import Opened, opened
from pipeline.places.pattern import expand_braces, is_pattern
from pipeline.places.place import Place
from pipeline.places.through_spark import files_under

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
        files = files_at(Place.of(source["path"]), graph.session)
        if not files:
            return None
        digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        found[table] = {
            "format": source["format"],
            "files": len(files),
            "bytes": sum(size for _, size, _ in files),
            "digest": digest,
        }
    meaning = {name: value for name, value in graph.describe().items() if name != "sources"}
    return {**found, "meaning": meaning}


def files_at(place: Place, spark: SparkSession | None) -> Files | None:
    """All files of a table; None if they cannot be known."""
    here = opened(place)
    if here is None:
        return files_under(spark, place) if spark is not None else None
    try:
        if here.info.type == fs.FileType.NotFound and is_pattern(place.path):
            if not here.is_local:
                return None
            paths = sorted({path for plain in expand_braces(here.path) for path in glob.glob(plain)})
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
