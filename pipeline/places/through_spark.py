"""Places as a Spark session sees them: its default file system, what is there, what DataFrames are read from.

Comes in: a session. Goes out: names and places. Only DataFrame operations are used, which every kind of session has:
Spark tells much of a path by the way it fails to read it.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from pipeline.errors import StorageError, first_line
from pipeline.places.mounted import SCHEME, is_seen, on_databricks
from pipeline.places.place import Place
from pipeline.places.schemes import LOCAL

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

# Of its files a table is told by their folders.
_PARTITION = re.compile(r"[^/=]+=[^/]*")


def default_filesystem(spark: SparkSession | None) -> str:
    """The file system of paths without a scheme: `file`, or as `hdfs://host:8020`.

    Spark names it when it is asked for a file that is not there (0.1 s; in a session that has just started 0.8 s, by
    which its first job is faster). The settings do not tell: it may come from the cluster's own files.
    """
    if spark is None:
        return LOCAL
    nothing = f"/graphsweep-{uuid.uuid4().hex}"
    try:
        # Twice: of one path that is not there Spark logs a warning with a stack of 70 lines
        # (FileStreamSink.hasMetadata). Spark Connect looks only when it is asked for columns.
        _ = spark.read.format("binaryFile").load([nothing, nothing]).columns
    except Exception as error:  # of Java, of py4j or of PySpark
        # with a folder in front of it where the default is one: hdfs://host:8020/user/a
        found = re.search(rf"([A-Za-z][A-Za-z0-9+.-]+:(?:/\S*?)?){nothing}", str(error))
        if found is not None:
            return LOCAL if found[1].lower().startswith(f"{LOCAL}:") else found[1]
        if on_databricks():  # where the root of dbfs: is closed, Spark says no more than that
            return f"{SCHEME}:"
        raise StorageError(
            f"Spark does not name its default file system ({first_line(error)}); write paths with a scheme, as file:/x"
        ) from error
    raise AssertionError(f"{nothing} cannot be there")


def place_in(spark: SparkSession | None, path: str | os.PathLike[str]) -> Place:
    """The place that a path names to a session; its default file system is asked for only if that matters, for it may
    be one that does not answer."""
    place = Place.of(path)
    asks = spark is not None and place.is_plain and not is_seen(place.path)
    return Place.of(path, default_filesystem(spark)) if asks else place


def is_there(spark: SparkSession, place: Place) -> bool:
    """Whether anything is at a place that only Spark reaches. StorageError if Spark does not reach it either."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    try:
        _ = reader.load([literal(place)] * 2).columns  # twice, as above
    except Exception as error:
        if "[PATH_NOT_FOUND]" in str(error):
            return False
        raise StorageError(f"{place}: cannot be reached by Spark: {first_line(error)}") from error
    return True


def literal(place: Place) -> str:
    """For Spark's readers, which take signs in paths for patterns."""
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", place.for_spark)


def read_from(table: DataFrame) -> list[Place]:
    """The files that a DataFrame is read from, and the folders of files that Spark wrote; what Spark does not tell is
    left out."""
    try:
        files = table.inputFiles()
    except Exception as error:  # of Java, of py4j or of PySpark; it is one safeguard of several
        log.debug("the files of a DataFrame are not known: %s", first_line(error))
        return []
    found: dict[str, None] = {}
    for file in files:
        path = unquote(file)
        folder, _, name = path.rpartition("/")
        while _PARTITION.fullmatch(folder.rpartition("/")[2]):
            folder = folder.rpartition("/")[0]
        found[folder if name.startswith("part-") else path] = None
    return [Place.told(path) for path in found]


def files_under(spark: SparkSession, place: Place) -> list[tuple[str, int, int]] | None:
    """Runs a job: name, bytes and time of change of all files that Spark shows; None if it shows none."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    try:
        files = reader.load(place.for_spark).selectExpr("path", "length", "unix_micros(modificationTime) t")
        rows: list[Any] = files.collect()
    except Exception as error:
        log.debug("the files of %s are not known: %s", place, first_line(error))
        return None
    return sorted((row.path, row.length, row.t) for row in rows)
