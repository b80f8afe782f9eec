"""Values that blocks send through an object store: what a block sends to each other one lies together there, and is one
range of the block's file.

Comes in: what a block has made in a superstep, its send lists. Goes out: the arrays of its file; and, for a block of
the next superstep, what all others have made for it. Nothing can be mapped there, and a request takes long whatever
its size: with P blocks each reads P files, 16 at a time, of each some 64 KB of header and what was sent to it.

    "own/3"        value 3 of the program, for the block itself
    "part/5"       its part of total 5
    "to/0"         the rows of the superstep's shipment 0, those for the self-loops, then for block 0, 1, …
    "ends/0"       (P + 2,) int64: where each begins, and the end

Other than on a disk (through_files.py), a row that several blocks read is written for each of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.block import LOOPS, FloatArray, IntArray
from pipeline.blocks.storage import reached
from pipeline.errors import StorageError
from pipeline.places.directories import THREADS
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep
from pipeline.run.in_place import NOTHING, Held, Sends
from pipeline.run.mapped import DAMAGED, places_of
from pipeline.schema import EdgeType

HEAD = 1 << 16
"""Bytes that are read of each file first: its header, the ends, and what is small."""


class Ranges:
    """The arrays of a file in an object store, of which only what is asked for is read. StorageError if the file is not
    there, or not whole."""

    def __init__(self, path: str) -> None:
        self._path = path
        place = reached(path)
        try:
            self._file = place.filesystem.open_input_file(place.path)
            size = self._file.size()
            self._head: bytes = self._file.read_at(min(HEAD, size), 0)
            header = 8 + int.from_bytes(self._head[:8], "little")
            if HEAD < header <= size:
                self._head = self._file.read_at(header, 0)
            self._places = places_of(self._head, size)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: cannot be read: {error}") from error
        except (*DAMAGED, struct.error) as error:
            raise StorageError(f"{path}: is damaged: {error}") from None

    def array(self, name: str, first: int = 0, last: int | None = None) -> npt.NDArray[Any]:
        """Rows of an array, read-only."""
        try:
            at = self._places[name]
        except KeyError:
            raise StorageError(f"{self._path}: is of another run: {name} is missing") from None
        count = at.shape[0] if at.shape else 1
        last = count if last is None else last
        if not 0 <= first <= last <= count:
            raise StorageError(f"{self._path}: is damaged: {name} has no rows {first} to {last}")
        width = (at.last - at.first) // max(1, count)
        start, length = at.first + first * width, (last - first) * width
        try:
            inside = start + length <= len(self._head)
            data = self._head[start : start + length] if inside else self._file.read_at(length, start)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{self._path}: cannot be read: {error}") from error
        if len(data) != length:
            raise StorageError(f"{self._path}: is damaged: it ends within {name}")
        found: npt.NDArray[Any] = np.frombuffer(data, at.dtype)
        return found.reshape((last - first, *at.shape[1:]) if at.shape else ())


def sections(plan: Plan, step: Superstep, held: Held, sends: Sends, blocks: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a block's file."""
    numbers = plan.program.numbers
    kept = {value.id for value in step.keeps}
    arrays: dict[str, npt.NDArray[Any]] = {f"own/{numbers[id]}": held.values[id] for id in kept}
    arrays |= {f"part/{numbers[id]}": array for id, array in held.parts.items()}
    for place, shipment in enumerate(step.ships):
        lists = sends.get(shipment.edge_type, {})
        none = np.empty(0, np.int32)
        rows = [lists.get(target, none) for target in (LOOPS, *range(blocks))]
        arrays[f"ends/{place}"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        arrays[f"to/{place}"] = held.sent[shipment.edge_type][np.concatenate(rows)]
    return arrays


class Received:
    """What all blocks have made in a superstep, as one block of the next reads it."""

    def __init__(self, plan: Plan, step: Superstep | None, blocks: int, index: int, made: Callable[[int], str]) -> None:
        """`step`: the one before; None: there is none. `made`: block → its file."""
        self._plan, self._step, self._blocks, self._index, self._made = plan, step, blocks, index, made

    def held(self, block: int) -> Held:
        return self._all[block][0] if self._step else NOTHING

    def sends(self, block: int) -> Sends:
        """Which rows of `held(block).sent` the block gets: all of them, one after the other."""
        return self._all[block][1] if self._step else {}

    @cached_property
    def _all(self) -> list[tuple[Held, Sends]]:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(self._one, range(self._blocks)))

    def _one(self, block: int) -> tuple[Held, Sends]:
        assert self._step is not None, "something was made"
        numbers, file = self._plan.program.numbers, Ranges(self._made(block))
        own = [value.id for value in self._step.keeps] if block == self._index else []
        values: dict[int, FloatArray] = {id: file.array(f"own/{numbers[id]}") for id in own}
        parts = {value.id: file.array(f"part/{numbers[value.id]}") for value in self._step.totals}
        sent: dict[EdgeType, FloatArray] = {}
        sends: dict[EdgeType, Mapping[int, IntArray]] = {}
        for place, shipment in enumerate(self._step.ships):
            targets = [LOOPS, self._index] if block == self._index else [self._index]
            pieces, lists, at = [], {}, 0
            for target in targets:
                first, last = file.array(f"ends/{place}", target + 1, target + 3).tolist()
                pieces.append(file.array(f"to/{place}", first, last))
                if last > first:
                    lists[target] = np.arange(at, at + last - first, dtype=np.int32)
                at += last - first
            sent[shipment.edge_type] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
            sends[shipment.edge_type] = lists
        return Held(values, sent, parts), sends
