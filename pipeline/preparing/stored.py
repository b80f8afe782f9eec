"""Rows on their way to their blocks through files: what a part of a step has made, for whoever works on a block next.

Comes in: rows for any blocks. Goes out: a file; the rows of one block of many files; whether a file is whole.
The files outlast the process. In memory, and without them, is in_transit.py.

    build/00003      Arrow IPC. What block 3 has made in the step `build`: batches, each of rows for one block. The last
                     batch is one row: JSON that says which batches are for which block, and the sum of all rows.
"""

from __future__ import annotations

import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.blocks.content import sum_of
from pipeline.blocks.rows import SCHEMA, Row, from_batches, to_batches
from pipeline.blocks.storage import reached
from pipeline.errors import StorageError, unwritable

WAITING = 1 << 25
"""Bytes of rows that a part holds back, so that what goes to one block is written together."""
INDEX = "index"  # the kind of the last row
_MODULUS = 1 << 63  # of sums: Arrow's integers have a sign

WRITTEN_DDL = "part bigint, bytes bigint, checksum bigint, milliseconds bigint"
WRITTEN_SCHEMA = pa.schema((name, pa.int64()) for name in ("part", "bytes", "checksum", "milliseconds"))


class Written(NamedTuple):
    """That the file of a part of a step is there."""

    part: int
    bytes: int
    checksum: int
    milliseconds: int

    def batch(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist([self._asdict()], schema=WRITTEN_SCHEMA)


@dataclass(frozen=True)
class StepFiles:
    """Where the files of a prepare are."""

    path: str
    """A directory on a disk that all tasks see, or a URI of an object store."""

    def step(self, name: str) -> str:
        return os.path.join(self.path, name)

    def made(self, name: str, part: int) -> str:
        return os.path.join(self.path, name, f"{part:05}")


def write_part(path: str, part: int, rows: Iterable[Row]) -> Written:
    """Writes a file, which appears whole or not at all; of two attempts at the same time, each writes the same rows.

    StorageError if the disk is full, or the directory cannot be written.
    """
    place = reached(path)
    temporary = f"{place.path}-{uuid.uuid4().hex}" if place.is_local else place.path
    batches: dict[int, list[int]] = defaultdict(list)
    count = total = 0
    try:
        with (
            place.filesystem.open_output_stream(temporary, compression=None) as sink,
            pa.ipc.new_file(sink, SCHEMA) as writer,
        ):
            for target, some in _together(rows):
                for row in some:
                    total = (total + sum_of(row)) % _MODULUS
                for batch in to_batches(some):
                    writer.write_batch(batch)
                    batches[target].append(count)
                    count += 1
            writer.write_batch(next(to_batches([_index(batches, total)])))
        if place.is_local:  # an object appears when its stream is closed
            os.replace(temporary, place.path)
        return Written(part, place.info.size, total, 0)
    except BaseException as error:
        if (
            place.is_local
        ):  # by an object's name there may be what another attempt has written; half of one has no index
            with suppress(OSError):
                os.remove(temporary)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise unwritable(os.path.dirname(path), error) from error
        raise


def read_part(path: str, block: int | None = None) -> Iterator[Row]:
    """The rows of a file that are for a block, or all of them. StorageError if it is not there, or not whole."""
    try:
        with _opened(path) as source:
            file = pa.ipc.open_file(source)
            index, _ = _read_index(file)
            wanted = index.get(str(block), []) if block is not None else range(file.num_record_batches - 1)
            for number in wanted:
                yield from from_batches([file.get_batch(number)])
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, StopIteration) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path}: cannot be read: {error}") from error


def read_parts(paths: Sequence[str], block: int) -> Iterator[Row]:
    """What all parts of a step have for a block."""
    for path in paths:
        yield from read_part(path, block)


def check_part(path: str, part: int) -> Written | None:
    """The receipt of a file, but for its time; None if it is not there, or not what was written."""
    try:
        with _opened(path) as source:
            size = source.size()
            _, total = _read_index(pa.ipc.open_file(source))
        found = 0
        for row in read_part(path):
            found = (found + sum_of(row)) % _MODULUS
        return Written(part, size, total, 0) if found == total else None
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, StopIteration):
        return None


def _opened(path: str) -> pa.NativeFile:
    place = reached(path)
    return pa.memory_map(place.path) if place.is_local else place.filesystem.open_input_file(place.path)


def _together(rows: Iterable[Row]) -> Iterator[tuple[int, list[Row]]]:
    """The rows of one block after the other, of WAITING bytes at a time."""
    waiting: dict[int, list[Row]] = defaultdict(list)
    size = 0
    for row in rows:
        waiting[row.target].append(row)
        size += len(row.data)
        if size > WAITING:
            yield from waiting.items()
            waiting, size = defaultdict(list), 0
    yield from waiting.items()


def _index(batches: dict[int, list[int]], total: int) -> Row:
    text = json.dumps({"batches": batches, "sum": total}).encode()
    return Row(-1, -1, INDEX, "", "|u1", 0, 0, np.frombuffer(text, np.uint8))


def _read_index(file: Any) -> tuple[dict[str, list[int]], int]:
    (row,) = from_batches([file.get_batch(file.num_record_batches - 1)])
    if row.kind != INDEX:
        raise ValueError("it ends with something else than its index")
    found = json.loads(row.data.tobytes())
    return found["batches"], int(found["sum"])
