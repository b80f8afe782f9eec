"""Scores merged into a Delta or Iceberg table: rows of the same key are changed where a number differs.

Comes in: the name of a table, and scores as a DataFrame. Goes out: one commit of the table, and how many rows it
changed. Knows nothing of how scores are made, nor of what may be merged at all (into_table.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import StorageError
from pipeline.schema import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

UPDATED, RUN = "updated_at", "run_id"
"""When a row was written or changed, and by which run."""


@dataclass(frozen=True)
class Written:
    """What became of the table."""

    rows: int
    """Of the run."""
    inserted: int
    updated: int = 0
    unchanged: int = 0
    """By merge: rows that were there already with the same numbers; their updated_at and run_id stay."""
    deleted: int = 0
    """By mirror: rows of keys that the run does not have."""


def refuse_repeated(spark: SparkSession, table: str, called: str, keys: Sequence[str]) -> None:
    """Runs a job: StorageError if a key stands in the table more than once, as after `append`: a merge would make all
    of its rows the same. `table`: for Spark; `called`: for people."""
    from pyspark.sql import functions as F

    columns = [F.col(quoted(name)) for name in keys]
    rows = spark.table(table).select(*columns).dropna()  # null is like nothing, so it is never merged
    found = rows.groupBy(*columns).count().where("count > 1").first()
    if found is not None:
        key = ", ".join(f"{name} {found[name]}" for name in keys)
        raise StorageError(
            f"{called}: holds {found['count']} rows of {key}, and merge takes a table with one row of each; append to "
            "it again, or merge into another table"
        )


def merge(
    spark: SparkSession, table: str, provider: str | None, frame: DataFrame, keys: Sequence[str], mirror: bool = False
) -> Written:
    """Runs jobs. Rows of the same key are changed where a number differs, new ones are added; other columns of the
    table stay, and so do other rows.

    Parameters
    ----------
    table
        For Spark.
    provider
        Its format.
    frame
        Rows, each key once, with the columns `updated_at` and `run_id`.
    keys
        The columns that say whose row it is.
    mirror
        Other rows are deleted.
    """
    from pyspark.sql import functions as F

    rows = frame.count()
    on = " AND ".join(f"t.{name} = s.{name}" for name in map(quoted, keys))
    every = [quoted(name) for name in frame.columns]
    changed = [quoted(name) for name in frame.columns if name not in keys]
    values = [quoted(name) for name in frame.columns if name not in keys and name.lower() not in (UPDATED, RUN)]
    same = " AND ".join(f"t.{name} <=> s.{name}" for name in values)
    inserted = updated = deleted = 0
    if provider != "delta":  # MERGE of Iceberg gives no counts; of two merges at once one fails
        found = f"t.{quoted(keys[0])} IS NOT NULL"
        joined = frame.alias("s").join(spark.table(table).alias("t"), F.expr(on), "left")
        counted = joined.selectExpr(f"count_if(NOT ({found})) new", f"count_if({found} AND NOT ({same})) other").first()
        assert counted is not None, "it has one row"
        inserted, updated = int(counted.new), int(counted.other)
        if mirror:
            deleted = spark.table(table).alias("t").join(frame.alias("s"), F.expr(on), "left_anti").count()
    view = f"graphsweep_{uuid.uuid4().hex}"
    frame.createOrReplaceTempView(view)
    try:
        counts = spark.sql(
            f"MERGE INTO {table} t USING {view} s ON {on} "
            f"WHEN MATCHED AND NOT ({same}) THEN UPDATE SET "
            + ", ".join(f"t.{name} = s.{name}" for name in changed)
            + f" WHEN NOT MATCHED THEN INSERT ({', '.join(every)}) VALUES ({', '.join(f's.{n}' for n in every)})"
            + (" WHEN NOT MATCHED BY SOURCE THEN DELETE" if mirror else "")
        ).first()
    finally:
        spark.catalog.dropTempView(view)
    if provider == "delta":
        assert counts is not None, "MERGE gives its counts"
        inserted, updated = int(counts.num_inserted_rows), int(counts.num_updated_rows)
        deleted = int(counts.num_deleted_rows)
    return Written(rows, inserted, updated, rows - inserted - updated, deleted)
