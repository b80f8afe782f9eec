"""Tables by name: catalog.schema.table, views, and delta.`/path`, wherever the path of a table is taken.

Comes in: a text, and a session. Goes out: what it names; the DataFrame of a table of Spark's catalog, at the version
that it has now; what the catalog says of it. Only Spark reads these. Knows nothing of what their columns mean.

A text is the name of a table if it could be no path: it holds a dot, no slash outside of backticks, no ending of a data
file (accounts.parquet), and nothing of that name is there. `table:NAME` is always a name, `./NAME` always a path.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError, StorageError, first_line
from pipeline.spark.session import setting
from pipeline.tables.iceberg import snapshot_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

PREFIX = "table:"
_PART = r"(?:[^\W\d]\w*|`(?:[^`]|``)+`)"
_NAME = re.compile(rf"({_PART}(?:\.{_PART})*)(?:@v(\d+))?")
# accounts.parquet that is not there is a misspelt path, and Spark need not be started to say so
DATA = (
    "parquet",
    "pq",
    "csv",
    "tsv",
    "txt",
    "orc",
    "avro",
    "json",
    "jsonl",
    "ndjson",
    "xlsx",
    "xls",
    "arrow",
    "feather",
)
ENDINGS = frozenset((*DATA, "gz", "bz2", "zst", "zip", "toml", "npz", "npy", "pt"))
FILES = ("parquet", "csv", "delta")  # of which Spark knows the tables at a path as FORMAT.`path`


@dataclass(frozen=True)
class TableName:
    """What a text names."""

    parts: tuple[str, ...]
    """Catalog, schema, table, as far as they were given, without backticks."""
    version: int | None = None
    """Of a Delta table: NAME@v12; of an Iceberg table, a snapshot."""

    @staticmethod
    def of(given: str | os.PathLike[str], folder: str = "") -> TableName | None:
        """None if it is a path. `folder`: where relative paths start from; else the current directory.

        Raises
        ------
        SettingError
            If it starts with `table:` and no name follows.
        """
        if not isinstance(given, str):
            return None
        explicit = given.startswith(PREFIX)
        found = _NAME.fullmatch(given.removeprefix(PREFIX))
        if found is None:
            if explicit:
                raise SettingError(
                    f"{given}: not the name of a table; catalog.schema.table is expected, with parts that hold other "
                    "signs than letters, digits and _ in backticks: table:main.`my-graph`.accounts"
                )
            return None
        spelt = re.findall(_PART, found[1])
        name = TableName(tuple(map(_plain, spelt)), None if found[2] is None else int(found[2]))
        if explicit:
            return name
        last = spelt[-1].lower()
        if len(spelt) < 2 or last in ENDINGS or os.path.lexists(os.path.join(folder, given)):
            return None
        return name

    @property
    def path(self) -> tuple[str, str] | None:
        """The path and the format of a table that is named by these: delta.`/path`."""
        format, path = (self.parts[0].lower(), self.parts[1]) if len(self.parts) == 2 else ("", "")
        return (path, format) if format in FILES and "/" in path else None

    @property
    def quoted(self) -> str:
        """For Spark, whatever is in the names."""
        return ".".join(map(_quoted, self.parts))

    def __str__(self) -> str:
        """As `of` takes it: the shortest spelling that is always a name."""
        spelt = ".".join(part if re.fullmatch(r"[^\W\d]\w*", part) else _quoted(part) for part in self.parts)
        return f"{PREFIX}{spelt}" + ("" if self.version is None else f"@v{self.version}")


def _quoted(part: str) -> str:
    return f"`{part.replace('`', '``')}`"


def _plain(part: str) -> str:
    return part[1:-1].replace("``", "`") if part.startswith("`") else part


def is_name(given: Any) -> bool:
    """Whether a text names a table of Spark's catalog: then it is no path."""
    name = TableName.of(given) if isinstance(given, str) else None
    return name is not None and name.path is None


@dataclass(frozen=True)
class Described:
    """What Spark's catalog says of a table or a view."""

    name: TableName
    """Whole: with catalog and schema, so that it is the same table in any session."""
    provider: str | None = None
    """delta, parquet, …; None of a view."""
    location: str | None = None
    kind: str = ""
    """MANAGED, EXTERNAL, VIEW, TEMPORARY, …"""

    @property
    def is_temporary(self) -> bool:
        """Whether it is gone with the session."""
        return self.kind == "TEMPORARY"


def described(spark: SparkSession, name: TableName) -> Described | None:
    """What the catalog says of a table; None if there is none. No job.

    Raises
    ------
    StorageError
        If Spark cannot ask the catalog.
    """
    try:
        if not spark.catalog.tableExists(name.quoted):
            return None
        table = spark.catalog.getTable(name.quoted)
    except Exception as error:  # of Java, of py4j, of PySpark
        raise StorageError(f"{name}: Spark's catalog does not say what this is: {first_line(error)}") from error
    whole = [part for part in (table.catalog, *(table.namespace or ()), table.name) if part is not None]
    kind = "TEMPORARY" if table.isTemporary else str(table.tableType)
    if table.isTemporary or kind == "VIEW":
        return Described(TableName(tuple(whole)), kind=kind)
    known = _properties(spark, name)
    provider = known.get("Provider")
    return Described(TableName(tuple(whole)), provider and provider.lower(), known.get("Location"), kind)


