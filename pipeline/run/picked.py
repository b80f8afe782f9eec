"""Some nodes of a block, as the nodes of a smaller block: where each of them goes, and what tiles become of it.

Comes in: which nodes are needed. Goes out: their places, and the edges of a tile that lead into them. Bits stay what
they are in the whole block: each sum has the same numbers in the same order; and node values, which are computed in
chunks of ROW_CHUNK rows because BLAS may sum another way for another number of rows, are computed for every node at the
same place of a chunk of the same length. So node r of a full chunk goes to a place that is r modulo ROW_CHUNK, and what
is left at the end of a block, a chunk that is shorter, is there as a whole or not at all. Places that nobody needs hold
a copy of a node that somebody does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import IntArray, Tile
from pipeline.kernels.jit import read_only
from pipeline.kernels.pieces import begin_rows
from pipeline.kernels.pulled import list_ranges
from pipeline.run.branch_rows import BranchRows
from pipeline.run.node_values import ROW_CHUNK

Marks = npt.NDArray[np.bool_]
"""(n,): which nodes of a block."""


@dataclass(frozen=True)
class Picked:
    """The nodes of one type that a block is cut down to."""

    rows: IntArray
    """(m,) int32: the node, by its local index in the whole block, of each place."""
    places: IntArray
    """(n,) int32: the place of each node; -1 for those that have none."""
    spare: int
    """A place that nobody needs; -1 if all nodes of the block are needed, or none."""


def pick(needed: Marks) -> Picked:
    """Places for the nodes that are needed; none if none is."""
    nodes = np.flatnonzero(needed).astype(np.int32)
    short = len(needed) - len(needed) % ROW_CHUNK  # where the shorter chunk begins
    full, rest = nodes[nodes < short], nodes[nodes >= short]
    full = full[np.argsort(full % ROW_CHUNK, kind="stable")]
    within = full % ROW_CHUNK
    chunk = np.arange(len(full)) - np.searchsorted(within, within)  # one after another, of those with the same place
    place = (chunk * ROW_CHUNK + within).astype(np.int32)
    size = (int(chunk.max()) + 1) * ROW_CHUNK if len(full) else 0
    tail = np.arange(short if len(rest) else len(needed), len(needed), dtype=np.int32)
    if size == len(full) and len(rest) == len(tail) and 0 < len(nodes) < len(needed):
        size += ROW_CHUNK  # else there would be no spare place
    rows = np.concatenate([np.full(size, nodes[0] if len(nodes) else 0, np.int32), tail])
    rows[place] = full
    places = np.full(len(needed), -1, np.int32)
    places[full] = place
    places[tail] = np.arange(size, size + len(tail), dtype=np.int32)
    free = np.ones(len(rows), np.bool_)
    free[places[nodes]] = False
    return Picked(rows, places, int(free.argmax()) if free.any() else -1)


def pick_of_branch(whole: IntArray, needed: Marks, picked: Picked) -> BranchRows:
    """The rows that a branch is computed for, of those that it has in the whole block: of the nodes `whole`, ascending.
    `picked`: the nodes that are `needed`."""
    wanted = needed[whole]
    own = pick(wanted)
    rows = np.sort(own.places[wanted])
    nodes = np.full(len(own.rows), picked.places[whole[wanted][0]] if len(rows) else 0, np.int32)
    nodes[rows] = picked.places[whole[own.rows[rows]]]
    return BranchRows(nodes, rows)


def into(
    tile: Tile, needed: Marks, picked: Picked, names: Iterable[str], piece: int | None
) -> tuple[Tile, IntArray] | None:
    """The edges of a tile into the nodes that are needed, their rows by place, with some of the edges' values; and
    which rows of the payload they read, each once: column c of the new tile is that of the c-th. None if there are no
    such edges.

    `piece`: the loop takes so many edges of a tile at a time; None: row by row. Where it does, rows have to be cut
    where they were, which takes edges of nobody's between some of them: these lead to the spare place.
    """
    chosen = np.flatnonzero(needed[tile.rows])
    if not len(chosen):
        return None
    rows, starts, ends = picked.places[tile.rows[chosen]], tile.indptr[chosen], tile.indptr[chosen + 1]
    pulled = ends if tile.middles is None else tile.middles[chosen]
    edges = _listed(starts, ends)
    until = np.cumsum(ends - starts).astype(np.int32)  # where each row ends in the new tile
    if piece is not None and len(chosen) < len(tile.rows):  # else all rows are where they were
        begins = np.empty(len(chosen), np.int32)
        size = begin_rows(read_only(starts), read_only(ends), piece, begins)
        at = _listed(begins, begins + (ends - starts))
        edges, found = np.full(size, starts[0], np.int32), edges
        edges[at] = found
        order = np.argsort(begins)
        starts, ends, pulled, rows, begins = (each[order] for each in (starts, ends, pulled, rows, begins))
        # before each row what is between it and the one before, as a row of nobody's, if there is anything
        until = np.stack([begins, begins + (ends - starts)], axis=1).reshape(-1)
        rows = np.stack([np.full(len(rows), picked.spare, np.int32), rows], axis=1).reshape(-1)
        starts, ends, pulled = (np.repeat(each, 2) for each in (starts, ends, pulled))
        pulled[::2] = ends[::2]
        some = np.diff(until, prepend=0) > 0
        until, rows, ends, pulled = until[some], rows[some], ends[some], pulled[some]
    columns = tile.indices.take(edges)
    read = np.zeros(max(tile.senders, int(columns.max()) + 1), np.bool_)
    read[columns] = True
    sent = np.flatnonzero(read).astype(np.int32)
    numbers = np.empty(len(read), np.int32)
    numbers[sent] = np.arange(len(sent), dtype=np.int32)
    indptr = np.concatenate([np.zeros(1, np.int32), until])
    middles = None if tile.middles is None else until - (ends - pulled)
    values = {name: tile.values[name].take(edges, axis=0) for name in names}
    return Tile(rows, indptr, numbers.take(columns), values, len(sent), middles), sent


def _listed(starts: IntArray, ends: IntArray) -> IntArray:
    """All numbers of the ranges, one after another."""
    found = np.empty(int((ends - starts).sum()), np.int32)
    list_ranges(read_only(starts), read_only(ends), found)
    return found
