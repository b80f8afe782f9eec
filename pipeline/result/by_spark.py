"""A result that Spark's own writer puts where only Spark can write.

Comes in: the DataFrame of the result. Goes out: its files, and how many rows are in them.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError, unwritable
from pipeline.places.place import Place
from pipeline.places.staging import Staging
from pipeline.places.through_spark import literal
from pipeline.result.destination import Direct
from pipeline.result.flat import lanes_of
from pipeline.result.written import CSV, PARQUET
from pipeline.schema import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# What a CSV reader (RFC 4180) reads back is what was given: nothing is trimmed, quotes are doubled.
CSV_OPTIONS = {
    "header": "true",
    "escape": '"',
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
}


def write_by_spark(
    table: DataFrame, widths: Mapping[str, int], format: str, staging: Staging | Direct, text_ids: bool
) -> None:
    """Runs the job that computes the table's rows, and writes them. `widths`: of the columns that hold arrays."""
    table = table if format == PARQUET else flattened(table, widths)
    # the directory beside is there already, with its marker; a place that only Spark reaches must not be
    writer = table.write.mode("errorifexists" if staging.opened is None else "append")
    path = staging.place.for_spark
    if format == PARQUET:
        writer.parquet(path)
    else:
        writer.options(**CSV_OPTIONS, quoteAll=text_ids).csv(path)


def count_by_spark(spark: SparkSession, format: str, place: Place) -> int:
    """Runs a job: the rows of a table that was written."""
    reader = spark.read
    if format == CSV:
        # with a schema: to find one, Spark takes the names of files for patterns once more
        return reader.schema("id string").options(**CSV_OPTIONS, multiLine=True).csv(literal(place)).count()
    return reader.parquet(literal(place)).count()


# what the system says of a disk, among all that Spark says
_DISK = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied")


@contextmanager
def writable(output: Place, staging: Staging | Direct) -> Iterator[None]:
    """What Spark's writer says of the directory beside the output is said of the output."""
    try:
        yield
    except Exception as error:  # of Java, of py4j or of PySpark
        found = _DISK.search(str(error))
        if found is not None and staging.place.name in str(error):
            if output.is_local and found[0] == os.strerror(errno.ENOSPC):
                raise unwritable(str(output), OSError(errno.ENOSPC, found[0])) from error
            raise StorageError(f"{output}: cannot be written: {found[0]}") from error
        raise


def flattened(table: DataFrame, widths: Mapping[str, int]) -> DataFrame:
    """The result for formats without arrays: a column per lane, output_0, output_1, …"""
    from pyspark.sql import functions as F

    columns: list[Any] = []
    for name in table.columns:
        if name not in widths:
            columns.append(F.col(quoted(name)))
        else:
            names = lanes_of(name, widths[name])
            columns += [F.col(quoted(name))[lane].alias(alias) for lane, alias in enumerate(names)]
    return table.select(*columns)
