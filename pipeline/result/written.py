"""The result's files, written by the tasks that compute them: one Parquet file for each block, and receipts.

Comes in: a block's outputs as Arrow batches. Goes out: a file, and a receipt for it, which is all that goes through
Spark (16.8M edges and 32 lanes, fused: writing through the JVM took 4 of 7 core-seconds). Knows nothing of Spark.

A file has its block's name and appears whole, so that a task that is tried again, or twice at a time, writes the same
file. The table is a table when it is put in place by `complete`, which counts the receipts first.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StorageError, unwritable

RECEIPT_DDL = "block int, rows bigint, superstep int, milliseconds int"
SCHEMA = pa.schema({"block": pa.int32(), "rows": pa.int64(), "superstep": pa.int32(), "milliseconds": pa.int32()})
DONE = "_SUCCESS"  # what Spark leaves in a table that it has written; others wait for it


class Receipt(NamedTuple):
    """That a block's file is written, with so many rows; or how long a superstep took in a task."""

    block: int | None
    rows: int | None
    superstep: int | None = None
    milliseconds: int | None = None

    def batch(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([self._asdict()], schema=SCHEMA)


def write_block(directory: str, block: int, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes the file of a block, and returns its number of rows.

    Raises
    ------
    StorageError
        If the directory cannot be written, or the disk is full.
    """
    path = file_of(directory, block)
    temporary = os.path.join(directory, f".{os.path.basename(path)}-{uuid.uuid4().hex}")
    rows = 0
    try:
        # numbers hardly repeat: looking for a dictionary of them costs as much as writing them
        with pq.ParquetWriter(temporary, schema, use_dictionary=False, write_statistics=schema.names[:1]) as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            raise unwritable(directory, error) from error
        raise
    return rows


def file_of(directory: str, block: int) -> str:
    return os.path.join(directory, f"part-{block:05}.parquet")


def complete(directory: str, blocks: int, receipts: Iterable[Receipt]) -> int:
    """Checks that every block is there once or more, with the rows that its receipt says; returns the rows of all.

    Raises
    ------
    StorageError
        If a file is missing: the tasks do not see the same disk.
    """
    rows = {receipt.block: receipt.rows for receipt in receipts if receipt.block is not None}
    missing = [block for block in range(blocks) if block not in rows or not os.path.exists(file_of(directory, block))]
    if missing:
        raise StorageError(
            f"{directory}: {len(missing)} of {blocks} files were not written where this machine sees them, for example "
            f'of block {missing[0]}; give a path that all machines share, or the setting write = "spark"'
        )
    for name in _left(os.listdir(directory)):
        os.remove(os.path.join(directory, name))
    with open(os.path.join(directory, DONE), "wb"):
        pass
    return sum(count or 0 for count in rows.values())


def _left(names: Sequence[str]) -> list[str]:
    """What a task was writing when it was killed."""
    return [name for name in names if name.startswith(".part-")]
