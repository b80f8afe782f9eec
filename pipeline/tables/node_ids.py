"""The ids of a model's learned rows, as somebody gives them: in the order of these rows.

Comes in: a list, an array, a series, a table with a column of ids, or its path. Goes out: an Arrow array of int64 or
strings. Knows no model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.errors import DataError, SettingError, first_line, shortened
from pipeline.schema import ID, NODE
from pipeline.tables.csv import CsvTable
from pipeline.tables.opening import NeedsSpark, Reading, is_frame, open_given
from pipeline.tables.table import Table, read_pieces
from pipeline.tables.types import node_type_of
from pipeline.tables.words import plain

EXPECTED = "a list of ids, an array, a table with a column id, or its path, is expected"


def ids_by_type(given: Any) -> dict[str, pa.Array]:
    """Node type → ids, in their order; of no type that of a graph without types. Empty: there are none. Errors as of
    `node_ids_of`."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return {NODE: node_ids_of(given)}
    found = {}
    for type, each in given.items():
        try:
            found[node_type_of(type)] = node_ids_of(each)
        except DataError as error:
            raise DataError(f"type {type}: {error}") from None
    return found


def paths_by_type(given: Sequence[str]) -> str | dict[str, str] | None:
    """What the command line was given: a path, or TYPE=PATH for each type. SettingError for something else."""
    found: dict[str, str] = {}
    for text in given:
        type, sign, path = text.partition("=")
        if not sign or os.path.exists(text):
            if len(given) > 1:
                raise SettingError(f"--node-ids {text}: of several types TYPE=TABLE is expected")
            return text
        if type in found or not path:
            raise SettingError(f"--node-ids {text}: TYPE=TABLE is expected, once for each type")
        found[type] = path
    return found or None


def node_ids_of(given: Any) -> pa.Array:
    """(n,) int64 or string, in the order that they were given in.

    Raises
    ------
    DataError
        If these are no ids, or of a table that has no column `id` and more than one column.
    """
    found = _column(given) if _is_table(given) else _list(given)
    if pa.types.is_integer(found.type):
        try:
            return found.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataError(f"node_ids: ids are integers of 64 bits at most: {first_line(error)}") from None
    if not pa.types.is_string(found.type):
        raise DataError(
            f"node_ids: the ids are {found.type}, for example {_first(found)}; integers or text are expected"
        )
    return found


def _first(ids: pa.Array) -> str:
    return shortened(ids[0].as_py()) if len(ids) else "none"


def _is_table(given: Any) -> bool:
    return isinstance(given, str | os.PathLike | Table | pa.Table | pa.RecordBatch) or (
        hasattr(given, "columns") and not is_frame(given)
    )


def _column(given: Any) -> pa.Array:
    try:
        table = open_given("node_ids", given, Reading(), [ID]).table
    except NeedsSpark:
        raise DataError(f"node_ids: only Spark reads {shortened(given)}; {EXPECTED}") from None
    names = [*table.columns]
    if ID not in names and len(names) != 1:
        raise DataError(f"node_ids: there is no column 'id'; it has {shortened(', '.join(names), 200)}")
    name = ID if ID in names else names[0]
    if isinstance(table, CsvTable):
        table = table.surveyed([name], ())
        table = table.with_ids([name], "bigint" if table.no_integer([name]) is None else "string")
    pieces = table.pieces([name]) if isinstance(table, Table) else None
    if pieces is None:
        raise DataError(f"node_ids: only Spark reads {shortened(given)}; {EXPECTED}")
    batches = [batch.column(0) for batch in read_pieces(pieces, [name])]
    return _joined(pa.chunked_array(batches, None if batches else pa.int64()))


def _list(given: Any) -> pa.Array:
    try:
        if given is None or isinstance(given, bytes | int | float | dict) or is_frame(given):
            raise TypeError
        items = given if hasattr(given, "__array__") or hasattr(given, "type") else list(given)
        found = items if isinstance(items, pa.Array | pa.ChunkedArray) else pa.array(items)
    except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        said = f": {first_line(error)}" if str(error) else ""
        raise DataError(f"node_ids is {shortened(given)}; {EXPECTED}{said}") from None
    return _joined(found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found]))


def _joined(ids: pa.ChunkedArray) -> pa.Array:
    """Of a type that all of Arrow's functions know, in one piece."""
    chunks = [plain(chunk) for chunk in ids.chunks] or [plain(pa.array([], ids.type))]
    return pa.concat_arrays(chunks)
