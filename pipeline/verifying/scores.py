"""Scores in the form in which they are verified: a column `id`, and a column of arrays for each output, whatever the
ids are called in them, and also where a table without arrays (CSV) has a column for each number.

Comes in: a table of scores, the names that its columns should have. Goes out: a table with the same rows. Knows nothing
of what they are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.errors import DataError
from pipeline.result.flat import lanes_of
from pipeline.result.output import PREDICTED, PROBABILITY
from pipeline.schema import ID, quoted
from pipeline.tables.csv import CsvTable
from pipeline.tables.table import Piece, Table, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

NUMBERS = {PREDICTED: "int", PROBABILITY: "float"}
"""Columns of classes → their types, which CSV does not tell."""


def standard_scores(
    scores: DataFrame | Table, ids: Mapping[str, str], widths: Mapping[str, int], texts: Sequence[bool]
) -> DataFrame | Table:
    """The same scores, of which the ids are called `id`; of a row per edge `src` and `dst`.

    Parameters
    ----------
    ids
        What each of these is called in them.
    widths
        Output, or column of the edges, → numbers in a row. One that has no column, but a column for each number,
        becomes one of arrays.
    texts
        Of each of `ids`, whether the graph's ids are text.

    Raises
    ------
    DataError
        If there is no such column of ids, or a column of numbers holds text.
    """
    for key, name in ids.items():
        if name not in scores.columns:
            what, hint = (" of ids", "; output_id=NAME says what it is called") if key == ID else ("", "")
            raise DataError(f"the scores have no column {name!r}{what}; they have {', '.join(scores.columns)}{hint}")
    made = _made(scores.columns, ids, widths)
    arrays = frozenset(name for name, parts in made.items() if name in widths and (name,) != parts)
    flat = isinstance(scores, CsvTable) or bool(arrays)
    if isinstance(scores, Table):
        table = _with_types(scores, ids, made, widths, texts) if isinstance(scores, CsvTable) else scores
        return StandardScores(table, made, arrays)
    types = {key: "string" if text else "bigint" for key, text in zip(ids, texts, strict=True)}
    return _selected(scores, made, arrays, types if flat else None)


def _made(columns: Sequence[str], ids: Mapping[str, str], widths: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Column of the standard form → the columns that it is made of."""
    made: dict[str, tuple[str, ...]] = {key: (name,) for key, name in ids.items()}
    known, lanes = set(columns), set()
    for name, width in widths.items():
        parts = lanes_of(name, width)
        if name not in known and known.issuperset(parts):
            made[name] = tuple(parts)
            lanes |= set(parts)
    return made | {name: (name,) for name in columns if name not in lanes.union(ids, ids.values())}


def _with_types(
    table: CsvTable,
    ids: Mapping[str, str],
    made: Mapping[str, tuple[str, ...]],
    widths: Mapping[str, int],
    texts: Sequence[bool],
) -> CsvTable:
    """With the types that a result has; all is text in CSV. Reads all of it."""
    numbers = [part for name, parts in made.items() if name in widths or name in NUMBERS for part in parts]
    names = [*ids.values()]
    table = table.surveyed(names, numbers)
    for column in numbers:
        found = table.no_number(column)
        if found is not None:
            raise DataError(f"the scores' {column} holds {found!r}, which is no number")
    for name, text in zip(names, texts, strict=True):
        table = table.with_ids([name], "string" if text else "bigint")
        no_id = None if text else table.no_integer([name])
        if no_id is not None:
            raise DataError(f"the scores' {name} holds {no_id!r}, and the graph's ids are integers")
    return table


def _selected(
    scores: DataFrame,
    made: Mapping[str, tuple[str, ...]],
    arrays: frozenset[str],
    id_types: Mapping[str, str] | None,
) -> DataFrame:
    """`id_types`: of a table whose columns may all be text; None if they have their types."""
    from pyspark.sql import functions as F

    types = {} if id_types is None else {**id_types, **NUMBERS}
    columns = []
    for name, parts in made.items():
        found: Any = F.col(quoted(parts[0]))
        if name in arrays:
            found = F.array(*(F.col(quoted(part)).cast("float") for part in parts))
        elif name in types:
            found = found.cast(types[name])
        columns.append(found.alias(name))
    return scores.select(*columns)


@dataclass(frozen=True, eq=False)
class StandardScores(Table):
    """Scores that are read without the JVM, in the standard form."""

    table: Table
    made: Mapping[str, tuple[str, ...]]
    arrays: frozenset[str]

    @property
    def dtypes(self) -> list[tuple[str, str]]:
        words = dict(self.table.dtypes)
        return [(name, "array<float>" if name in self.arrays else words[self.made[name][0]]) for name in self.made]

    def pieces(self, columns: Sequence[str]) -> list[Piece] | None:
        found = self.table.pieces(self._parts(columns))
        return None if found is None else [StandardPiece(piece, self.made, self.arrays) for piece in found]

    def frame(self, spark: SparkSession, columns: Sequence[str]) -> DataFrame:
        found = self.table.frame(spark, self._parts(columns))
        return _selected(found, {name: self.made[name] for name in columns}, self.arrays, None)

    def count(self) -> int:
        return self.table.count()

    def _parts(self, columns: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(part for name in columns for part in self.made[name]))


class StandardPiece(NamedTuple):
    """A part of them."""

    piece: Piece
    made: Mapping[str, tuple[str, ...]]
    arrays: frozenset[str]

    @property
    def rows(self) -> int:
        return self.piece.rows

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        parts = list(dict.fromkeys(part for name in columns for part in self.made[name]))
        for batch in read_pieces([self.piece], parts):
            found = dict(zip(parts, batch.columns, strict=True))
            arrays = [
                _joined([found[part] for part in self.made[name]]) if name in self.arrays else found[self.made[name][0]]
                for name in columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, list(columns))

    def is_visible(self) -> bool:
        return self.piece.is_visible()


def _joined(lanes: Sequence[pa.Array]) -> pa.Array:
    """Columns of numbers as one of arrays; a number that is not there is NaN."""
    values = np.stack([lane.cast(pa.float32()).to_numpy(zero_copy_only=False) for lane in lanes], axis=1)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * len(lanes)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values, np.float32).reshape(-1)))
