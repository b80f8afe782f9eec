"""Parquet tables: their footers, read once, and row groups in pieces.

Comes in: the files of a table. Goes out: a `ParquetTable`. Columns go by name in each file; a worker gets 16.8M edges
from Parquet in 0.4 s of one core, where rows that come through the JVM cost 6 s.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from pipeline.errors import DataError, StorageError
from pipeline.places.place import Place
from pipeline.tables.belonging import TableFile
from pipeline.tables.formats import refuse_content
from pipeline.tables.listing import Listing, absolute, data_filesystem, is_visible
from pipeline.tables.partitions import constants, repeated
from pipeline.tables.spark_files import parquet_frame
from pipeline.tables.table import Piece, Table
from pipeline.tables.words import word

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# of a Parquet file, compressed: small enough to share out evenly, large enough to fill the packed rows of a flush
PIECE_BYTES = 64 << 20
# footers that the driver reads: 16 at a time, from a store that takes 50 ms for each, they take half a minute
MOST_FILES = 10_000
INTEGERS = ("tinyint", "smallint", "int", "bigint")
FLOATS = ("float", "double")
MOST_DIGITS = 38  # of Spark's decimals


class ParquetPiece(NamedTuple):
    """Some row groups of a Parquet file."""

    place: str
    """The table's: its scheme and host tell the file system."""
    file: str
    start: int
    end: int
    rows: int
    constants: tuple[tuple[str, object], ...] = ()
    """Values of columns in the names of folders."""

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        filesystem = data_filesystem(Place.of(self.place))
        fixed = dict(self.constants)
        stored = sorted(set(columns) - set(fixed))
        if not stored:
            if columns:
                arrays = [repeated(fixed[name], self.rows) for name in columns]
                yield pa.RecordBatch.from_arrays(arrays, list(columns))
            return
        rows = 0
        try:
            with filesystem.open_input_file(self.file) as stream:
                file = pq.ParquetFile(stream, read_dictionary=[])
                groups = list(range(self.start, self.end))
                for batch in file.iter_batches(1 << 17, groups, stored, use_threads=False):
                    rows += batch.num_rows
                    arrays = [
                        repeated(fixed[name], batch.num_rows) if name in fixed else batch.column(name)
                        for name in columns
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, list(columns))
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, StorageError):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise StorageError(f"{self.place}: {self.file} is damaged or cannot be read: {reason}") from error
        if rows != self.rows:
            reason = f"gives {rows:,} of {self.rows:,} rows: it was changed meanwhile, or is damaged"
            raise StorageError(f"{self.place}: {self.file} {reason}")

    def is_visible(self) -> bool:
        return is_visible(self.place, self.file)


class Footer(NamedTuple):
    """What is kept of a file's footer."""

    part: TableFile
    types: tuple[tuple[str, str], ...]
    """Column, and Spark's word for its type."""
    groups: tuple[tuple[int, int], ...]
    """Rows and bytes of each row group."""


