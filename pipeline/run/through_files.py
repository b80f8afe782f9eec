"""Blocks that exchange values through files: what a block makes in a superstep is a file, which the others map.

Comes in: a run, the number of a superstep, a block. Goes out: the block's file for the next superstep and a receipt, or
in the last superstep the batches of the result. Knows nothing of Spark, and not who calls: a task of a session, or a
thread of this process. All that a call needs is in the files of the superstep before, so a superstep that was finished
once need not be computed again, by whichever process.

    rows/00000            which rows of block 0 the others read: its send lists; written by the first superstep
    superstep-0/00000     what block 0 has made in superstep 0: "own/3" is value 3 of the program, "sent/0" all
                          values of the superstep's shipment 0 side by side, "part/5" its part of total 5; shipments
                          that send the same values are one array

In an object store, where nothing can be mapped, files are laid out otherwise: ranges.py.

With R rows that blocks send to each other, written here are N rows of nodes, each once, and read are R. On a disk that
machines share, each machine reads up to N rows of the others over the network, and keeps them in its memory as pages of
the file: for a few machines that is no more than what a shuffle moves, R rows; for many it is.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.blocks.arrow import one_row
from pipeline.blocks.block import IntArray
from pipeline.blocks.opening import open_block
from pipeline.blocks.rows import LISTS
from pipeline.errors import StorageError
from pipeline.places.place import Place
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep
from pipeline.run.edge_rows import names_by
from pipeline.run.in_place import NOTHING, Held, Sends, compute_in_place, hold, own_values
from pipeline.run.mapped import Written, check_file, read_arrays, write_arrays
from pipeline.run.outgoing import Values
from pipeline.run.progress import mark
from pipeline.run.ranges import Received, sections
from pipeline.run.superstep import side_by_side
from pipeline.run.task import Run, clock_batch, opened_block, result_batches, static_edges, stored_ids
from pipeline.schema import EdgeType

MOST_MAPPED = 4096
"""Files of one kind that a process has mapped at a time, of 65,530."""

STORED_DDL = "block int, bytes bigint, checksum bigint, milliseconds int"
STORED_SCHEMA = pa.schema(
    {"block": pa.int32(), "bytes": pa.int64(), "checksum": pa.int64(), "milliseconds": pa.int32()}
)


class Stored(NamedTuple):
    """That a block's file of a superstep is written."""

    block: int
    bytes: int
    checksum: int
    milliseconds: int

    def batch(self) -> pa.RecordBatch:
        return one_row(self._asdict(), STORED_SCHEMA)


@dataclass(frozen=True)
class Files:
    """Where the files of a run are."""

    path: str
    """A directory on a disk that all tasks see, or a URI of an object store."""
    checksums: bool
    """Whether files are going to be looked at again by another process, after this one was killed."""
    before: Mapped | None = None
    """What the superstep before has left, if several blocks share it."""

    @property
    def are_mapped(self) -> bool:
        """Else what is sent to each block is a range of its own (ranges.py), and there are no files of rows."""
        return Place.of(self.path).is_local

    def superstep(self, number: int) -> str:
        return os.path.join(self.path, f"superstep-{number}")

    def made(self, number: int, block: int) -> str:
        return os.path.join(self.superstep(number), f"{block:05}")

    @property
    def rows(self) -> str:
        return os.path.join(self.path, "rows")

    def rows_of(self, block: int) -> str:
        return os.path.join(self.rows, f"{block:05}")


def run_block(run: Run, files: Files, number: int, index: int) -> Iterator[pa.RecordBatch]:
    """One superstep of one block: a batch of STORED_SCHEMA; of the last superstep, the result and the clock."""
    assert run.folder is not None, "blocks are read by those who compute"
    started = time.perf_counter()
    step = run.plan.steps[number]
    if number == 0 and len(run.plan.steps) > 1 and files.are_mapped:
        _write_rows(run, files, index)
    block = opened_block(run.known, run.folder, index, step, sends=False)
    with threadpool_limits(1):
        before = _before(run, files, number, index)
        made = compute_in_place(run.plan, step, block, before.sends, before.held, run.blocks)
        if step is not run.plan.steps[-1]:
            held = hold(step, made)
            if files.are_mapped:
                arrays = _arrays(run.plan, step, held)
            else:
                arrays = sections(run.plan, step, held, _stored_sends(run, index) if step.ships else {}, run.blocks)
            written = write_arrays(files.made(number, index), arrays, files.checksums)
    milliseconds = round(1000 * (time.perf_counter() - started))
    if step is run.plan.steps[-1]:
        lists = before.sends if files.are_mapped else partial(_stored_sends, run)
        names = names_by(index, lists, partial(stored_ids, run))
        outputs = {name: made.values[value.id] for name, value in run.plan.program.outputs.items()}
        yield from result_batches(run, block, outputs, names)
        yield clock_batch(run, number, milliseconds / 1000)
    else:
        yield Stored(index, written.bytes, written.checksum, milliseconds).batch()
    mark(run.marks, number, index)


def check_block(files: Files, number: int, index: int) -> Iterator[pa.RecordBatch]:
    """A batch of STORED_SCHEMA if a block's file of a superstep is there and is what was written; else nothing. What it
    took is not known any more."""
    written = check_file(files.made(number, index))
    if written is not None and not (files.are_mapped and check_file(files.rows_of(index)) is None):
        yield Stored(index, written.bytes, written.checksum, 0).batch()


