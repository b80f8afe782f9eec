"""The result's files, written by the tasks that compute them: one file for each block, and receipts.

Comes in: a block's outputs as Arrow batches. Goes out: a Parquet or CSV file, and a receipt for it, which is all that
goes through Spark (16.8M edges and 32 lanes, fused: writing through the JVM took 4 of 7 core-seconds). Knows nothing of
Spark.

A file has its block's name and appears whole, so that a task that is tried again, or twice at a time, writes the same
file. The table is a table when the driver has counted what is there (counted.py).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from pipeline.blocks.arrow import one_row
from pipeline.errors import StorageError, unwritable
from pipeline.places.filesystem import Opened, opened
from pipeline.places.place import Place, refuse_unreachable
from pipeline.result.flat import flat_batch, flat_schema
from pipeline.result.output import OutputTable
from pipeline.schema import NODE, AnyType, folder_of

RECEIPT_DDL = "block int, rows bigint, superstep int, milliseconds int, type string"
SCHEMA = pa.schema(
    {
        "block": pa.int32(),
        "rows": pa.int64(),
        "superstep": pa.int32(),
        "milliseconds": pa.int32(),
        "type": pa.string(),
    }
)
PARQUET, CSV = "parquet", "csv"


class Receipt(NamedTuple):
    """That a block's file is written, with so many rows; or how long a superstep took in a task."""

    block: int | None
    rows: int | None
    superstep: int | None = None
    milliseconds: int | None = None
    type: str = NODE
    """Of the nodes or edges that the rows are of, as text."""

    def batch(self) -> pa.RecordBatch:
        return one_row(self._asdict(), SCHEMA)


@dataclass(frozen=True)
class Folder:
    """Where tasks write; it goes to every one of them."""

    uri: str
    """A path of a disk that all share, or a URI that Python reaches."""
    output: str
    """What the user calls it, for messages: `uri` is a hidden directory beside it."""
    format: str = PARQUET
    by_type: bool = False
    """Whether each type has a folder of its own within."""

    def of_type(self, type: AnyType) -> Folder:
        """Where the table of a type goes."""
        if not self.by_type:
            return self
        name = folder_of(type)
        return Folder(Place.of(self.uri).child(name).uri, f"{self.output}/{name}", self.format)

    def file_of(self, block: int) -> str:
        return f"part-{block:05}.{self.format}"

    def open(self) -> Opened:
        place = Place.of(self.uri)
        found = opened(place)
        if found is None:
            raise refuse_unreachable(place)
        return found


def write_block(folder: Folder, block: int, table: OutputTable, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes the file of a block, and returns its number of rows. CSV has a column for each lane of an array.

    Raises
    ------
    StorageError
        If the directory cannot be written, or the disk is full.
    """
    at, name = folder.open(), folder.file_of(block)
    temporary = at.child(f".{name}-{uuid.uuid4().hex}" if at.renames else name)
    rows = 0
    try:
        with _writer(temporary, folder.format, table) as writer:
            for batch in batches:
                writer.write_batch(batch if folder.format == PARQUET else flat_batch(batch, table.widths))
                rows += batch.num_rows
        if at.renames:
            _replace(temporary, at.child(name))
    except BaseException as error:
        with suppress(OSError, pa.ArrowException):
            at.filesystem.delete_file(temporary.path)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise unwritable(folder.output, error) from error
        raise
    return rows


@contextmanager
def _writer(file: Opened, format: str, table: OutputTable) -> Iterator[Any]:
    with file.filesystem.open_output_stream(file.path, compression=None) as stream:
        if format == CSV:
            # texts are quoted, quotes in them doubled, and nothing is trimmed: a reader gets back what was given
            with csv.CSVWriter(stream, flat_schema(table.columns, table.widths)) as writer:
                yield writer
        else:
            # numbers hardly repeat: looking for a dictionary of them costs as much as writing them; labels do
            repeated, keys = [*table.labels], [*table.keys.names]
            with pq.ParquetWriter(
                stream, table.columns, use_dictionary=repeated or False, write_statistics=keys
            ) as writer:
                yield writer


def _replace(temporary: Opened, file: Opened) -> None:
    if not temporary.is_local:  # hdfs moves nothing onto a file
        with suppress(FileNotFoundError):
            file.filesystem.delete_file(file.path)
    temporary.filesystem.move(temporary.path, file.path)
