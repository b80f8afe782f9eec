"""Scores into a table of Spark's catalog: created, overwritten, appended to, or merged by id.

Comes in: the name of a table, and what is to become of it; then scores that were written whole as files. Goes out: one
commit of the table, and how many rows it changed. Until then nobody sees a row. Knows nothing of how scores are made.

What replaces or adds rows takes a table that commits all of them or none: of Delta or Iceberg. What is created is there
when all rows are.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError, StorageError, first_line, nearest
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.through_spark import literal
from pipeline.schema import quoted
from pipeline.tables.named import PREFIX, Described, TableName, described, relations_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MODES = ("create", "overwrite", "append", "merge")
FORMATS = ("delta", "iceberg", "parquet")
WHOLE = ("delta", "iceberg")  # whose rows change all at once or not at all
UPDATED, RUN = "updated_at", "run_id"
"""When a row was written or changed, and by which run."""
OURS, SCORES = "graphsweep.kind", "scores"  # a property of tables that graphsweep created


@dataclass(frozen=True)
class Written:
    """What became of the table."""

    rows: int
    """Of the run."""
    inserted: int
    updated: int = 0
    unchanged: int = 0
    """By merge: rows that were there already with the same numbers; their updated_at and run_id stay."""


class IntoTable:
    """A table that was asked for."""

    def __init__(
        self, given: str, mode: str | None = None, format: str | None = None, partition_by: Sequence[str] = ()
    ) -> None:
        """`format` of a table that is created; None: what Spark takes by itself. `partition_by`: columns of it; rows of
        each of their values lie in a folder of their own.

        Raises
        ------
        SettingError
            If it is no name, or mode or format is none that there is.
        """
        self.mode = mode or "create"
        if self.mode not in MODES:
            raise SettingError(f"unknown table mode {mode!r}; {nearest(self.mode, MODES)}")
        if format is not None and format not in FORMATS:
            raise SettingError(f"unknown format {format!r} of a table; {nearest(format, FORMATS)}")
        if format is not None and self.mode != "create":
            raise SettingError(f"--format {format}: the table is there and has a format; leave it out")
        if partition_by and self.mode != "create":
            raise SettingError("--partition-by: the table is there, with partitions or without; leave it out")
        self._format, self._partition_by = format, tuple(partition_by)
        name = TableName.of(given if given.startswith(PREFIX) else f"{PREFIX}{given}")
        assert name is not None, "with the prefix it is a name, or an error"
        self.name = name
        if self.name.path is not None:
            raise SettingError(f"{given}: names files; --output-table takes a table of the catalog, --output a path")
        if self.name.version is not None:
            raise SettingError(f"{given}: old versions cannot be written; leave @v{self.name.version} out")

    def __str__(self) -> str:
        return str(self.name).removeprefix(PREFIX)

    # ---- before any work

    def check(self, spark: SparkSession, columns: Sequence[str], parts: Sequence[str] = ()) -> None:
        """Whether the table can take scores of these columns. Runs no job. `parts`: of these, what a table may be
        partitioned by, beside what it has of its run.

        Raises
        ------
        SettingError
            If the columns of partitions are none of those.
        StorageError
            If it is there and must not be, or is not there, or is none that can be changed as a whole; if it lacks
            columns.
        """
        taken = [name for name in columns if name.lower() in (UPDATED, RUN)]
        if taken:
            raise SettingError(
                f"{self}: {taken[0]} is a column that each table has of its run; name the scores otherwise"
            )
        for name in self._partition_by:
            if name not in (known := (*parts, UPDATED, RUN)):
                raise SettingError(f"--partition-by {name}: {nearest(name, known)}")
        found = described(spark, self.name)
        if self.mode == "create":
            if found is not None:
                raise StorageError(
                    f"{self}: there is {_kind(found)} of that name already; --table-mode overwrite, append or merge "
                    "changes a Delta or Iceberg table, or give another name"
                )
            return
        if found is None:
            raise StorageError(f"{self}: there is no such table to {self.mode}; --table-mode create makes it")
        if found.provider not in WHOLE:
            raise StorageError(
                f"{self}: is {_kind(found)}; {self.mode} takes a Delta or Iceberg table, whose rows change all at "
                "once or not at all. Create one: --table-mode create --format delta"
            )
        if self.mode == "overwrite" and not _is_ours(spark, found):
            raise StorageError(
                f"{self}: graphsweep did not create it (it has no property {OURS}), so it is not overwritten; drop it, "
                "or use merge, which changes only rows of the same ids"
            )
        there = {name.lower() for name in spark.table(found.name.quoted).columns}
        missing = [name for name in (*columns, UPDATED, RUN) if name.lower() not in there]
        if missing:
            raise StorageError(
                f"{self}: has no column {', '.join(missing)}, which the scores have; add them, or create another table"
            )

    def refuse_inputs(self, spark: SparkSession, read: Mapping[str, str]) -> None:
        """SettingError if the table is one that the run reads, in whatever spelling, or through views. `read`: what it
        is → the text that names it: a table or a path."""
        found = described(spark, self.name)
        if found is None:
            return
        own = _folded(found.name)
        places: dict[str, Place] = {}
        for what, text in read.items():
            name = TableName.of(text)
            if name is None or name.path is not None:
                places[what] = Place.of(text if name is None or name.path is None else name.path[0])
            elif own in {_folded(each) for each in relations_of(spark, name)}:
                raise SettingError(f"{self}: the output is {what} ({text}); give another name. Nothing was touched")
        if found.location is not None:
            refuse_overlap(Place.of(found.location), places)

    # ---- when the scores are there

    def write(self, spark: SparkSession, scores: Place, run: str) -> Written:
        """Runs jobs: the scores that lie in files, into the table, at once.

        Raises
        ------
        StorageError
            If the table does not take them. It is as before then.
        """
        from pyspark.sql import functions as F

        now = datetime.datetime.now(datetime.timezone.utc)
        frame = spark.read.parquet(literal(scores))
        columns = frame.columns
        frame = frame.withColumn(UPDATED, F.lit(now)).withColumn(RUN, F.lit(run))
        rows = frame.count()
        try:
            if self.mode == "merge":
                return self._merged(spark, frame, columns, rows, run)
            self._commit(spark, frame)
        except Exception as error:  # of Java, of py4j, of PySpark, of Delta
            raise StorageError(f"{self}: does not take the scores; it is as it was: {first_line(error)}") from error
        return Written(rows, rows)

    def _commit(self, spark: SparkSession, frame: DataFrame) -> None:
        from pyspark.sql import functions as F

        writer = frame.writeTo(self.name.quoted)
        if self.mode == "create":
            if self._format is not None:
                writer = writer.using(self._format)
            if self._partition_by:
                writer = writer.partitionedBy(*(F.col(quoted(name)) for name in self._partition_by))
            writer.tableProperty(OURS, SCORES).create()
        elif self.mode == "append":
            writer.append()
        else:
            writer.overwrite(F.lit(True))

    def _merged(self, spark: SparkSession, frame: DataFrame, columns: Sequence[str], rows: int, run: str) -> Written:
        """Rows of the same id are changed where a number differs; other rows of the table stay."""
        from pyspark.sql import functions as F

        view = f"graphsweep_{uuid.uuid4().hex}"
        id, *values = map(quoted, columns)
        every = [*map(quoted, columns), UPDATED, RUN]
        same = " AND ".join(f"t.{name} <=> s.{name}" for name in values)
        found = described(spark, self.name)
        counted = found is not None and found.provider == "delta"
        inserted = updated = 0
        if not counted:  # MERGE of Iceberg gives no counts; of two merges at once one fails
            there = spark.table(self.name.quoted).select(F.col(id).alias("there"))
            inserted = frame.join(there, F.col(id) == F.col("there"), "left_anti").count()
        frame.createOrReplaceTempView(view)
        try:
            counts = spark.sql(
                f"MERGE INTO {self.name.quoted} t USING {view} s ON t.{id} = s.{id} "
                f"WHEN MATCHED AND NOT ({same}) THEN UPDATE SET "
                + ", ".join(f"t.{name} = s.{name}" for name in (*values, UPDATED, RUN))
                + f" WHEN NOT MATCHED THEN INSERT ({', '.join(every)}) VALUES ({', '.join(f's.{n}' for n in every)})"
            ).first()
        finally:
            spark.catalog.dropTempView(view)
        if not counted:
            updated = spark.table(self.name.quoted).where(F.col(RUN) == run).count() - inserted
        else:
            assert counts is not None, "MERGE gives its counts"
            inserted, updated = int(counts.num_inserted_rows), int(counts.num_updated_rows)
        return Written(rows, inserted, updated, rows - inserted - updated)


def refuse_name(output: str) -> None:
    """SettingError if a path of scores would be the name of a table wherever a table is read: a folder of that name is
    hardly what is meant."""
    name = TableName.of(output)
    if name is None:
        return
    if name.path is not None:
        raise SettingError(f"{output}: names files of {name.path[1]}; scores go to a path, as {name.path[0]}")
    table = str(name).removeprefix(PREFIX)
    raise SettingError(
        f"{output}: is the name of a table, and this is for a path. A folder of that name: ./{table}. A table of "
        f"Spark's catalog: --output-table {table}, on the command line"
    )


def expected_columns(id: str | None, outputs: Iterable[str], classify: bool, labels: Iterable[str] = ()) -> list[str]:
    """Of scores, before they are there; `id`: what the ids are called, if that is known."""
    from pipeline.result.output import PREDICTED, PROBABILITY

    return [*([] if id is None else [id]), *outputs, *((PREDICTED, PROBABILITY) if classify else ()), *labels]


def _folded(name: TableName) -> tuple[str, ...]:
    """Names that differ in case only are the same table, or may be."""
    return tuple(part.casefold() for part in name.parts)


def _kind(found: Described) -> str:
    return f"a table of {found.provider}" if found.provider else "a view"


def _is_ours(spark: SparkSession, found: Described) -> bool:
    rows: list[Any] = spark.sql(f"SHOW TBLPROPERTIES {found.name.quoted}").collect()
    return {row.key: row.value for row in rows}.get(OURS) == SCORES
