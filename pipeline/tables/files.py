"""The user's tables as files: what they are, whether they are that, and their parts.

Comes in: a path. Goes out: a DataFrame; or the pieces of a Parquet table, for workers that read it themselves. Knows
nothing of what the columns mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.errors import StorageError, nearest
from pipeline.tables.layout import arrow_types
from pipeline.workers import first_line

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FORMATS = ("parquet", "csv", "delta")


def read_table(spark: SparkSession, path: str, format: str | None = None) -> DataFrame:
    """A Parquet, CSV or Delta table as a DataFrame. CSV has a header line; its types are inferred, which runs a job.

    The format is taken from the names of the files if it is not given.
    """
    format = format or find_format(path)
    if format not in FORMATS:
        raise StorageError(f"{path}: unknown format {format!r}; {nearest(format, FORMATS)}")
    _check_content(path, _look(path), format)
    reader = spark.read.format(format)
    if format == "csv":
        reader = reader.options(header=True, inferSchema=True)
    try:
        table = reader.load(path)
        columns = table.columns
    except Exception as error:  # of Java, of py4j, of PySpark: whatever cannot be read has its own
        if "[PATH_NOT_FOUND]" in str(error):
            raise StorageError(f"{path}: no such file or directory") from error
        raise StorageError(f"{path}: cannot be read as {format}: {first_line(error)}") from error
    if not columns:
        raise StorageError(f"{path}: has no columns" + (", not even a header line" if format == "csv" else ""))
    return table


def find_format(path: str) -> str:
    """The format of a table by the names of its files."""
    seen = [file.path for file in _look(path)]
    if any("/_delta_log/" in file for file in seen):
        return "delta"
    for format, endings in ENDINGS.items():
        if any(file.endswith(endings) for file in seen or [path]):
            return format
    if not seen:
        return "parquet"  # not to be seen from here; Spark knows more file systems
    raise StorageError(f"{path}: the name does not tell the format; give it, one of {', '.join(FORMATS)}")


def is_missing(path: str) -> bool:
    """Whether a path of this machine's own file system, which no pattern of names is, leads nowhere."""
    return not any(sign in path for sign in ("://", *"*?[{")) and not os.path.exists(path)


def refuse_missing(path: str) -> None:
    """StorageError if it leads nowhere, as far as that can be told from here."""
    if is_missing(path):
        raise StorageError(f"{path}: no such file or directory")


def file_bytes(path: str) -> int | None:
    """Of all data files under a path; None if they cannot be seen from here."""
    files = _look(path)
    return sum(file.size for file in files) if files else None


ENDINGS = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")}


def _look(path: str) -> list[fs.FileInfo]:
    """The data files under a path, as far as it can be seen from here; Spark may know file systems that we do not.

    A path without a scheme is local here, and may be another one in Spark: if it is not found, Spark decides.
    """
    try:
        filesystem, inner = storage.locate(path)
        info = filesystem.get_file_info(inner)
        if info.type == fs.FileType.NotFound:
            return []
        if info.type == fs.FileType.File:
            return [info]
        inside = filesystem.get_file_info(fs.FileSelector(inner, recursive=True))
    except (OSError, pa.ArrowException):
        return []
    files = [file for file in inside if file.type == fs.FileType.File and not _hidden(file.path[len(inner) :])]
    if not files:
        raise StorageError(f"{path}: the directory holds no data files")
    return sorted(files, key=lambda file: file.path)


def _hidden(path: str) -> bool:
    """Names that Spark passes over, but for the log of a Delta table."""
    return any(part.startswith((".", "_")) and part != "_delta_log" for part in path.strip("/").split("/"))


def _check_content(path: str, files: list[fs.FileInfo], format: str) -> None:
    """A file that is not what its name says would give a Java stack trace, or a table of garbage."""
    if format == "delta" or len(files) > MOST_FILES:
        return
    filesystem, _ = storage.locate(path)

    def complaint(file: fs.FileInfo) -> str | None:
        try:
            with filesystem.open_input_file(file.path) as stream:
                start = stream.read(4)
                stream.seek(max(0, file.size - 4))
                end = stream.read(4)
        except PermissionError:
            return f"no permission to read {file.base_name}"
        if format == "parquet" and start != b"PAR1":
            return f"{file.base_name} is not a Parquet file"
        if format == "parquet" and end != b"PAR1":
            return f"{file.base_name} is a Parquet file whose end is missing"
        if format == "csv" and start == b"PAR1":
            return f"{file.base_name} is a Parquet file, not CSV"
        if format == "csv" and not start:
            return f"{file.base_name} is empty, without a header line"
        return None

    with ThreadPoolExecutor(16) as pool:
        for found in pool.map(complaint, files):
            if found:
                raise StorageError(f"{path}: {found}")


# ---- Parquet without the JVM


class Piece(NamedTuple):
    """Some row groups of a Parquet file: what one task reads."""

    table: str
    """The path that the user gave: its scheme tells the file system."""
    file: str
    start: int
    end: int
    rows: int


