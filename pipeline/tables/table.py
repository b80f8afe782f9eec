"""A table of the user's that is read without the JVM: files that Python sees, or a table in memory.

Comes in: names of columns. Goes out: their types in Spark's words, and pieces, each of which one task reads. Knows
nothing of how a table is kept (parquet.py, csv.py, memory.py), nor of what its columns mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from pipeline.tables.words import plain

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Piece(Protocol):
    """A part of a table that one task reads; it can be sent to another process."""

    @property
    def rows(self) -> int:
        """How many, where that is known before they are read."""

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Batches that hold these columns, each once, under their names. StorageError if they cannot be read."""

    def is_visible(self) -> bool:
        """Whether this process can open it."""


class Table(ABC):
    """Names and types are known; rows are read piece by piece. It stands where a DataFrame can."""

    @property
    @abstractmethod
    def dtypes(self) -> list[tuple[str, str]]:
        """Column, and Spark's word for its type."""

    @property
    def columns(self) -> list[str]:
        return [name for name, _ in self.dtypes]

    @property
    def source(self) -> Mapping[str, Any] | None:
        """Where it can be read again: path, format and the like, for a manifest. None if it is in memory only."""
        return None

    @abstractmethod
    def pieces(self, columns: Sequence[str]) -> list[Piece] | None:
        """All rows, in parts that workers can read; None if Spark alone can."""

    @abstractmethod
    def frame(self, spark: SparkSession, columns: Sequence[str]) -> DataFrame:
        """The same rows through Spark, for workers that do not see the pieces."""

    def check(self, name: str, columns: Iterable[str]) -> None:
        """GraphsweepError if the parts do not all have these columns, in types that go together. Columns that the
        table does not have at all are the caller's. `name`: nodes or edges, for messages."""
        return

    def count(self) -> int:
        """Rows."""
        return sum(piece.rows for piece in self.pieces([]) or [])

    def no_number(self, column: str) -> str | None:
        """The first text in a column that is not a number."""
        for batch in read_pieces(self.pieces([column]) or [], [column]):
            for text in batch.column(0).to_pylist():
                if text is not None and not _is_number(text):
                    return str(text)
        return None


def read_pieces(pieces: Iterable[Piece], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches with these columns in this order, as plain types; a column may be asked for twice."""
    wanted = list(dict.fromkeys(columns))
    for piece in pieces:
        for batch in piece.read(wanted):
            by_name = {name: plain(batch.column(at)) for at, name in enumerate(batch.schema.names)}
            names = list(map(str, range(len(columns))))
            yield pa.RecordBatch.from_arrays([by_name[name] for name in columns], names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
