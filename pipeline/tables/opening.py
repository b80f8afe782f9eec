"""Opens what a user gives as a table: a path, a DataFrame, a table in memory.

Comes in: any object, and a session where there is one. Goes out: a `Table` that is read without the JVM wherever that
can be, else a DataFrame; and where it can be read again. One rule decides what belongs to a table, whoever reads it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import DataError, SettingError, StorageError
from pipeline.places.place import Place
from pipeline.places.through_spark import place_in
from pipeline.tables.csv import CsvTable
from pipeline.tables.csv_text import Csv
from pipeline.tables.formats import format_of, known_format
from pipeline.tables.listing import absolute, list_table
from pipeline.tables.memory import describe, table_in_memory
from pipeline.tables.named import PREFIX, TableName, delta_version, open_named
from pipeline.tables.parquet import MOST_FILES, ParquetTable
from pipeline.tables.spark_files import csv_heads, delta_frame, list_by_spark, parquet_frame, start
from pipeline.tables.table import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TAKES = "Spark DataFrames, paths of tables, pandas or polars DataFrames, or Arrow tables"


class NeedsSpark(StorageError):
    """A table that only Spark can read, where there is no session."""


class Given(NamedTuple):
    """A table that was opened."""

    table: Table | DataFrame
    source: Mapping[str, Any] | None = None
    """Where it can be read again; None of DataFrames and of tables in memory."""


class Reading(NamedTuple):
    """How paths are to be read."""

    spark: SparkSession | None = None
    format: str | None = None
    csv: Csv = Csv()


def open_given(name: str, given: Any, reading: Reading, wanted: Sequence[str]) -> Given:
    """A table of whatever the user gave.

    Parameters
    ----------
    name : str
        nodes or edges, for messages.
    wanted : sequence of str
        The columns that will be read.

    Raises
    ------
    DataError
        If it is nothing that can be a table; a streaming DataFrame, say.
    StorageError
        If it is a path where no table is.
    """
    if isinstance(given, Table):
        return Given(given, given.source)
    if isinstance(given, (str, os.PathLike)):
        if not os.fspath(given):
            raise SettingError(f"{name} is an empty path; is a variable unset?")
        return open_table(os.fspath(given), reading)
    if is_frame(given):
        if given.isStreaming:
            raise DataError(
                f"{name} is a streaming DataFrame, which has no end; write it to a table first and read that, or read "
                "its source with spark.read"
            )
        return Given(given)
    found = table_in_memory(name, given, wanted)
    if found is None:
        raise DataError(f"{name} is a {describe(given)}; a graph takes {TAKES}")
    return Given(found)


def is_frame(given: Any) -> bool:
    """Whether it is a DataFrame of Spark, classic or Connect."""
    return type(given).__module__.startswith("pyspark.") and hasattr(given, "sparkSession")


def open_table(path: str, reading: Reading) -> Given:
    """A table at a path, or of a name. NeedsSpark if only Spark can read it and there is no session."""
    spark = reading.spark
    asked = known_format(path, reading.format)
    name, version = TableName.of(path), None
    if name is not None and name.path is None and (asked is None or path.startswith(PREFIX)):
        if asked is not None:
            raise SettingError(f"{path}: a table of the catalog has a format of its own; leave {asked} out")
        return Given(*open_named(_session(path, "a table by name", spark), name))
    if name is not None and name.path is not None:
        (path, asked), version = name.path, name.version
    place = place_in(spark, path)
    listing = list_table(place)
    visible = listing is not None
    if listing is None:
        if spark is None:
            raise NeedsSpark(f"{path}: cannot be looked at from here, only by Spark, and there is no session")
        listing = list_by_spark(spark, place)
    format = format_of(listing, asked, looks_inside=visible)
    if version is not None and format != "delta":
        raise StorageError(f"{path}: has no versions, it is a table of {format}; leave @v{version} out")
    if format == "csv":
        heads = None if visible else csv_heads(_session(path, f"{format} of this kind", spark), listing, reading.csv)
        table: Table = CsvTable.of(listing, reading.csv, heads, None if visible else spark)
        return Given(table, table.source)
    if format == "parquet" and visible and len(listing.parts) <= MOST_FILES:
        table = ParquetTable.of(listing)
        return Given(table, table.source)
    spark = _session(path, f"{format} of this kind", spark)
    source = {"path": absolute(place), "format": format}
    if format == "delta":
        known = delta_version(spark, TableName(("delta", start(place) + place.path)).quoted, path, version)
        return Given(delta_frame(spark, place, known.get("version")), {**source, **known})
    return Given(parquet_frame(spark, listing), source)


def _session(path: str, kind: str, spark: SparkSession | None) -> SparkSession:
    if spark is None:
        raise NeedsSpark(f"{path}: {kind} is read by Spark, and there is no session; make one")
    return spark


def file_bytes(path: str) -> int | None:
    """Of all data files of a table; None if they cannot be seen from here, or are no table."""
    try:
        found = list_table(Place.of(path))
    except (StorageError, SettingError):
        return None
    return found.size if found and found.parts else None