# of a Parquet file, compressed: small enough to share out evenly, large enough to fill the packed rows of a flush
PIECE_BYTES = 64 << 20
# what NumPy makes float32 of exactly as Spark's cast does
PLAIN = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string())
MOST_FILES = 10_000


def parquet_pieces(path: str, columns: Sequence[str]) -> list[Piece] | None:
    """The row groups of a plain Parquet table, in pieces; None if only Spark should read it.

    A worker gets 16.8M edges from Parquet in 0.4 s of one core, where rows that come through the JVM cost 6 s. Plain
    means that it is in files as it is in Spark: no columns in directory names, one schema, simple types.
    """
    try:
        files = _look(path)
        if not files or len(files) > MOST_FILES or _in_directories(files):
            return None
        filesystem, _ = storage.locate(path)
        with ThreadPoolExecutor(16) as pool:
            footers = list(pool.map(lambda file: pq.read_metadata(file.path, filesystem=filesystem), files))
        types = {_plain(footer.schema.to_arrow_schema(), columns) for footer in footers}
    except (OSError, pa.ArrowException):
        return None
    if len(types) > 1 or None in types:
        return None
    return [piece for file, footer in zip(files, footers, strict=True) for piece in _cut(path, file.path, footer)]


def _in_directories(files: Iterable[fs.FileInfo]) -> bool:
    """Whether a column may be in the names of directories: day=1."""
    return any("=" in file.path for file in files)


def _plain(schema: pa.Schema, columns: Sequence[str]) -> tuple[pa.DataType, ...] | None:
    types = []
    for name in columns:
        if schema.get_field_index(name) < 0:
            return None
        type = schema.field(name).type
        if (type.value_type if pa.types.is_list(type) else type) not in PLAIN:
            return None
        types.append(type)
    return tuple(types)


def _cut(table: str, file: str, footer: pq.FileMetaData) -> Iterator[Piece]:
    start = rows = size = 0
    for group in range(footer.num_row_groups):
        rows += footer.row_group(group).num_rows
        size += footer.row_group(group).total_byte_size
        if size >= PIECE_BYTES or group == footer.num_row_groups - 1:
            yield Piece(table, file, start, group + 1, rows)
            start, rows, size = group + 1, 0, 0


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet table of which names and types are known; it stands for a DataFrame where there is no Spark."""

    path: str
    dtypes: list[tuple[str, str]]
    """Column, and Spark's word for its type."""

    @property
    def columns(self) -> list[str]:
        return [name for name, _ in self.dtypes]

    @staticmethod
    def open(path: str, format: str | None = None) -> ParquetTable | None:
        """None if it cannot be read from here, or is in another format. StorageError for a damaged file."""
        files = _look(path)
        if not files or _in_directories(files) or (format or find_format(path)) != "parquet":
            return None
        _check_content(path, files, "parquet")
        filesystem, _ = storage.locate(path)
        try:
            schema = pq.read_schema(files[0].path, filesystem=filesystem)
        except (OSError, pa.ArrowException):
            return None
        return ParquetTable(path, list(arrow_types(schema).items()))

    def count(self) -> int:
        """Rows, by the files' footers."""
        return sum(piece.rows for piece in parquet_pieces(self.path, []) or [])

    def no_number(self, column: str) -> str | None:
        """The first text in a column that is not a number."""
        texts = (
            text
            for batch in read_pieces(parquet_pieces(self.path, [column]) or [], [column])
            for text in batch.column(0).to_pylist()
        )
        return next((text for text in texts if text is not None and not _is_number(text)), None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_pieces(pieces: Iterable[Piece], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches with these columns in this order; a column may be asked for twice.

    Raises
    ------
    StorageError
        If a file is damaged, which may show only when its pages are read; or if it gives other rows than its end tells.
    """
    for piece in pieces:
        rows = 0
        try:
            for batch in _batches(piece, columns):
                rows += batch.num_rows
                yield batch
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{piece.table}: {piece.file} is damaged: {first_line(error)}") from error
        if rows != piece.rows:
            raise StorageError(f"{piece.table}: {piece.file} is damaged: it gives {rows:,} of {piece.rows:,} rows")


def _batches(piece: Piece, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    filesystem, _ = storage.locate(piece.table)
    with filesystem.open_input_file(piece.file) as stream:
        file = pq.ParquetFile(stream, read_dictionary=[])
        groups = list(range(piece.start, piece.end))
        for batch in file.iter_batches(1 << 17, groups, sorted(set(columns)), use_threads=False):
            yield pa.RecordBatch.from_arrays(
                [batch.column(name) for name in columns], list(map(str, range(len(columns))))
            )


def is_visible(piece: Piece) -> bool:
    """Whether it can be opened from here."""
    try:
        return bool(storage.locate(piece.table)[0].get_file_info(piece.file).is_file)
    except (OSError, pa.ArrowException, StorageError):
        return False
