"""Which edges of a tile are pulled, where the others are pushed.

Comes in: compressed rows. Goes out: an order of edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Marks = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]


@jit
def pulled_first(indptr: Rows, indices: Rows, first: Marks, middles: Rows, order: Rows) -> None:
    """Which edges are pulled: those whose column has at least as many edges as their row.

    Compressed rows: indptr (r + 1,), indices (e,). first[c], (indices,), comes as False: whether an edge of c is
    pulled. order (e,): the edges of each row, pulled ones first; middles (r,): where these end.
    """
    degree = np.zeros(len(first), np.int32)
    for c in indices:
        degree[c] += 1
    for j in range(len(indptr) - 1):
        edges = indptr[j + 1] - indptr[j]
        at = indptr[j]
        for e in range(indptr[j], indptr[j + 1]):
            if degree[indices[e]] >= edges:
                first[indices[e]] = True
                order[at] = e
                at += 1
        middles[j] = at
        for e in range(indptr[j], indptr[j + 1]):
            if degree[indices[e]] < edges:
                order[at] = e
                at += 1


@jit
def cut_each(
    heads: npt.NDArray[np.int32],
    indptr: Rows,
    indices: Rows,
    wanted: Keys,
    middles: Rows,
    order: Rows,
    columns: Rows,
    keys: Keys,
    counts: Rows,
    pushed_rows: npt.NDArray[np.int64],
    degrees: Rows,
    pushed: Rows,
) -> tuple[int, int]:
    """The same of stacked tiles (blocks/stacked.py), heads (k, 5): each gets its columns and edges in a new order.
    wanted: the keys of all columns, but those of a tile whose source is negative; it comes first, and is pulled as it
    is.

    order (e,): positions among the edges of all tiles; columns (e,): of these edges, the column in its tile, those of
    pulled edges first; keys: of the columns; counts (k,): how many columns are of pulled edges. pushed_rows (k,): rows
    with other edges; degrees: how many each such row has; pushed: which of the new edges they are. Returns how many
    rows and edges these are.
    """
    r, e, c, at_row, at_edge = 0, 0, 0, 0, 0
    loops = heads[0, 3] if len(heads) > 0 and heads[0, 0] < 0 else 0
    for t in range(len(heads)):
        rows, edges, senders = heads[t, 1], heads[t, 2], heads[t, 3]
        before = at_row
        if heads[t, 0] < 0:
            for j in range(rows):
                middles[r + j] = indptr[r + t + j + 1]
            for i in range(e, e + edges):
                order[i] = i
                columns[i] = indices[i]
            counts[t] = senders
        else:
            first = np.zeros(senders, np.bool_)
            place = np.empty(senders, np.int32)
            ptr = indptr[r + t : r + t + rows + 1]
            pulled_first(ptr, indices[e : e + edges], first, middles[r : r + rows], order[e : e + edges])
            at = 0
            for i in range(senders):
                if first[i]:
                    place[i] = at
                    at += 1
            counts[t] = at
            for i in range(senders):
                if not first[i]:
                    place[i] = at
                    at += 1
                keys[c - loops + place[i]] = wanted[c - loops + i]
            for i in range(e, e + edges):
                order[i] += e
                columns[i] = place[indices[order[i]]]
            for j in range(rows):
                low, high = middles[r + j], ptr[j + 1]
                if low < high:
                    degrees[at_row] = high - low
                    at_row += 1
                    for i in range(e + low, e + high):
                        pushed[at_edge] = i
                        at_edge += 1
        pushed_rows[t] = at_row - before
        r, e, c = r + rows, e + edges, c + senders
    return at_row, at_edge


@jit
def list_ranges(starts: Rows, ends: Rows, out: Rows) -> None:
    """All numbers of the ranges starts[j] .. ends[j], one after another."""
    at = 0
    for j in range(len(starts)):
        for e in range(starts[j], ends[j]):
            out[at] = e
            at += 1


@jit
def put_together(
    heads: npt.NDArray[np.int32],
    tile_rows: Rows,
    indptr: Rows,
    indices: Rows,
    middles: Rows,
    bases: npt.NDArray[np.int64],
    pulled: bool,
    pushed: bool,
    row_ends: npt.NDArray[np.int64],
    rows: Rows,
    ends: Rows,
    edges: Rows,
    columns: Rows,
) -> int:
    """The pulled edges, the others, or both, of stacked tiles (blocks/stacked.py), heads (k, 5), as one tile whose rows
    follow one another tile by tile; a row without such an edge is left out.

    row_ends (k + 1,): tile t has the rows row_ends[t] .. row_ends[t + 1] of `rows`; ends (r + 1,): of these in `edges`,
    which are positions among all edges, and in `columns`, each more by its tile's bases[t]. Returns the first tile of
    which a column does not lie below bases[t + 1], else -1.
    """
    wrong = -1
    row, edge, middle = 0, 0, 0
    at, count = 0, 0
    row_ends[0], ends[0] = 0, 0
    for t in range(len(heads)):
        for j in range(heads[t, 1]):
            low, high = indptr[row + t + j], indptr[row + t + j + 1]
            if heads[t, 4]:
                between = middles[middle + j]
                if not pulled:
                    low = between
                if not pushed:
                    high = between
            elif not pulled:
                low = high
            if low == high:
                continue
            for e in range(edge + low, edge + high):
                edges[count] = e
                column = bases[t] + indices[e]
                columns[count] = column
                if column >= bases[t + 1] and wrong < 0:
                    wrong = t
                count += 1
            rows[at] = tile_rows[row + j]
            at += 1
            ends[at] = count
        row_ends[t + 1] = at
        row += heads[t, 1]
        edge += heads[t, 2]
        if heads[t, 4]:
            middle += heads[t, 1]
    return wrong
