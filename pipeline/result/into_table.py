"""Scores into a table of Spark's catalog: created, overwritten, appended to, merged by key, or mirrored.

Comes in: the name of a table, and what is to become of it; then scores that were written whole as files. Goes out: one
commit of the table, and how many rows it changed. Until then nobody sees a row. Knows nothing of how scores are made.

What replaces or adds rows takes a table that commits all of them or none: of Delta or Iceberg. What is created is there
when all rows are.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError, StorageError, first_line, nearest
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.through_spark import literal
from pipeline.result.merged import RUN, UPDATED, Written, merge, refuse_repeated
from pipeline.schema import quoted
from pipeline.tables.named import PREFIX, Described, TableName, described, relations_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.formula.values import Value

MODES = ("create", "overwrite", "append", "merge", "mirror")
BY_KEY = ("merge", "mirror")
FORMATS = ("delta", "iceberg", "parquet")
WHOLE = ("delta", "iceberg")  # whose rows change all at once or not at all
OURS, SCORES = "graphsweep.kind", "scores"  # a property of tables that graphsweep created


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

    def check(
        self,
        spark: SparkSession,
        columns: Mapping[str, str | None],
        parts: Iterable[str] = (),
        keys: Sequence[str] = (),
    ) -> None:
        """Whether the table can take scores of these columns. Before a merge runs a job, else none.

        Parameters
        ----------
        columns
            Column → its type in Spark's words, if that is known.
        parts
            Of these, what a table may be partitioned by, beside what it has of its run.
        keys
            Of these, what says whose row it is.

        Raises
        ------
        SettingError
            If the columns of partitions are none of those.
        StorageError
            If it is there and must not be, or is not there, or is none that can be changed as a whole; if it lacks
            columns, or has one of another type; if merge would find a key in it more than once.
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
                    f"{self}: there is {_kind(found)} of that name already; --table-mode overwrite, append, merge or "
                    "mirror changes a Delta or Iceberg table, or give another name"
                )
            return
        if found is None:
            raise StorageError(f"{self}: there is no such table to {self.mode}; --table-mode create makes it")
        if found.provider not in WHOLE:
            raise StorageError(
                f"{self}: is {_kind(found)}; {self.mode} takes a Delta or Iceberg table, whose rows change all at "
                "once or not at all. Create one: --table-mode create --format delta"
            )
        if self.mode in ("overwrite", "mirror") and not _is_ours(spark, found):
            raise StorageError(
                f"{self}: graphsweep did not create it (it has no property {OURS}), so its rows are not removed; drop "
                "it, or use merge, which changes only rows of the same ids"
            )
        own: dict[str, str | None] = {UPDATED: "timestamp", RUN: "string"}
        _check_columns(str(self), spark.table(found.name.quoted), {**columns, **own})
        if self.mode in BY_KEY and keys:
            refuse_repeated(spark, found.name.quoted, str(self), keys)

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
            refuse_overlap(Place.told(found.location), places)

    # ---- when the scores are there

    def write(self, spark: SparkSession, scores: Place, run: str, keys: Sequence[str]) -> Written:
        """Runs jobs: the scores that lie in files, into the table, at once. `keys`: the columns that say whose row it
        is.

        Raises
        ------
        StorageError
            If the table does not take them. It is as before then.
        """
        from pyspark.sql import functions as F

        now = datetime.datetime.now(datetime.timezone.utc)
        frame = spark.read.parquet(literal(scores))
        frame = frame.withColumn(UPDATED, F.lit(now)).withColumn(RUN, F.lit(run))
        try:
            if self.mode != "create":
                frame = _widened(frame, spark.table(self.name.quoted))
            if self.mode in BY_KEY:
                refuse_repeated(spark, self.name.quoted, str(self), keys)  # since the check hours may have passed
                found = described(spark, self.name)
                provider = None if found is None else found.provider
                return merge(spark, self.name.quoted, provider, frame, keys, self.mode == "mirror")
            rows = frame.count()
            self._commit(frame)
        except StorageError:
            raise
        except Exception as error:  # of Java, of py4j, of PySpark, of Delta
            raise StorageError(f"{self}: does not take the scores; it is as it was: {first_line(error)}") from error
        return Written(rows, rows)

    def _commit(self, frame: DataFrame) -> None:
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


def expected_columns(
    keys: Iterable[str], outputs: Mapping[str, Value], classify: bool, labels: Iterable[str] = ()
) -> dict[str, str | None]:
    """Column of scores, before they are there → its type in Spark's words, if that is known. `keys`: what says whose
    row it is, as far as that is known."""
    from pipeline.result.output import PREDICTED, PROBABILITY

    return {
        **dict.fromkeys(keys),
        **{name: "float" if value.shape == () else "array<float>" for name, value in outputs.items()},
        **({PREDICTED: "int", PROBABILITY: "float"} if classify else {}),
        **dict.fromkeys(labels, "string"),
    }


TAKES = {
    "float": ("float", "double"),
    "array<float>": ("array<float>", "array<double>"),
    "int": ("int", "bigint"),
    "string": ("string",),
    "timestamp": ("timestamp", "timestamp_ntz"),
}
"""What a column of scores is → what a column of a table has to be, so that no number is changed."""


def _check_columns(called: str, table: DataFrame, columns: Mapping[str, str | None]) -> None:
    """StorageError if one of these is missing, or cannot hold what is written into it."""
    there = {field.name.lower(): field.dataType.simpleString() for field in table.schema}
    missing = [name for name in columns if name.lower() not in there]
    if missing:
        raise StorageError(
            f"{called}: has no column {', '.join(missing)}, which the scores have; add them, or create another table"
        )
    for name, type in columns.items():
        known, found = TAKES.get(type or ""), there[name.lower()]
        if known is not None and found.partition("(")[0] not in known:
            raise StorageError(
                f"{called}: the column {name} is {found}, and the scores have {type}; "
                f"{' or '.join(known)} is needed, so create another table"
            )


def _widened(frame: DataFrame, table: DataFrame) -> DataFrame:
    """With doubles where the table has doubles: Delta does not append arrays of float to arrays of double."""
    from pyspark.sql import functions as F

    types = {field.name.lower(): field.dataType.simpleString() for field in table.schema}
    columns = []
    for name in frame.columns:
        type, column = types.get(name.lower()), F.col(quoted(name))
        columns.append(column.cast(type).alias(name) if type in ("double", "array<double>") else column)
    return frame.select(*columns)


def _folded(name: TableName) -> tuple[str, ...]:
    """Names that differ in case only are the same table, or may be."""
    return tuple(part.casefold() for part in name.parts)


def _kind(found: Described) -> str:
    return f"a table of {found.provider}" if found.provider else "a view"


def _is_ours(spark: SparkSession, found: Described) -> bool:
    rows: list[Any] = spark.sql(f"SHOW TBLPROPERTIES {found.name.quoted}").collect()
    return {row.key: row.value for row in rows}.get(OURS) == SCORES
