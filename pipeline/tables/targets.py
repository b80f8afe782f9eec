"""The ids of the nodes that are wanted, where that is not all of them.

Comes in: a table or a list of ids, however it is given; of a typed graph one for each type of nodes. Goes out: the ids,
each once and in order, of the type that the graph has; or an error that says what is wrong with them. Knows nothing of
which of them are among the nodes.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError, SettingError, first_line, shortened
from pipeline.schema import ID, NODE, quoted
from pipeline.tables.csv import CsvTable
from pipeline.tables.layout import INTEGERS
from pipeline.tables.opening import NeedsSpark, Reading, is_frame, open_given
from pipeline.tables.table import Table, read_pieces
from pipeline.tables.words import plain, word

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")


class Targets:
    """What was given; it is read once, when somebody wants to know."""

    def __init__(self, given: Any, ignore_unknown: bool = False) -> None:
        self._given = given
        self.ignore_unknown = ignore_unknown
        self._ids: dict[tuple[str | None, bool], pa.Array] = {}

    @staticmethod
    def of(given: Any, ignore_unknown: bool = False) -> Targets | None:
        """None if there are none. SettingError for what makes no sense."""
        if given is None:
            if ignore_unknown:
                raise SettingError("ignore_unknown=True is about targets, and there are none; leave it out")
            return None
        if not isinstance(ignore_unknown, bool):
            raise SettingError(f"ignore_unknown is {shortened(ignore_unknown)}; accepted: True, False")
        return given if isinstance(given, Targets) else Targets(given, ignore_unknown)

    @staticmethod
    def of_paths(given: Sequence[str]) -> str | dict[str, str] | None:
        """What a command line says, TABLE, or TYPE=TABLE once for each type of nodes; None if it says nothing. A table
        that is there, and has "=" in its path, is a table. SettingError for what is neither."""
        if len(given) == 1 and not _names_type(given[0]):
            return given[0]
        found: dict[str, str] = {}
        for text in given:
            type, _, table = text.partition("=")
            if not table or not _names_type(text):
                raise SettingError(
                    f"--targets {text}: TYPE=TABLE is expected, a type of nodes and the table of their ids"
                )
            if type in found:
                raise SettingError(f"--targets names the type {type!r} twice; give it one table")
            found[type] = table
        return found or None

    @property
    def types(self) -> tuple[str, ...] | None:
        """The types of nodes that they are of, of a typed graph; None where no type is said."""
        named = isinstance(self._given, Mapping) and all(isinstance(name, str) for name in self._given)
        return tuple(self._given) if named else None

    @property
    def paths(self) -> dict[str, str]:
        """What each table is called that is given by its path → the path."""
        return {
            "the targets" if name is None else f"the targets of type {name}": os.fspath(given)
            for name, given in self._tables.items()
            if isinstance(given, (str, os.PathLike))
        }

    @property
    def _tables(self) -> dict[str | None, Any]:
        return {None: self._given} if self.types is None else dict(self._given)

    @property
    def needs_spark(self) -> bool:
        """Whether some are a table that only Spark can read. StorageError if nothing is there."""
        try:
            for path in self.paths.values():
                open_given("targets", path, Reading(), [ID])
        except NeedsSpark:
            return True
        return False

    def ids_as(
        self, id_type: str, id_column: str, spark: SparkSession | None, node_type: str | None = None
    ) -> pa.Array:
        """The ids, each once, ascending: int64, or strings if the graph's are. `node_type`: those of a typed graph's
        nodes of this type, which is one of `types`; None: what was given, whole.

        Parameters
        ----------
        id_type
            Spark's word for the type of the graph's ids.
        id_column
            What the graph's node table calls its ids.

        Raises
        ------
        DataError
            If there are no ids; if some are null; if they are of another type than the graph's.
        """
        text = id_type not in INTEGERS
        if (node_type, text) not in self._ids:
            given = self._given if node_type is None else self._given[node_type]
            try:
                self._ids[node_type, text] = _each_once(_read(given, id_column, text, spark), text)
            except DataError as error:
                if node_type is None:
                    raise
                raise DataError(f"type {node_type}: {error}") from None
        return self._ids[node_type, text]


def _names_type(text: str) -> bool:
    """Whether it is TYPE=TABLE, and no path with a folder such as day=7."""
    type, sign, table = text.partition("=")
    if not sign or os.path.exists(text):
        return False
    return not set(type) & set("/\\:") or os.path.exists(table)


def digest_of_all(ids: Mapping[str, pa.Array]) -> str | dict[str, str]:
    """What ids are known by; of a typed graph node type → what those of its nodes are known by."""
    return digest_of(ids[NODE]) if [*ids] == [NODE] else {type: digest_of(each) for type, each in sorted(ids.items())}


def digest_of(ids: pa.Array) -> str:
    """What ids are known by that are in order, each once."""
    content = hashlib.sha256()
    if pa.types.is_integer(ids.type):
        content.update(ids.to_numpy().tobytes())
    else:
        for text in ids.to_pylist():
            content.update(f"{len(text)}:{text}".encode())
    return content.hexdigest()[:32]


def _each_once(ids: pa.ChunkedArray, text: bool) -> pa.Array:
    if not len(ids):
        raise DataError("targets: there are no rows, so there is nothing to score")
    if ids.null_count:
        raise DataError(f"targets: {ids.null_count:,} of {len(ids):,} ids are null; leave them out")
    if not (pa.types.is_string(ids.type) if text else pa.types.is_integer(ids.type)):
        kind = "text" if text else "integers"
        raise DataError(
            f"targets: the ids are of type {word(ids.type)}, for example {shortened(ids[0].as_py())}, but those of the "
            f"graph are {kind}"
        )
    try:
        ids = ids.cast(pa.string() if text else pa.int64())
    except pa.ArrowInvalid as error:
        raise DataError(f"targets: ids are integers of 64 bits at most: {first_line(error)}") from None
    once = pc.unique(ids)
    if len(once) < len(ids):
        log.info("targets: %s of %s ids are there before: each is scored once", len(ids) - len(once), len(ids))
    return once.take(pc.sort_indices(once))


def _read(given: Any, id_column: str, text: bool, spark: SparkSession | None) -> pa.ChunkedArray:
    """The column of ids, as plain types."""
    if not isinstance(given, (str, os.PathLike)) and not is_frame(given) and not _has_columns(given):
        return _of_list(given)
    table = open_given("targets", given, Reading(spark), [id_column, ID]).table
    name = _column(table.columns, id_column)
    if isinstance(table, CsvTable):
        table = table.surveyed([name], ())
        other = table.no_integer([name])
        if not text and other is not None:
            raise DataError(
                f"targets: {shortened(other)} is not written as an integer is, but the ids of the graph are integers"
            )
        table = table.with_ids([name], "string" if text else "bigint")
    pieces = table.pieces([name]) if isinstance(table, Table) else None
    if pieces is not None:
        batches = [batch.column(0) for batch in read_pieces(pieces, [name])]
        return pa.chunked_array(batches, batches[0].type if batches else pa.string() if text else pa.int64())
    assert spark is not None, "what Spark alone can read is opened with a session"
    frame = table.frame(spark, [name]) if isinstance(table, Table) else table
    return _plain(frame.select(quoted(name)).toArrow().column(0))


def _has_columns(given: Any) -> bool:
    return isinstance(given, (Table, pa.Table, pa.RecordBatch)) or (
        hasattr(given, "columns") and not isinstance(given, Mapping)
    )


def _of_list(given: Any) -> pa.ChunkedArray:
    """Of a list, an array, or a series."""
    try:
        if isinstance(given, (Mapping, bytes, int, float)):
            raise TypeError
        items = given if hasattr(given, "__array__") or hasattr(given, "type") else list(given)
        found = pa.array(items) if not isinstance(items, (pa.Array, pa.ChunkedArray)) else items
    except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        said = f": {first_line(error)}" if str(error) else ""
        raise DataError(
            f"targets is a {type(given).__name__}; a table with a column of ids, its path, or a list of ids, all of "
            f"one type, is expected{said}"
        ) from None
    return _plain(found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found]))


def _plain(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of a type that all of Arrow's functions know, without rows too."""
    return pa.chunked_array([plain(chunk) for chunk in ids.chunks], plain(pa.array([], ids.type)).type)


def _column(columns: Sequence[str], id_column: str) -> str:
    for name in (id_column, ID):
        if name in columns:
            return name
    if len(columns) == 1:
        return columns[0]
    raise DataError(
        f"targets: there is no column {id_column!r}; it has {shortened(', '.join(columns), 200)}. Call the ids "
        f"{id_column}, or give a table of one column"
    )
