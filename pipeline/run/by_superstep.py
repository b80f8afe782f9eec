"""A run superstep by superstep: each is done when the files of all its blocks are there, and then the next one begins.

Comes in: a run, the directory of its files, and who works: a session, with a job for each superstep and a task for each
block, or the threads of this process. Goes out: the receipts of the result. Knows nothing of what is in the files
(through_files.py); what is done is remembered by a journal, if the run is to survive this process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.places.working import is_begun, make_folder
from pipeline.result.written import RECEIPT_DDL, Receipt
from pipeline.run.progress import mark
from pipeline.run.task import Run
from pipeline.run.through_files import STORED_DDL, Files, Stored, check_block, run_block, shared
from pipeline.spark.task_function import task_function

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

Work = Callable[[int], Iterator[pa.RecordBatch]]
"""Block → batches of a few rows: receipts."""
Each = Callable[[Work, Sequence[int], str], list[tuple[Any, ...]]]
"""(work, blocks, DDL of its rows) → the rows of all these blocks, when all of them are done."""


class Moved(NamedTuple):
    """What a superstep did."""

    milliseconds: int
    """Summed over blocks; 0 for those that were done by a run before."""
    bytes: int
    """Written for the next superstep."""


class Journal(Protocol):
    """Who remembers what is done, across processes."""

    def done(self) -> dict[int, list[Stored]]:
        """Superstep → the receipts of all its blocks, for those that are done."""

    def note(self, superstep: int, stored: Sequence[Stored]) -> None:
        """All blocks of a superstep are done; the files of the one before are not needed any more."""


def run_by_superstep(
    run: Run, files: Files, each: Each, journal: Journal | None = None
) -> tuple[list[Receipt], list[Moved]]:
    """Runs all supersteps but those that are done. StorageError if the files cannot be written."""
    last = len(run.plan.steps) - 1
    done = {} if journal is None else _whole(run, files, each, journal)
    if done:
        log.info("%d of %d supersteps are done already", len(done), last + 1)
    for number in range(max(done, default=-1) + 1, last):
        make_folder(files.superstep(number))
        if number == 0 and files.are_mapped:
            make_folder(files.rows)
        found = {} if journal is None else _there(run, files, each, number)
        todo = [block for block in range(run.blocks) if block not in found]
        if found:
            log.info("superstep %d: %d of %d blocks are done already", number, len(found), run.blocks)
        rows = each(partial(run_block, run, shared(run, files, number), number), todo, STORED_DDL) if todo else []
        found |= {row.block: row for row in (Stored(*row) for row in rows)}  # two attempts have two receipts
        done[number] = sorted(found.values())
        for block in range(run.blocks):  # tasks on other machines cannot mark what they do
            mark(run.marks, number, block)
        if journal is not None:
            journal.note(number, done[number])
    work = partial(run_block, run, shared(run, files, last), last)
    receipts = [Receipt(*row) for row in each(work, range(run.blocks), RECEIPT_DDL)]
    moved = [_moved(done.get(number, ())) for number in range(last)]
    return receipts, [*moved, Moved(sum(receipt.milliseconds or 0 for receipt in receipts), 0)]


def _whole(run: Run, files: Files, each: Each, journal: Journal) -> dict[int, list[Stored]]:
    """What the journal says is done, if the files of the last superstep of it are what they were; else nothing is."""
    done = journal.done()
    if not done:
        return {}
    newest = max(done)
    there = _there(run, files, each, newest)
    same = all(
        row.block in there and there[row.block]._replace(milliseconds=row.milliseconds) == row for row in done[newest]
    )
    return done if same else {}


def _there(run: Run, files: Files, each: Each, number: int) -> dict[int, Stored]:
    """The blocks whose files of a superstep are there, whole."""
    if not is_begun(files.superstep(number)):
        return {}
    rows = each(partial(check_block, files, number), range(run.blocks), STORED_DDL)
    return {row.block: row for row in (Stored(*row) for row in rows)}


def _moved(stored: Iterable[Stored]) -> Moved:
    rows = list(stored)
    return Moved(sum(row.milliseconds for row in rows), sum(row.bytes for row in rows))


# ---- who works


@dataclass(frozen=True)
class InTasks:
    """A session: a job, a task for each block."""

    spark: SparkSession

    def __call__(self, work: Work, blocks: Sequence[int], ddl: str) -> list[tuple[Any, ...]]:
        each = self.spark.range(0, len(blocks), 1, len(blocks))  # in every partition just one number
        function = task_function(partial(_in_task, work, list(blocks)))
        return [tuple(row) for row in each.mapInArrow(function, ddl).collect()]


def _in_task(work: Work, blocks: Sequence[int], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for place in batch.column("id").to_pylist():
            yield from work(blocks[place])


@dataclass(frozen=True)
class InThreads:
    """The threads of this process."""

    threads: int

    def __call__(self, work: Work, blocks: Sequence[int], ddl: str) -> list[tuple[Any, ...]]:
        # one BLAS thread per block thread, as run_stored
        with threadpool_limits(1), ThreadPoolExecutor(self.threads) as pool:
            made = list(pool.map(lambda block: list(work(block)), blocks))
        return [tuple(row.values()) for batches in made for batch in batches for row in batch.to_pylist()]
