"""The edges of several relations as one tile for each source block: their rows one relation behind another.

Comes in: stacked tiles, or edges sorted by a number. Goes out: where the rows of each relation are, and its edges by
these rows. One call for all tiles of a relation, or for all relations: with 2,000 of them a tile has 130 edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


@jit
def join_tiles(
    base: int,
    pushes: bool,
    heads: Ints,
    tile_rows: Ints,
    indptr: Ints,
    indices: Ints,
    middles: Ints,
    slots: Longs,
    sent: Ints,
    sent_ends: Longs,
    places: Ints,
    starts: Longs,
    used: Longs,
    rows: Ints,
    ends: Ints,
    columns: Ints,
    rest_rows: Ints,
    rest_ends: Ints,
    rest_columns: Ints,
) -> int:
    """Adds stacked tiles, heads (k, 5), to what is there already: tile t to slot slots[t].

    Row r becomes base + places[r], column c of tile t sent[sent_ends[t] + c]. starts (2, S): where the rows and edges
    of a slot begin; ends has one number more than rows for each slot. used (4, S): rows and edges that are in a slot,
    and those of the edges that are not pulled, which go to rest_rows, … if `pushes`. Returns the first tile of which a
    column is not in its part of `sent`, else -1.
    """
    row, edge, middle = 0, 0, 0
    for t in range(len(heads)):
        slot = slots[t]
        row_start, edge_start = starts[0, slot], starts[1, slot]
        end_start = row_start + slot
        r, e, q, f = used[0, slot], used[1, slot], used[2, slot], used[3, slot]
        first, count = sent_ends[t], sent_ends[t + 1] - sent_ends[t]
        split = pushes and heads[t, 4] > 0
        for j in range(heads[t, 1]):
            low, high = edge + indptr[row + t + j], edge + indptr[row + t + j + 1]
            between = edge + middles[middle + j] if split else high
            place = base + places[tile_rows[row + j]]
            if between > low:
                for i in range(low, between):
                    column = indices[i]
                    if column >= count:
                        return t
                    columns[edge_start + e] = sent[first + column]
                    e += 1
                rows[row_start + r] = place
                r += 1
                ends[end_start + r] = e
            if high > between:
                for i in range(between, high):
                    column = indices[i]
                    if column >= count:
                        return t
                    rest_columns[edge_start + f] = sent[first + column]
                    f += 1
                rest_rows[row_start + q] = place
                q += 1
                rest_ends[end_start + q] = f
        used[0, slot], used[1, slot], used[2, slot], used[3, slot] = r, e, q, f
        row += heads[t, 1]
        edge += heads[t, 2]
        if heads[t, 4] > 0:
            middle += heads[t, 1]
    return -1


@jit
def number_rows(
    bounds: Longs,
    tile_rows: Ints,
    most: float,
    marks: npt.NDArray[np.bool_],
    words: npt.NDArray[np.uint64],
    place: Ints,
    rows: Ints,
    ends: Longs,
    whole: npt.NDArray[np.bool_],
    places: Ints,
) -> None:
    """The rows of many relations, each of which has the rows bounds[k, s] .. bounds[k, s + 1] of source s.

    bounds (k, 2 * S): begin and end for each source. marks (n,), False, words, the same 8 by 8, and place (n,) are for
    use here. Of relation k the nodes with an edge, ascending, are rows[ends[k] : ends[k + 1]], and whole[k] whether
    they are more than `most`, in which case there are none of them, since a row is a node; places: of each of tile_rows
    its row.
    """
    at = 0
    ends[0] = 0
    for k in range(len(bounds)):
        first = at
        low, high = len(words), 0
        for s in range(0, bounds.shape[1], 2):
            for j in range(bounds[k, s], bounds[k, s + 1]):
                marks[tile_rows[j]] = True
            if bounds[k, s] < bounds[k, s + 1]:  # ascending
                low = min(low, tile_rows[bounds[k, s]] // 8)
                high = max(high, tile_rows[bounds[k, s + 1] - 1] // 8 + 1)
        for w in range(low, high):
            if words[w] != 0:
                for i in range(8 * w, 8 * w + 8):
                    if marks[i]:
                        marks[i] = False
                        place[i] = at - first
                        rows[at] = i
                        at += 1
        whole[k] = at - first > most
        for s in range(0, bounds.shape[1], 2):
            for j in range(bounds[k, s], bounds[k, s + 1]):
                places[j] = tile_rows[j] if whole[k] else place[tile_rows[j]]
        if whole[k]:
            at = first
        ends[k + 1] = at
