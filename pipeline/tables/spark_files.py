"""Tables whose files only Spark sees: what belongs to them, and their rows, by the same rules.

Comes in: a session, a place. Goes out: a `Listing`, DataFrames. Only DataFrame operations: Spark lists files as rows of
its `binaryFile` format, and hands on the bytes of CSV files, which workers parse as this process would.
"""

from __future__ import annotations

import functools
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import StorageError, first_line
from pipeline.places.mounted import before
from pipeline.places.patterns import alternatives, escaped, is_pattern, unescaped
from pipeline.places.place import Place
from pipeline.spark.session import readable_errors
from pipeline.spark.task_function import task_function
from pipeline.tables.belonging import Found, belonging, one_table
from pipeline.tables.csv_text import Csv, CsvFile, Head
from pipeline.tables.csv_values import Seen, survey, typed_rows
from pipeline.tables.listing import DELTA, FOREIGN, HUDI, ICEBERG, Listing, foreign
from pipeline.tables.partitions import Folders, constants
from pipeline.tables.sink_log import FOLDER as SINK

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

A_FILE = "(is not a directory)"  # what HDFS says of a name inside a file
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
    table, pattern = str(place), False
    files = _files(spark, place, spark_path(place, False))
    if files is None and is_pattern(place.path):
        pattern, files = True, _files(spark, place, spark_path(place, True))
    log = _log_of(spark, place, pattern)
    if log is not None and log[0] == DELTA:
        if pattern or log[1] != place.path:
            raise StorageError(
                f"{table}: lies in a Delta table, of which not all files count; give the table itself ({log[1]})"
            )
        return Listing(place, (), is_delta=True)
    if log is not None and log[0] in FOREIGN:
        raise foreign(table, FOREIGN[log[0]], log[1])
    if files is None:
        raise StorageError(f"{table}: no such file or directory")
    if log is not None and (pattern or log[1] != place.path):
        # of the table's own path Spark follows the log by itself; it lets nobody else read it
        raise StorageError(
            f"{table}: lies in a table that a stream wrote, of which not all files count; give the table itself "
            f"({log[1]})"
        )
    parts = []
    for root, found in sorted(_by_root(place, files, pattern).items()):
        parts += belonging(table, root, found)
    if not parts:
        raise StorageError(f"{table}: the directory holds no data files")
    return Listing.of(place, one_table(table, parts) if pattern else parts, pattern)


def _by_root(place: Place, files: Mapping[str, int], pattern: bool) -> dict[str, list[Found]]:
    """The files below each path that a pattern matches: as many names as the pattern has."""
    depth = {len(each.split("/")) for each in alternatives(place.path)} if pattern else {0}
    if len(depth) > 1:
        raise StorageError(f"{place}: a pattern whose choices are of different depth; give the paths of one depth")
    roots: dict[str, list[Found]] = {}
    for path, size in files.items():
        root = "/".join(path.split("/")[: min(depth)]) if pattern else place.path
        roots.setdefault(root, []).append(Found(path[len(root) :].strip("/"), size))
    return roots


def _log_of(spark: SparkSession, place: Place, pattern: bool) -> tuple[str, str] | None:
    """The log that says which of the files count, and the folder that it is in: the table's, or one around it."""
    for path in alternatives(place.path) if pattern else [escaped(place.path)]:
        parts = path.rstrip("/").split("/")
        for end in range(len(parts), 0, -1):
            folder = "/".join(parts[:end])
            at, certain = f"{start(place)}{folder}", end == len(parts)
            any_log = ",".join(f"{name}/{inside}" for name, inside in LOGS.items())
            if not _exists(spark, place, f"{at}/{{{any_log}}}", certain):  # one question for most folders
                continue
            for name, inside in LOGS.items():
                if _exists(spark, place, f"{at}/{name}/{inside}", certain):
                    return name, folder if pattern else place.path if certain else unescaped(folder)
    return None


def _exists(spark: SparkSession, place: Place, pattern: str, certain: bool) -> bool:
    """Whether some file has such a name, which Spark finds although it is hidden. No job. Of the table's own folder it
    has to be certain; folders around it may be closed to us."""
    try:
        return bool(spark.read.format("binaryFile").load(pattern).columns)
    except Exception as error:  # of Java, of py4j, of PySpark
        if "[PATH_NOT_FOUND]" in str(error) or A_FILE in str(error) or not certain:
            return False
        raise StorageError(
            f"{place}: Spark does not say whether it is a Delta table ({first_line(error)}); read it with Spark and "
            "give the DataFrame"
        ) from error


def _files(spark: SparkSession, place: Place, path: str) -> dict[str, int] | None:
    """Paths and sizes of all files below; None if nothing is there. The contents are not read."""
    try:
        rows = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(path)
        return {_path_of(row.path): row.length for row in rows.select("path", "length").collect()}
    except Exception as error:
        if "[PATH_NOT_FOUND]" in str(error):
            return None
        raise unreadable(place, "a table", error) from error


def start(place: Place) -> str:
    """What comes before a place's path, for Spark: scheme and host as the user wrote them."""
    if place.is_local:
        return before(place.path)
    scheme, colon, _ = place.given.partition(":")
    host = f"//{place.authority}" if place.authority else ""
    return f"{scheme if colon and '/' not in scheme else place.scheme}:{host}"


def spark_path(place: Place, pattern: bool) -> str:
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
        paths = [spark_path(place, listing.is_pattern)]
    else:
        paths = [start(place) + escaped(part.file) for part in listing.parts]
        if listing.partitions:
            reader = reader.option("basePath", start(place) + place.path)
    return _loaded(place, "parquet", lambda: reader.parquet(*paths))


def delta_frame(spark: SparkSession, place: Place, version: int | None = None) -> DataFrame:
    """A Delta table, at one of its versions or at the newest one of whenever it is read."""
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    return _loaded(place, "delta", lambda: reader.load(start(place) + place.path))


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
    return _contents(spark, listing).mapInArrow(task_function(work), ddl)


def _by_file(spark: SparkSession, listing: Listing, work: Any) -> dict[str, Any]:
    ask = functools.partial(_answers, work=work)
    with readable_errors():
        rows = _contents(spark, listing).mapInArrow(task_function(ask), "path string, answer string").collect()
    return {_path_of(row.path): json.loads(row.answer) for row in rows}


def _contents(spark: SparkSession, listing: Listing) -> DataFrame:
    """path and content of each part."""
    paths = [start(listing.place) + escaped(part.file) for part in listing.parts]
    return spark.read.format("binaryFile").load(paths).select("path", "content")


def _each(batches: Iterable[pa.RecordBatch], options: Csv) -> Iterator[tuple[str, CsvFile]]:
    for batch in batches:
        for path, content in zip(*batch.columns, strict=True):
            data = content.as_buffer()
            name = f"{posixpath.dirname(path.as_py())}: {posixpath.basename(path.as_py())}"
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