@dataclass(frozen=True, eq=False)
class ParquetTable(Table):
    """The files of a Parquet table whose footers were read."""

    listing: Listing
    footers: tuple[Footer, ...]

    @staticmethod
    def of(listing: Listing) -> ParquetTable:
        """StorageError for a file that is no Parquet, or damaged."""
        filesystem = data_filesystem(listing.place)
        table = str(listing.place)
        with ThreadPoolExecutor(16) as pool:
            footers = pool.map(lambda part: _footer(table, part, filesystem), listing.parts)
            # files of one table have a few schemas: each is kept once
            kept: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}
            return ParquetTable(
                listing, tuple(each._replace(types=kept.setdefault(each.types, each.types)) for each in footers)
            )

    @property
    def path(self) -> str:
        return str(self.listing.place)

    @property
    def source(self) -> Mapping[str, Any]:
        return {"path": absolute(self.listing.place), "format": "parquet"}

    @cached_property
    def _schemas(self) -> dict[tuple[tuple[str, str], ...], Footer]:
        """The schemas among the files, each with the first file that has it."""
        found: dict[tuple[tuple[str, str], ...], Footer] = {}
        for footer in self.footers:
            found.setdefault(footer.types, footer)
        return found

    @cached_property
    def dtypes(self) -> list[tuple[str, str]]:
        """Of all files together, in the order of the first; a name that a file has twice stands there twice."""
        first, *others = self._schemas
        types = list(first)
        for schema in others:
            known = {name for name, _ in types}
            types += [(name, type) for name, type in schema if name not in known]
        words = {name: self._word(name) for name, _ in types}
        overlaid = self.listing.partitions
        types = [(name, overlaid.get(name, words[name])) for name, _ in types]
        return types + [(name, type) for name, type in overlaid.items() if name not in words]

    def _word(self, column: str) -> str:
        words = list(dict.fromkeys(type for schema in self._schemas for name, type in schema if name == column))
        return _wider(words) or words[0]

    def check(self, name: str, columns: Iterable[str]) -> None:
        known = set(self.columns)
        for column in dict.fromkeys(columns):
            self._check_case(name, column)
            if column not in known or column in self.listing.partitions:
                continue
            seen: dict[str, Footer] = {}
            for schema, footer in self._schemas.items():
                types = [type for other, type in schema if other == column]
                if not types:
                    have = next(f for s, f in self._schemas.items() if any(other == column for other, _ in s))
                    raise DataError(
                        f"{name}: {footer.part.file} has no column {column!r}, which {_base(have)} has; all files of a "
                        "table need the columns that are read"
                    )
                seen.setdefault(types[0], footer)
            if _wider(list(seen)) is None:
                (one, first), (other, second) = list(seen.items())[:2]
                raise DataError(
                    f"{name}.{column} is {one} in {first.part.file} but {other} in {_base(second)}; write all files of "
                    "a table with one type"
                )

    def _check_case(self, name: str, column: str) -> None:
        """Spark would read the folders' column for both."""
        folders = self.listing.partitions
        for other in self.columns:
            if other != column and other.lower() == column.lower() and (other in folders) != (column in folders):
                inside, outside = (other, column) if column in folders else (column, other)
                raise DataError(
                    f"{name}: {outside!r} is in the names of folders and {inside!r} in the files of {self.path}; to "
                    "Spark these are one name: rename one of them"
                )

    def count(self) -> int:
        return sum(rows for footer in self.footers for rows, _ in footer.groups)

    def pieces(self, columns: Sequence[str]) -> list[Piece]:
        return [piece for footer in self.footers for piece in self._cut(footer)]

    def _cut(self, footer: Footer) -> Iterator[Piece]:
        fixed = constants(footer.part.folders, self.listing.partitions)
        start = rows = size = 0
        for group, (more, bytes) in enumerate(footer.groups):
            rows += more
            size += bytes
            if size >= PIECE_BYTES or group == len(footer.groups) - 1:
                yield ParquetPiece(self.path, footer.part.file, start, group + 1, rows, fixed)
                start, rows, size = group + 1, 0, 0

    def frame(self, spark: SparkSession, columns: Sequence[str]) -> DataFrame:
        types = dict(self.dtypes)
        for name in columns:
            digits = re.search(r"decimal\((\d+)", types[name])
            if digits and int(digits[1]) > MOST_DIGITS:
                raise DataError(
                    f"{self.path}: {name} is {types[name]}, and Spark has to read it, whose decimals have "
                    f"{MOST_DIGITS} digits at most; write it as double"
                )
        return parquet_frame(spark, self.listing, {name: types[name] for name in columns})


def _footer(table: str, part: TableFile, filesystem: fs.FileSystem) -> Footer:
    try:
        footer = pq.read_metadata(part.file, filesystem=filesystem)
        schema = footer.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise refuse_content(table, part, filesystem, error) from error
    groups = (footer.row_group(at) for at in range(footer.num_row_groups))
    types = tuple((field.name, word(field.type)) for field in schema)
    return Footer(part, types, tuple((group.num_rows, group.total_byte_size) for group in groups))


def _wider(words: Sequence[str]) -> str | None:
    """One type for values that files hold in several; None if they do not go together."""
    if len(words) == 1:
        return words[0]
    inner = [each.removeprefix("array<").removesuffix(">") for each in words]
    arrays = {each.startswith("array<") for each in words}
    if len(arrays) > 1 or not all(each in (*INTEGERS, *FLOATS) for each in inner):
        return None
    if all(each in INTEGERS for each in inner):
        widest = max(inner, key=INTEGERS.index)
    else:
        widest = "float" if set(inner) == {"float"} else "double"
    return f"array<{widest}>" if True in arrays else widest


def _base(footer: Footer) -> str:
    return posixpath.basename(footer.part.file)
