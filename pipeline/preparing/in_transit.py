"""Rows on their way to their blocks within one machine: in memory, and in files beyond a limit.

Comes in: rows for any block, from any thread, in any order. Goes out: the rows of one block, once. What a shuffle does
between machines; knows nothing of what the rows hold.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType

import pyarrow as pa

from pipeline.blocks.rows import SCHEMA, Row, from_batches, to_batches
from pipeline.errors import unwritable


class Exchange(AbstractContextManager["Exchange"]):
    """Where rows wait for the one who works on their block. Its files go when it is left."""

    def __init__(self, directory: str, limit: int, known_as: str | None = None) -> None:
        """`limit`: bytes of rows that may wait in memory; while they are written, as many more may come. `known_as`:
        what the user knows the directory as, for messages."""
        self._limit = limit
        self._waiting: dict[int, list[Row]] = defaultdict(list)
        self._bytes = 0
        self._files: dict[int, list[str]] = defaultdict(list)
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # one at a time, so that no more than twice the limit is in memory
        self._parent = directory
        self._known_as = known_as or directory
        self._directory: str | None = None

    def put(self, rows: Iterable[Row]) -> None:
        """Takes in rows of any blocks; their arrays must not change afterwards.

        Raises
        ------
        StorageError
            If the limit is reached and the directory cannot be written.
        """
        for row in rows:
            with self._lock:
                self._waiting[row.target].append(row)
                self._bytes += len(row.data)
                full = self._bytes > self._limit
            if full:
                self._spill()

    def take(self, block: int) -> Iterator[Row]:
        """All rows of a block, in no order; the exchange forgets each as it goes."""
        with self._lock:
            rows, files = self._waiting.pop(block, []), self._files.pop(block, [])
            self._bytes -= sum(len(row.data) for row in rows)
        while rows:
            yield rows.pop()
        for file in files:
            with pa.memory_map(file) as source, pa.ipc.open_stream(source) as batches:
                yield from from_batches(batches)
            os.remove(file)  # the rows are views of the mapped file: it stays until they are let go

    def _spill(self) -> None:
        with self._writing:
            with self._lock:
                if self._bytes <= self._limit:  # another thread was quicker
                    return
                waiting, self._waiting, self._bytes = self._waiting, defaultdict(list), 0
            try:
                self._write(waiting)
            except OSError as error:
                raise unwritable(self._known_as, error) from error

    def _write(self, waiting: dict[int, list[Row]]) -> None:
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix=".exchange-", dir=self._parent)
        for block in list(waiting):
            file = os.path.join(self._directory, f"{block}-{len(self._files[block])}")
            with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as writer:
                for batch in to_batches(waiting.pop(block)):
                    writer.write_batch(batch)
            with self._lock:
                self._files[block].append(file)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