def _before(run: Run, files: Files, number: int, index: int) -> Mapped | Received:
    if files.are_mapped:
        return files.before or Mapped(run, files, number)
    step = run.plan.steps[number - 1] if number else None
    return Received(run.plan, step, run.blocks, index, partial(files.made, number - 1))


def shared(run: Run, files: Files, number: int) -> Files:
    """The same files, for all blocks of a superstep: those that are worked at in one process map a file once."""
    return replace(files, before=Mapped(run, files, number)) if files.are_mapped else files


class Mapped:
    """What the superstep before has left, mapped file by file when it is asked for."""

    def __init__(self, run: Run, files: Files, number: int) -> None:
        self._run, self._files, self._number = run, files, number
        self.held = functools.lru_cache(MOST_MAPPED)(self._held)
        self.sends = functools.lru_cache(MOST_MAPPED)(self._sends)

    def __reduce__(self) -> tuple[type[Mapped], tuple[Run, Files, int]]:
        """Another process maps the files itself."""
        return Mapped, (self._run, self._files, self._number)

    def _held(self, block: int) -> Held:
        if self._number == 0:
            return NOTHING
        path = self._files.made(self._number - 1, block)
        try:
            return _held(self._run.plan, self._run.plan.steps[self._number - 1], read_arrays(path))
        except (KeyError, ValueError) as error:
            raise StorageError(f"{path}: is of another run: {error}") from None

    def _sends(self, block: int) -> Sends:
        path = self._files.rows_of(block)
        assert self._run.known is not None, "what is stored is known"
        try:
            return _sends(path, read_arrays(path), {type: n[block] for type, n in self._run.known.nodes.items()})
        except (KeyError, ValueError) as error:
            raise StorageError(f"{path}: is damaged: {error}") from None


# ---- what a block has made, as arrays


def _arrays(plan: Plan, step: Superstep, held: Held) -> dict[str, npt.NDArray[Any]]:
    numbers = plan.program.numbers
    arrays: dict[str, npt.NDArray[Any]] = {f"own/{numbers[id]}": array for id, array in held.values.items()}
    arrays |= {f"part/{numbers[id]}": array for id, array in held.parts.items()}
    for place, edge_type in _together(step).values():
        arrays[f"sent/{place}"] = held.sent[edge_type]
    return arrays


def _together(step: Superstep) -> dict[Values, tuple[int, EdgeType]]:
    """What is sent side by side → the first shipment that sends it: of 90 relations HGT sends the same in 30."""
    found: dict[Values, tuple[int, EdgeType]] = {}
    for place, shipment in enumerate(step.ships):
        if len(shipment.values) > 1:
            found.setdefault(shipment.values, (place, shipment.edge_type))
    return found


def _held(plan: Plan, step: Superstep, arrays: Mapping[str, npt.NDArray[Any]]) -> Held:
    numbers = plan.program.numbers
    own = {id: arrays[f"own/{numbers[id]}"] for id in own_values(step)}
    rows = {values: arrays[f"sent/{place}"] for values, (place, _) in _together(step).items()}
    sent = {
        each.edge_type: rows[each.values] if each.values in rows else side_by_side(each, own) for each in step.ships
    }
    parts = {value.id: arrays[f"part/{numbers[value.id]}"] for value in step.totals}
    return Held(own, sent, parts)


# ---- which rows the others read


def _stored_sends(run: Run, index: int) -> Sends:
    assert run.known is not None, "what is stored is known"
    assert run.folder is not None, "blocks are read by those who compute"
    return open_block(run.known, run.folder, index, LISTS, static_edges(run.plan.steps)).sends


def _write_rows(run: Run, files: Files, index: int) -> Written:
    """All lists of a type of edges one after the other: a list for each of many blocks would be a long header."""
    sends = _stored_sends(run, index)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for edge_type, lists in sends.items():
        if not lists:
            continue
        targets = sorted(lists)
        arrays[f"{edge_type}/targets"] = np.array(targets, np.int32)
        arrays[f"{edge_type}/ends"] = np.cumsum([len(lists[target]) for target in targets], dtype=np.int64)
        arrays[f"{edge_type}/rows"] = np.concatenate([lists[target] for target in targets])
    return write_arrays(files.rows_of(index), arrays, files.checksums)


def _sends(path: str, arrays: Mapping[str, npt.NDArray[Any]], nodes: Mapping[str, int]) -> Sends:
    """`nodes`: of each type, those of the block."""
    found: dict[EdgeType, _Lists] = {}
    for name in arrays:
        edge_type, _, kind = name.rpartition("/")
        if kind == "targets":
            targets = {int(target): place for place, target in enumerate(arrays[name])}
            ends = arrays[f"{edge_type}/ends"]
            parsed = EdgeType.parse(edge_type)
            found[parsed] = _Lists(path, targets, ends, arrays[f"{edge_type}/rows"], nodes[parsed.source])
    return found


@dataclass(frozen=True)
class _Lists(Mapping[int, IntArray]):
    """Target → list. Looked at when it is asked for: of P blocks a task needs one list each, of P × P."""

    path: str
    places: Mapping[int, int]
    ends: npt.NDArray[np.int64]
    rows: IntArray
    nodes: int

    def __getitem__(self, target: int) -> IntArray:
        place = self.places[target]
        found = self.rows[self.ends[place - 1] if place else 0 : self.ends[place]]
        if len(found) and int(found.view(np.uint32).max()) >= self.nodes:
            # the loop that reads the rows looks at no bounds
            raise StorageError(f"{self.path}: is damaged: it leads beyond the block's nodes")
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
