"""What a job needs of Spark around it: the session that is there, settings for a while, readable errors.

Comes in: the session of the user's DataFrames. Goes out: the same. Knows nothing of graphs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.blocks.storage import replaced_in
from pipeline.errors import DataError, GraphsweepError, StorageError, first_line

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


log = logging.getLogger("graphsweep")


def active_session() -> SparkSession | None:
    """The session of this thread, or else the one that another thread of this process has made."""
    if "pyspark" not in sys.modules:  # importing it takes a second, and would not make a session active
        return None
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    try:
        return SparkSession.active()
    except PySparkRuntimeError:
        return None


def setting(spark: SparkSession, key: str) -> str | None:
    """What the session says of a setting; None if it is not set, or if nobody may see it: serverless compute of
    Databricks refuses to say, whatever is given as a default."""
    try:
        return spark.conf.get(key, None)
    except Exception as error:  # of Java, of PySpark, of gRPC
        log.debug("%s: the session does not say: %s", key, first_line(error))
        return None


def frame_of_arrow(spark: SparkSession, table: pa.Table) -> DataFrame:
    """The rows of a table in memory. Spark Connect has to be told the types of one without rows."""
    from pyspark.sql.pandas.types import from_arrow_schema

    if table.num_rows:
        return spark.createDataFrame(table)
    return spark.createDataFrame(table, from_arrow_schema(table.schema))


def refuse_ended(spark: SparkSession) -> None:
    """DataError if the session was stopped: its DataFrames still tell their columns, and then fail in Java. No job."""
    try:
        spark.range(1).columns  # noqa: B018
    except Exception as error:  # of py4j, of Python, of PySpark
        raise DataError(
            "the Spark session of these tables has ended; make the DataFrames again in a session that is active"
        ) from error


@contextmanager
def session_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings for as long as the job runs; those that this kind of cluster lets nobody change stay as they are."""
    before: dict[str, str | None] = {}
    try:
        for key, value in settings.items():
            with _if_allowed(key):
                if spark.conf.isModifiable(key):
                    was = spark.conf.get(key, None)
                    spark.conf.set(key, value)
                    before[key] = was
        yield
    finally:
        for key, was in before.items():
            if was is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, was)


@contextmanager
def _if_allowed(key: str) -> Iterator[None]:
    """Where a session lets nobody see or change a setting, everything works without it, more slowly."""
    try:
        yield
    except Exception as error:  # of Java, of PySpark, of gRPC
        log.debug("%s: cannot be set: %s", key, first_line(error))


@contextmanager
def readable_errors() -> Iterator[None]:
    """What went wrong in a worker or in Spark's reader, without the Java stack trace."""
    try:
        yield
    except GraphsweepError:
        raise
    except Exception as error:  # of Java, of py4j or of PySpark
        text = str(error)
        ours = re.search(r"pipeline\.errors\.(DataError|StorageError): (.*)", text)
        if ours:
            raise (DataError if ours[1] == "DataError" else StorageError)(ours[2]) from error
        replaced = replaced_in(text)
        if replaced:
            raise replaced from error
        if "FAILED_READ_FILE" in text or "CANNOT_READ_FILE_FOOTER" in text:
            raise StorageError(f"a table cannot be read: {first_line(error)}") from error
        raise
