"""Which edges of a tile are pulled, where the others are pushed.

Comes in: compressed rows. Goes out: an order of edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Marks = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]


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
def pulled_first_each(
    heads: npt.NDArray[np.int32], indptr: Rows, indices: Rows, middles: Rows, order: Rows, place: Rows, counts: Rows
) -> None:
    """The same of stacked tiles (blocks/stacked.py), heads (k, 5).

    order (e,): positions among the edges of all tiles; place (c,): for each column its position in its tile, those of
    pulled edges first; counts (k,): how many these are. A tile whose source is negative is pulled as it is.
    """
    r, e, c = 0, 0, 0
    for t in range(len(heads)):
        rows, edges, columns = heads[t, 1], heads[t, 2], heads[t, 3]
        if heads[t, 0] < 0:
            for j in range(rows):
                middles[r + j] = indptr[r + t + j + 1]
            for i in range(edges):
                order[e + i] = e + i
            for i in range(columns):
                place[c + i] = i
            counts[t] = columns
        else:
            first = np.zeros(columns, np.bool_)
            ptr = indptr[r + t : r + t + rows + 1]
            pulled_first(ptr, indices[e : e + edges], first, middles[r : r + rows], order[e : e + edges])
            for i in range(edges):
                order[e + i] += e
            at = 0
            for i in range(columns):
                if first[i]:
                    place[c + i] = at
                    at += 1
            counts[t] = at
            for i in range(columns):
                if not first[i]:
                    place[c + i] = at
                    at += 1
        r, e, c = r + rows, e + edges, c + columns


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
