"""Which nodes go into one block together: those of one community, as a column of the user's says.

Comes in: the key and the community of each node, the block of each community. Goes out: the block of any key. Knows
nothing of tables. Tasks find the keys in files, which they map into memory: workers of one machine share them.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.block import IntArray, LongArray
from pipeline.blocks.storage import reached
from pipeline.kernels.hash import fill_table, find
from pipeline.kernels.jit import read_only

NODE_BYTES = 8 + 4 + 16  # of a key, its community, and at most four places of a table that is a quarter full


class Members(NamedTuple):
    """Of the nodes of a type, which community each of them is of."""

    keys: LongArray
    """(n,) int64, distinct."""
    communities: IntArray
    """(n,) int32."""
    table: IntArray
    """Of kernels/hash.py: where a key is among `keys`."""

    @staticmethod
    def of(keys: LongArray, communities: IntArray) -> Members:
        table = np.full(2 << max(len(keys) - 1, 0).bit_length(), -1, np.int32)
        fill_table(read_only(keys), table)
        return Members(keys, communities, table)

    def positions(self, wanted: LongArray) -> IntArray:
        """(len(wanted),) int32: where each key is among `keys`, -1 of those that are no nodes."""
        found = np.empty(len(wanted), np.int32)
        find(read_only(wanted), read_only(self.keys), read_only(self.table), found)
        return found


@dataclass(frozen=True, eq=False)
class ByCommunity:
    """The communities of all nodes, and their blocks."""

    blocks: IntArray
    """(c,) int32: the block of each community."""
    members: Mapping[str, Members]
    """Node type → its nodes. Empty in what goes to tasks: they open `folder`."""
    folder: str | None = None
    types: tuple[str, ...] = ()
    """Of the files in the folder, in their order."""

    def of(self, type: str) -> Members:
        if self.folder is None:
            return self.members[type]
        return _opened(self.folder)(self.types.index(type))

    def communities(self, type: str, keys: LongArray) -> IntArray:
        """(n,) int32: the community of each node; -1 of keys that are no nodes."""
        members = self.of(type)
        at = members.positions(keys)
        found = np.full(len(keys), -1, np.int32)
        found[at >= 0] = members.communities[at[at >= 0]]
        return found

    def place(self, type: str, keys: LongArray, otherwise: IntArray) -> IntArray:
        """(n,) int32: the block of each node; of keys that are no nodes, `otherwise`."""
        if not len(self.blocks):
            return otherwise
        community = self.communities(type, keys)
        return np.where(community < 0, otherwise, self.blocks[community]).astype(np.int32, copy=False)

    def written(self, folder: str) -> ByCommunity:
        """The same for tasks, which see the folder. The files are there as long as the graph is being prepared: their
        names begin with a dot. OSError if they cannot be written."""
        place = reached(folder)
        for number, members in enumerate(self.members.values()):
            columns = [pa.array([array.tobytes()], pa.large_binary()) for array in members]
            batch = pa.RecordBatch.from_arrays(columns, list(Members._fields))
            with (
                place.filesystem.open_output_stream(_path(place.path, number), compression=None) as stream,
                pa.ipc.new_file(stream, batch.schema) as writer,
            ):
                writer.write_batch(batch)
        return replace(self, members={}, folder=folder, types=tuple(self.members))


def _path(folder: str, number: int) -> str:
    return f"{folder}/.communities-{number}"


@functools.lru_cache(maxsize=1)
def _opened(folder: str) -> functools._lru_cache_wrapper[Members]:
    """The files of the folder that was asked for last; a worker may live longer than a prepare."""
    place = reached(folder)

    @functools.cache
    def members(number: int) -> Members:
        path = _path(place.path, number)
        source = pa.memory_map(path) if place.is_local else place.filesystem.open_input_file(path)
        batch = pa.ipc.open_file(source).get_batch(0)
        types: tuple[npt.DTypeLike, ...] = (np.int64, np.int32, np.int32)
        arrays = [
            np.frombuffer(column.buffers()[2] or b"", dtype) for column, dtype in zip(batch.columns, types, strict=True)
        ]
        return Members(*arrays)

    return members


def packed(weights: LongArray, blocks: int) -> IntArray:
    """(c,) int32: the block of each community. The heaviest first, each into the block that has least: no block then
    has more than 4/3 of what is possible (LPT; Graham 1969, Bounds on multiprocessing timing anomalies). Of what is
    equal the first comes first, so that the same weights give the same blocks."""
    found = np.empty(len(weights), np.int32)
    loads = [(0, block) for block in range(blocks)]
    for community in np.argsort(-weights, kind="stable").tolist():
        load, block = loads[0]
        found[community] = block
        heapq.heapreplace(loads, (load + int(weights[community]), block))
    return found
