"""Tables whose files only Spark sees: what belongs to them, and their rows, by the same rules.

Comes in: a session, a place. Goes out: a `Listing`, DataFrames. Only DataFrame operations: Spark lists files as rows of
its `binaryFile` format, and hands on the bytes of CSV files, which workers parse as this process would.
"""

from __future__ import annotations

import functools
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.places.place import Place
from pipeline.tables.belonging import Found, belonging, one_table
from pipeline.tables.csv_text import Csv, CsvFile, Head
from pipeline.tables.csv_values import Seen, survey, typed_rows
from pipeline.tables.listing import DELTA, HUDI, ICEBERG, Listing
from pipeline.tables.partitions import Folders, constants
from pipeline.tables.patterns import alternatives, escaped, is_pattern
from pipeline.tables.sink_log import FOLDER as SINK
from pipeline.workers import first_line, readable_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# logs beside the files that say which of them count; of Iceberg and Hudi, files that every table has
MOST_FILES = 10_000  # that Spark is given by name
LOGS = {DELTA: "*", SINK: "*", HUDI: "*", ICEBERG: "*.metadata.json*"}


def list_by_spark(spark: SparkSession, place: Place) -> Listing:
    """What belongs to a table, as Spark sees the place. Runs jobs.

    Raises
    ------
    StorageError
        If nothing is there, or what is there is no table that can be read whole.
    """
    pattern = is_pattern(place.path)
    logs = {} if pattern else _logs(spark, place)
    if DELTA in logs:
        if logs[DELTA] != place.path:
            raise StorageError(
                f"{place}: lies in a Delta table, of which not all files count; give the table itself ({logs[DELTA]})"
            )
        return Listing(place, (), is_delta=True)
    for name, what in ((ICEBERG, "an Iceberg table"), (HUDI, "a Hudi table")):
        if name in logs:
            raise StorageError(
                f"{place}: {what}, of which not all files count; read it with Spark and give the DataFrame: "
                "Graph(spark.table(…), …)"
            )
    if SINK in logs and logs[SINK] != place.path:
        raise StorageError(
            f"{place}: lies in a table that a stream wrote, of which not all files count; give the table itself "
            f"({logs[SINK]})"
        )
    files = _files(spark, place, spelt(place, pattern))
    roots: dict[str, list[Found]] = {}
    depth = {len(each.split("/")) for each in alternatives(place.path)} if pattern else set()
    for uri, size in files:
        path = _path_of(uri)
        root = place.path if not pattern else "/".join(path.split("/")[: min(depth)])
        roots.setdefault(root, []).append(Found(path[len(root) :].strip("/"), size))
    if len(depth) > 1:
        raise StorageError(f"{place}: a pattern whose choices are of different depth; give the paths of one depth")
    parts = [part for root, found in sorted(roots.items()) for part in belonging(str(place), root, found)]
    if not parts:
        raise StorageError(f"{place}: the directory holds no data files")
    return Listing.of(place, one_table(str(place), parts) if len(roots) > 1 else parts, pattern)


def _logs(spark: SparkSession, place: Place) -> dict[str, str]:
    """Logs in a table's folder, or in a folder around it; the path of that."""
    found: dict[str, str] = {}
    at = place.path
    while True:
        for name, inside in LOGS.items():
            if name not in found and _exists(
                spark, f"{start(place)}{escaped(at)}/{name}/{inside}".replace("//_", "/_")
            ):
                found[name] = at
        if at in ("/", ""):
            return found
        at = posixpath.dirname(at)


def _exists(spark: SparkSession, pattern: str) -> bool:
    """Whether some file has such a name. A path with names of its own is not hidden from Spark. No job."""
    with suppress(Exception):  # not there, or not to be seen
        return bool(spark.read.format("binaryFile").load(pattern).columns)
    return False


def _files(spark: SparkSession, place: Place, path: str) -> list[tuple[str, int]]:
    """URIs and sizes of all files below. The contents are not read."""
    try:
        rows = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
        return [(row.path, row.length) for row in rows.select("path", "length").collect()]
    except Exception as error:
        raise unreadable(place, "a table", error) from error


def start(place: Place) -> str:
    """What comes before a place's path, for Spark: scheme and host as the user wrote them."""
    if place.is_local:
        return "file://"
    scheme, colon, _ = place.given.partition(":")
    host = f"//{place.authority}" if place.authority else ""
    return f"{scheme if colon and '/' not in scheme else place.scheme}:{host}"


def spelt(place: Place, pattern: bool) -> str:
    """A place for Spark, which takes every path with such signs as a pattern."""
    return start(place) + (place.path if pattern else escaped(place.path))


def _path_of(uri: str) -> str:
    """The path in a URI as Spark prints it: nothing in it is encoded."""
    scheme, colon, rest = uri.partition(":")
    if not colon or "/" in scheme:
        return uri
    return "/" + rest[2:].partition("/")[2] if rest.startswith("//") else rest


# ---- rows