def _properties(spark: SparkSession, name: TableName) -> dict[str, str]:
    """Lines of DESCRIBE below the columns; a column may be called Location too, so the last counts."""
    try:
        rows = spark.sql(f"DESCRIBE TABLE EXTENDED {name.quoted}").collect()
    except Exception as error:  # of catalogs that cannot
        log.debug("%s: not described: %s", name, first_line(error))
        return {}
    return {row.col_name: row.data_type for row in rows}


def open_named(spark: SparkSession, name: TableName) -> tuple[DataFrame, Mapping[str, Any] | None]:
    """The rows of a table by its name, and what it is known by: its whole name, of Delta the version and the table's
    own id, of Iceberg the snapshot. None of a temporary view, which nobody else can read again.

    Of these the version that is the newest now is read, however often and however long.

    Raises
    ------
    StorageError
        If there is no such table, or it cannot be read.
    """
    found = described(spark, name)
    if found is None:
        short = str(name).removeprefix(PREFIX)
        raise StorageError(
            f"{short}: there is no file of that name, and no table or view in Spark's catalog ({_catalog(spark)}). A "
            "view of createOrReplaceTempView is known only to the session that made it"
        )
    known: dict[str, Any] = {}
    if (finds := VERSIONED.get(found.provider or "")) is not None:
        known = finds(spark, found.name.quoted, str(name), name.version)
    elif name.version is not None:
        raise StorageError(f"{name}: has no versions, it is {_what(found)}; leave @v{name.version} out")
    version = known.get("version")
    try:
        reader = spark.read if version is None else spark.read.option("versionAsOf", version)
        frame = reader.table(name.quoted)
        _ = frame.columns
    except Exception as error:  # of Java, of py4j, of PySpark
        raise StorageError(f"{name}: cannot be read: {first_line(error)}") from error
    if found.is_temporary:
        return frame, None
    source = {"table": str(found.name), "format": found.provider or "view", "location": found.location}
    return frame, {**source, **known}


def relations_of(spark: SparkSession, name: TableName) -> list[TableName]:
    """All tables and views that a name leads to, through views: as Spark's plan of it names them. No job."""
    found = described(spark, name)
    try:
        row = spark.sql(f"EXPLAIN EXTENDED SELECT * FROM {name.quoted}").first()
    except Exception as error:  # of Java, of py4j, of PySpark
        raise StorageError(f"{name}: cannot be read: {first_line(error)}") from error
    plan = "" if row is None else str(row.plan)
    texts = re.findall(r"SubqueryAlias (\S.*)", plan)
    names = [each for text in texts if (each := TableName.of(f"{PREFIX}{text}" if _NAME.fullmatch(text) else text))]
    return [*([found.name] if found else []), *names]


def _what(found: Described) -> str:
    return f"a table of {found.provider}" if found.provider else "a view"


def _catalog(spark: SparkSession) -> str:
    """Where it was looked for."""
    try:
        catalog, schema = spark.catalog.currentCatalog(), spark.catalog.currentDatabase()
        kept = setting(spark, "spark.sql.catalogImplementation") or "in-memory"
    except Exception as error:  # it is for a message only
        return f"of which nothing is known: {first_line(error)}"
    if catalog == "spark_catalog" and kept == "in-memory":
        return (
            "which is empty at each start, because spark.sql.catalogImplementation is in-memory; hive takes that of a "
            "metastore"
        )
    return f"the current schema is {catalog}.{schema}"


def delta_version(spark: SparkSession, quoted: str, given: str, asked: int | None) -> dict[str, Any]:
    """The version of a Delta table that is read, and the id that the table has until it is dropped; nothing if they are
    not known. Runs a small job. `quoted`: the table for Spark. `asked`: the version that is wanted, else the newest.

    Raises
    ------
    StorageError
        If there is no such version.
    """
    try:
        detail = spark.sql(f"DESCRIBE DETAIL {quoted}").select("id").first()
        newest = spark.sql(f"DESCRIBE HISTORY {quoted} LIMIT 1").select("version").first()
    except Exception as error:  # of a session without Delta's extension
        log.debug("%s: its version is not known: %s", given, first_line(error))
        return {} if asked is None else {"version": asked}
    if newest is None or detail is None:
        return {}
    if asked is not None and asked > newest.version:
        raise StorageError(f"{given}: there is no version {asked}; the newest is {newest.version}")
    return {"version": int(newest.version) if asked is None else asked, "id": str(detail.id)}


VERSIONED: Mapping[str, Callable[[SparkSession, str, str, int | None], dict[str, Any]]] = {
    "delta": delta_version,
    "iceberg": snapshot_of,
}
"""Formats whose tables keep what they were → what finds the version that is read."""
