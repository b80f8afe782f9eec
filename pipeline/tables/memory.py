"""Tables in memory: Arrow, pandas, polars, and whatever else gives Arrow.

Comes in: an object of the user's. Goes out: an `ArrowTable`, or None if it is nothing of the kind. Imports neither
pandas nor polars: who has made a data frame has imported what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pipeline.errors import DataError
from pipeline.spark.session import frame_of_arrow
from pipeline.tables.table import Piece, Table
from pipeline.tables.words import plain, word

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PIECE_ROWS = 1 << 20
BATCH_ROWS = 1 << 17


class ArrowPiece(NamedTuple):
    """Some rows, held by this process."""

    part: pa.Table

    @property
    def rows(self) -> int:
        return int(self.part.num_rows)

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self.part.select(list(columns)).to_batches(max_chunksize=BATCH_ROWS)

    def is_visible(self) -> bool:
        """Not to a worker: it would take all rows with it."""
        return False


@dataclass(frozen=True, eq=False)
class ArrowTable(Table):
    """A table in memory, of which names and types are known."""

    table: pa.Table
    given: Any = None
    """What it was made of, where that has more columns than were wanted."""

    def having(self, name: str, column: str) -> ArrowTable:
        """The same with one more column, if what was given has it. `name`: as of `table_in_memory`."""
        if self.given is None:
            return self
        found = table_in_memory(name, self.given, [column])
        assert found is not None, "it was a table before"
        if column not in found.columns:
            return self
        more = found.table[column]
        at = self.table.column_names.index(column) if column in self.table.column_names else None
        if at is None:
            return replace(self, table=self.table.append_column(column, more))
        return replace(self, table=self.table.set_column(at, column, more))

    @cached_property
    def dtypes(self) -> list[tuple[str, str]]:
        return [(field.name, word(field.type)) for field in self.table.schema]

    def count(self) -> int:
        return int(self.table.num_rows)

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        return [ArrowPiece(self.table.slice(start, PIECE_ROWS)) for start in range(0, self.table.num_rows, PIECE_ROWS)]

    def frame(self, spark: SparkSession, columns: Sequence[str]) -> DataFrame:
        wanted = list(dict.fromkeys(columns))
        chunks = {name: [plain(chunk) for chunk in self.table[name].chunks] for name in wanted}
        empty = {name: plain(pa.array([], self.table.schema.field(name).type)) for name in wanted}
        whole = pa.table({name: pa.chunked_array(chunks[name] or [empty[name]]) for name in wanted})
        return frame_of_arrow(spark, whole)


def table_in_memory(name: str, given: Any, wanted: Sequence[str]) -> ArrowTable | None:
    """A table of what is given, with the wanted columns; None if it is no table in memory.

    Parameters
    ----------
    name : str
        nodes or edges, for messages.
    wanted : sequence of str
        What will be read of it: pandas makes Arrow of nothing else, for other columns may hold any objects.
    """
    home = type(given).__module__.partition(".")[0]
    try:
        if isinstance(given, pa.Table):
            return ArrowTable(given)
        if isinstance(given, pa.RecordBatch):
            return ArrowTable(pa.Table.from_batches([given]))
        if home == "pandas" and hasattr(given, "columns"):
            return ArrowTable(_of_pandas(name, given, wanted), given)
        if home == "polars" and hasattr(given, "collect"):  # a LazyFrame
            return table_in_memory(name, given.collect(), wanted)
        if home == "pyarrow" and hasattr(given, "to_table"):  # a dataset: files, of which the wanted columns are read
            return ArrowTable(given.to_table(columns=[each for each in given.schema.names if each in wanted]), given)
        if hasattr(given, "__arrow_c_stream__"):
            return ArrowTable(pa.table(given) if not isinstance(given, pa.RecordBatchReader) else given.read_all())
        if hasattr(given, "to_arrow"):  # polars before it knew the protocol
            found = given.to_arrow()
            return ArrowTable(found) if isinstance(found, pa.Table) else None
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{name}: Arrow cannot be made of this {home} table: {reason}") from error
    return None


def _of_pandas(name: str, frame: Any, wanted: Sequence[str]) -> pa.Table:
    names = [str(each) for each in frame.columns]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has more than one column named {twice!r}; rename or drop one of them")
    chosen = [at for at, each in enumerate(names) if each in wanted]
    rest = [at for at in range(len(names)) if at not in chosen]
    made = pa.Table.from_pandas(frame.iloc[:, chosen], preserve_index=False)
    made = made.rename_columns([names[at] for at in chosen])
    for at in rest:  # for messages that list columns; never read
        made = made.append_column(pa.field(names[at], pa.null()), pa.nulls(made.num_rows))
    return made


def describe(given: Mapping[str, Any] | Any) -> str:
    """What an argument is, for a message."""
    kind = type(given)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