def parquet_frame(spark: SparkSession, listing: Listing, types: Mapping[str, str] | None = None) -> DataFrame:
    """A Parquet table by Spark; with `types` only these columns, so that Spark does not look at the others.

    Spark is given the files by name: it would look into folders, and follow logs, by rules of its own.
    """
    place, reader = listing.place, spark.read
    if types is not None:
        reader = reader.schema(", ".join(f"`{name.replace('`', '``')}` {word}" for name, word in types.items()))
    if len(listing.parts) > MOST_FILES or (listing.is_pattern and listing.partitions):
        paths = [spelt(place, listing.is_pattern)]
    else:
        paths = [start(place) + escaped(part.file) for part in listing.parts]
        if listing.partitions:
            reader = reader.option("basePath", start(place) + place.path)
    return _loaded(place, "parquet", lambda: reader.parquet(*paths))


def delta_frame(spark: SparkSession, place: Place) -> DataFrame:
    return _loaded(place, "delta", lambda: spark.read.format("delta").load(start(place) + place.path))


def _loaded(place: Place, format: str, load: Any) -> DataFrame:
    try:
        table: DataFrame = load()
        columns = table.columns
    except Exception as error:
        raise unreadable(place, format, error) from error
    if not columns:
        raise StorageError(f"{place}: has no columns")
    return table


def unreadable(place: Place, format: str, error: Exception) -> StorageError:
    """What Spark says of a table that it cannot read, as one line."""
    text = str(error)
    if "[PATH_NOT_FOUND]" in text:
        return StorageError(f"{place}: no such file or directory")
    if "[DATA_SOURCE_NOT_FOUND]" in text and format == "delta":
        return StorageError(
            f"{place}: a Delta table, and this Spark has no Delta Lake; start it with the package io.delta:delta-spark "
            "for its version (spark-submit --packages io.delta:delta-spark_2.13:VERSION), or give a Parquet copy"
        )
    return StorageError(f"{place}: cannot be read as {format}: {first_line(error)}")


# ---- CSV: the bytes of each file, parsed by workers


def csv_heads(spark: SparkSession, listing: Listing, options: Csv) -> list[Head]:
    """The header line of each part, in their order. Runs a job."""
    found = _by_file(spark, listing, functools.partial(_head, options=options))
    return [Head(tuple(columns), sep) for columns, sep in (found[part.file] for part in listing.parts)]


def survey_csv(spark: SparkSession, listing: Listing, options: Csv, wanted: Sequence[str]) -> list[Any]:
    """What `survey` finds in each part, in their order. Runs a job."""
    found = _by_file(spark, listing, functools.partial(_survey, options=options, wanted=list(wanted)))
    return [
        (rows, {name: Seen(*each) for name, each in seen.items()})
        for rows, seen in (found[part.file] for part in listing.parts)
    ]


def csv_frame(spark: SparkSession, listing: Listing, options: Csv, types: Mapping[str, str]) -> DataFrame:
    """The rows of a CSV table, with columns of these types; lazy."""
    ddl = ", ".join(f"`{name.replace('`', '``')}` {word}" for name, word in types.items())
    folders = {part.file: part.folders for part in listing.parts}
    work = functools.partial(_rows, options=options, types=dict(types), folders=folders, partitions=listing.partitions)
    return _contents(spark, listing).mapInArrow(work, ddl)


def _by_file(spark: SparkSession, listing: Listing, work: Any) -> dict[str, Any]:
    ask = functools.partial(_answers, work=work)
    with readable_errors():
        rows = _contents(spark, listing).mapInArrow(ask, "path string, answer string").collect()
    return {_path_of(row.path): json.loads(row.answer) for row in rows}


def _contents(spark: SparkSession, listing: Listing) -> DataFrame:
    """path and content of each part."""
    paths = [start(listing.place) + escaped(part.file) for part in listing.parts]
    return spark.read.format("binaryFile").load(paths).select("path", "content")


def _each(batches: Iterable[pa.RecordBatch], options: Csv) -> Iterator[tuple[str, CsvFile]]:
    for batch in batches:
        for path, content in zip(*batch.columns, strict=True):
            data = content.as_buffer()
            name = posixpath.basename(path.as_py())
            yield path.as_py(), CsvFile(name, functools.partial(pa.BufferReader, data), options)


def _answers(batches: Iterable[pa.RecordBatch], work: Any) -> Iterator[pa.RecordBatch]:
    for path, file in _each(batches, work.keywords["options"]):
        answer = json.dumps(work(file))
        yield pa.RecordBatch.from_arrays([pa.array([path]), pa.array([answer])], ["path", "answer"])


def _head(file: CsvFile, options: Csv) -> Any:
    return file.head()


def _survey(file: CsvFile, options: Csv, wanted: Sequence[str]) -> Any:
    return survey(file, wanted)


def _rows(
    batches: Iterable[pa.RecordBatch],
    options: Csv,
    types: Mapping[str, str],
    folders: Mapping[str, Folders],
    partitions: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    for path, file in _each(batches, options):
        yield from typed_rows(file, list(types), types, dict(constants(folders[_path_of(path)], partitions)))
