"""CSV tables: columns by name in each file, all of them text until every row has been seen.

Comes in: the files of a table. Goes out: a `CsvTable`. Columns of numbers are those whose every field is one. Ids are
text to their owner: they become integers only together, see `settle_ids`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pipeline.errors import DataError, StorageError
from pipeline.places.place import Place
from pipeline.tables.csv_text import Csv, CsvFile, Head
from pipeline.tables.csv_values import Seen, survey, typed_rows
from pipeline.tables.listing import Listing, absolute, data_filesystem, is_visible
from pipeline.tables.partitions import constants, is_changed
from pipeline.tables.spark_files import csv_frame, survey_csv
from pipeline.tables.table import Piece, Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

THREADS = 16


class CsvPiece(NamedTuple):
    """A file: where its lines end is known only to who has read all before, because a field may hold lines."""

    place: str
    file: str
    rows: int
    words: tuple[tuple[str, str], ...]
    options: Csv
    constants: tuple[tuple[str, object], ...] = ()

    def read(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from typed_rows(
            file_of(self.place, self.file, self.options), columns, dict(self.words), dict(self.constants)
        )

    def is_visible(self) -> bool:
        return is_visible(self.place, self.file)


def file_of(place: str, file: str, options: Csv) -> CsvFile:
    filesystem = data_filesystem(Place.of(place))
    return CsvFile(f"{place}: {posixpath.basename(file)}", partial(filesystem.open_input_file, file), options)


@dataclass(frozen=True, eq=False)
class CsvTable(Table):
    """The files of a CSV table whose header lines were read. Types are those of the columns that were surveyed; all
    others are text."""

    listing: Listing
    options: Csv
    heads: tuple[Head, ...]
    by_spark: SparkSession | None = None
    """If only Spark sees the files."""
    rows: tuple[int, ...] = ()
    """Of each file, once they are counted."""
    seen: Mapping[str, Seen] | None = None
    words: Mapping[str, str] | None = None

    @staticmethod
    def of(listing: Listing, options: Csv, heads: Sequence[Head] | None = None, spark: Any = None) -> CsvTable:
        """StorageError for a file without a header line."""
        if heads is None:
            with ThreadPoolExecutor(THREADS) as pool:
                heads = list(
                    pool.map(lambda part: file_of(str(listing.place), part.file, options).head(), listing.parts)
                )
        table = CsvTable(listing, options, tuple(heads), spark)
        table._check_heads()
        return table

    def _check_heads(self) -> None:
        for part, head in zip(self.listing.parts, self.heads, strict=True):
            twice = [name for name in head.columns if head.columns.count(name) > 1]
            if twice:
                raise StorageError(f"{self.path}: {part.file} has more than one column named {twice[0]!r}; rename one")
            if not self.options.header and len(head.columns) != len(self.heads[0].columns):
                raise StorageError(
                    f"{self.path}: {part.file} has {len(head.columns)} columns, {self.listing.parts[0].file} has "
                    f"{len(self.heads[0].columns)}"
                )

    @property
    def path(self) -> str:
        return str(self.listing.place)

    @property
    def source(self) -> Mapping[str, Any]:
        options = self.options.described()
        return {"path": absolute(self.listing.place), "format": "csv", **({"csv": options} if options else {})}

    @property
    def dtypes(self) -> list[tuple[str, str]]:
        words, folders = self.words or {}, self.listing.partitions
        names = dict.fromkeys(name for head in self.heads for name in head.columns)
        found = [(name, folders.get(name) or words.get(name, "string")) for name in names]
        return found + [(name, word) for name, word in folders.items() if name not in names]

    def check(self, name: str, columns: Iterable[str]) -> None:
        known = set(self.columns)
        for column in dict.fromkeys(columns):
            for part, head in zip(self.listing.parts, self.heads, strict=True):
                if column in known and column not in head.columns and column not in self.listing.partitions:
                    file = file_of(self.path, part.file, self.options) if self.by_spark is None else None
                    if file is None:
                        raise StorageError(f"{self.path}: {part.file} has no column {column!r}")
                    raise file.lacks(column, head)

    def surveyed(self, ids: Sequence[str], values: Sequence[str]) -> CsvTable:
        """The same table with the types of these columns; ids are text until they are settled. Reads all of it."""
        known = set(self.columns) - set(self.listing.partitions)
        wanted = [name for name in dict.fromkeys([*ids, *values]) if name in known]
        if not wanted:  # whatever is wrong will be said by who looks for the columns
            return replace(self, seen={}, words={})
        if self.by_spark is not None:
            found = survey_csv(self.by_spark, self.listing, self.options, wanted)
        else:
            files = [file_of(self.path, part.file, self.options) for part in self.listing.parts]
            with ThreadPoolExecutor(THREADS) as pool:
                found = list(pool.map(lambda file: survey(file, wanted), files))
        seen = {name: Seen() for name in wanted}
        for _, each in found:
            seen = {name: seen[name].and_of(each[name]) for name in wanted}
        words = {name: seen[name].word for name in wanted if name not in ids}
        return replace(self, rows=tuple(rows for rows, _ in found), seen=seen, words=words)

    def with_ids(self, ids: Iterable[str], word: str) -> CsvTable:
        """The same, with columns of ids of this type."""
        return replace(self, words={**(self.words or {}), **{name: word for name in ids if name in (self.seen or {})}})

    def count(self) -> int:
        return sum(self.rows) if self.rows else sum(self.surveyed(self.columns[:1], ()).rows)

    def no_number(self, column: str) -> str | None:
        return self.seen[column].no_number if self.seen and column in self.seen else None

    def no_integer(self, columns: Iterable[str]) -> str | None:
        """The first text among ids that is not written as an integer is."""
        found = (self.seen[name].no_integer for name in columns if self.seen and name in self.seen)
        return next((text for text in found if text is not None), None)

    def pieces(self, columns: Sequence[str]) -> list[Piece] | None:
        if self.by_spark is not None:
            return None
        words = tuple((self.words or {}).items())
        rows = self.rows or (0,) * len(self.listing.parts)
        return [
            CsvPiece(self.path, part.file, count, words, self.options, constants(part.folders, self.listing.partitions))
            for part, count in zip(self.listing.parts, rows, strict=True)
        ]

    def frame(self, spark: SparkSession, columns: Sequence[str]) -> DataFrame:
        return csv_frame(spark, self.listing, self.options, {name: dict(self.dtypes)[name] for name in columns})


# ---- ids of two tables


def settle_ids(tables: Mapping[str, tuple[Table | Any, Sequence[str]]]) -> dict[str, Any]:
    """The tables with the types of their ids, which those of CSV have together: integers if every id of every table is
    one (in CSV: is written as one), else text.

    `tables`: nodes and edges, each with its columns of ids; DataFrames and tables of other formats stay as they are.
    """
    text = False
    for table, ids in tables.values():
        if isinstance(table, CsvTable):
            seen = table.seen or {}
            text |= table.options.ids == "text" or not all(seen[name].integers for name in ids if name in seen)
        else:
            types = dict(table.dtypes)
            text |= any(types.get(name, "").startswith(("string", "varchar", "char")) for name in ids)
    word = "string" if text else "bigint"
    return {
        name: table.with_ids(ids, word) if isinstance(table, CsvTable) else table
        for name, (table, ids) in tables.items()
    }


def check_partition_ids(name: str, listing: Listing, ids: Iterable[str]) -> None:
    """DataError if ids stand in the names of folders, and would not be read as they are written there."""
    for column in ids:
        if column not in listing.partitions:
            continue
        for part in listing.parts:
            text = dict(part.folders)[column]
            if text is not None and is_changed(text, listing.partitions[column]):
                raise DataError(
                    f"{name}.{column} is in the names of folders, where {text!r} would be read as a number; store the "
                    "ids as a column of the files"
                )
