"""Prepare step by step, through files: each step is done when the files of all its parts are there; then the next one
begins.

Comes in: the parts of the tables, a plan, the journal of what is done, and who works: a session, with a job for each
step, or the threads of this process. Goes out: the files of all blocks, and rows of kind FACTS and FINDING. A part of
the step `pack` is a piece of a table, a part of each other step is a block.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from pipeline.blocks import storage
from pipeline.blocks.content import sums_of
from pipeline.blocks.rows import Row
from pipeline.errors import StorageError
from pipeline.places.working import is_begun, make_folder
from pipeline.preparing.facts import FACTS
from pipeline.preparing.pack import pack
from pipeline.preparing.preparation import Preparation, Step
from pipeline.preparing.steps import Writes, keep, steps_written
from pipeline.preparing.stored import WRITTEN_DDL, StepFiles, Written, check_part, read_part, read_parts, write_part
from pipeline.tables.layout import Layout

log = logging.getLogger("graphsweep")

PACK = "pack"

Work = Callable[[int], Iterator[pa.RecordBatch]]
"""Part → its receipt."""
Each = Callable[[Work, Sequence[int], str], list[tuple[Any, ...]]]
"""(work, parts, DDL of its rows) → the rows of all these parts, when all of them are done."""


class Journal(Protocol):
    """Who remembers what is done, across processes."""

    files: StepFiles

    def done(self) -> dict[str, list[Written]]:
        """Step → the receipts of all its parts, in the order in which they were done."""

    def note(self, step: str, written: Sequence[Written]) -> None:
        """All parts of a step are done; the files of the one before are not needed any more."""

    def begin_step(self, step: str, key: str | None) -> None:
        """A step begins; what there is of other parts than `key` says is removed. None: these are never the same."""

    def begin_again(self, seed: int | None = None) -> None:
        """What is done is of no use."""


@dataclass(frozen=True)
class Parts:
    """Of the tables, as many as are packed at a time."""

    sources: Sequence[tuple[Layout, Callable[[], Iterable[pa.RecordBatch]]]]
    key: str
    """The same for the same parts, in any process."""


Packing = Parts | Callable[[StepFiles], list[Written]]
"""What is packed; or, where the parts are not known before, who packs it all."""


def step_names(plan: Preparation) -> list[str]:
    return [PACK, *(step.__name__ for step, _ in steps_written(plan))]


def prepare_by_step(packing: Packing, plan: Preparation, folder: str, journal: Journal, each: Each) -> list[Row]:
    """Runs all steps but those that are done. `folder`: where the blocks' files go.

    StorageError if the files cannot be written.
    """
    done = _whole(plan, folder, journal, each)
    if done:
        log.info("%d of %d steps are done already", len(done), len(step_names(plan)))
    files = journal.files
    if PACK not in done:
        done[PACK] = _pack(packing, plan, journal, each)
    before = PACK
    for step, file in steps_written(plan):
        name, writes = step.__name__, (folder, file) if file else None
        if name not in done:
            parts = [receipt.part for receipt in done[before]]
            work = partial(_advance, files, plan, step, writes, [files.made(before, part) for part in parts])
            check = partial(_check, files, name, folder)
            done[name] = _run(name, work, check, range(plan.blocks), f"{plan.blocks} blocks", journal, each)
            journal.note(name, done[name])
        before = name
    return [row for receipt in done[before] for row in read_part(files.made(before, receipt.part))]


def _pack(packing: Packing, plan: Preparation, journal: Journal, each: Each) -> list[Written]:
    if isinstance(packing, Parts):
        work = partial(_pack_part, journal.files, plan, packing.sources)
        check = partial(_check, journal.files, PACK, None)
        written = _run(PACK, work, check, range(len(packing.sources)), packing.key, journal, each)
    else:
        journal.begin_step(PACK, None)
        make_folder(journal.files.step(PACK))
        written = sorted(dict.fromkeys(packing(journal.files)))
    journal.note(PACK, written)
    return written


def _run(
    name: str, work: Work, check: Work, parts: Sequence[int], key: str, journal: Journal, each: Each
) -> list[Written]:
    """All parts of a step, but those whose files are there."""
    journal.begin_step(name, key)
    make_folder(journal.files.step(name))
    found: dict[int, Written] = {}
    if is_begun(journal.files.step(name)):
        found = {row.part: row for row in (Written(*row) for row in each(check, parts, WRITTEN_DDL))}
        log.info("step %s: %d of %d parts are done already", name, len(found), len(parts))
    todo = [part for part in parts if part not in found]
    rows = each(work, todo, WRITTEN_DDL) if todo else []
    found |= {row.part: row for row in (Written(*row) for row in rows)}  # two attempts have two receipts
    return [found[part] for part in parts]


def _whole(plan: Preparation, folder: str, journal: Journal, each: Each) -> dict[str, list[Written]]:
    """What the journal says is done, if the files of the last step of it are what they were; else nothing is."""
    done = journal.done()
    if not done:
        return {}
    newest, receipts = list(done.items())[-1]
    check = partial(_check, journal.files, newest, folder if newest != PACK else None)
    parts = [receipt.part for receipt in receipts]
    there = {row.part: row for row in (Written(*row) for row in each(check, parts, WRITTEN_DDL))}
    if all(there.get(row.part) == row._replace(milliseconds=0) for row in receipts):
        return done
    log.warning("%s: what is there of the step %s is damaged; prepared from the beginning", journal.files.path, newest)
    journal.begin_again()
    return {}


# ---- what is done for one part


def _pack_part(
    files: StepFiles,
    plan: Preparation,
    sources: Sequence[tuple[Layout, Callable[[], Iterable[pa.RecordBatch]]]],
    part: int,
) -> Iterator[pa.RecordBatch]:
    layout, source = sources[part]
    yield timed(files.made(PACK, part), part, pack(source(), layout, plan))


def timed(path: str, part: int, rows: Iterable[Row]) -> pa.RecordBatch:
    """Writes the file of a part; its receipt."""
    started = time.perf_counter()
    written = write_part(path, part, rows)
    return written._replace(milliseconds=round(1000 * (time.perf_counter() - started))).batch()


def _advance(
    files: StepFiles, plan: Preparation, step: Step, writes: Writes | None, before: Sequence[str], index: int
) -> Iterator[pa.RecordBatch]:
    rows = step(index, read_parts(before, index), plan)
    yield timed(files.made(step.__name__, index), index, keep(rows, index, *writes) if writes else rows)


def _check(files: StepFiles, name: str, folder: str | None, part: int) -> Iterator[pa.RecordBatch]:
    """The receipt of a part that is done, if all that it has written is there and whole. `folder`: of the blocks'
    files, which it may have written too."""
    path = files.made(name, part)
    written = check_part(path, part)
    if written is not None and (folder is None or _are_whole(folder, part, path)):
        yield written.batch()


def _are_whole(folder: str, index: int, path: str) -> bool:
    """Whether the files of a block are what the facts in a part's file say."""
    facts: dict[str, Any] = {}
    for row in read_part(path, index):
        if row.kind == FACTS and row.name in storage.FILES:
            facts |= json.loads(row.data.tobytes())
    for name in storage.FILES:
        if f"{name}_file_bytes" not in facts:
            continue
        try:
            if storage.size_of(folder, index, name) != facts[f"{name}_file_bytes"]:
                return False
            if sums_of(storage.read_file(folder, index, name)) != facts[f"{name}_sums"]:
                return False
        except StorageError:
            return False
    return True
