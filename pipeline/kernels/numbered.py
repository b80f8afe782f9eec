"""Edges sorted by the number that each has: a counting sort, since there are few numbers.

Comes in: the edges of a tile by row, their numbers, the numbers asked for. Goes out: the same edges, those of a number
together and in their order, by row again; into arrays that the caller made. 2^18 edges of 2,000 numbers take 4.6 ms
where NumPy's sort and what it takes to find the rows took 36.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


@jit
def find_numbers(found: Floats, wanted: Floats, table: Integers, codes: Integers) -> None:
    """codes[i]: where found[i] is in `wanted`, ascending; -1 if it is not. `table`: of whole numbers, of each from
    wanted[0] on its place or -1; empty: they are searched."""
    for i in range(len(found)):
        codes[i] = -1
        if len(table):
            place = found[i] - wanted[0]  # rounded: 60000 for 1e-6 and -60000
            code = table[np.int64(place)] if 0 <= place < len(table) else -1
            if code >= 0 and wanted[code] == found[i]:
                codes[i] = code
        else:
            low, high = 0, len(wanted)
            while low < high:
                middle = (low + high) // 2
                if wanted[middle] < found[i]:
                    low = middle + 1
                else:
                    high = middle
            if low < len(wanted) and wanted[low] == found[i]:
                codes[i] = low


@jit
def sort_edges(
    rows: Integers,
    indptr: Integers,
    indices: Integers,
    codes: Integers,
    bounds: npt.NDArray[np.int64],
    out_rows: Integers,
    out_ends: Integers,
    out_indices: Integers,
    out_edges: Integers,
) -> int:
    """Edges of codes 0, 1, … one after another; how many there are. A row of a code is one of out_rows, from
    out_ends[j] to out_ends[j + 1]; those of code k are bounds[k] .. bounds[k + 1]. out_edges: which edge each was."""
    free = np.zeros(len(bounds), np.int64)
    for e in range(indptr[0], indptr[len(rows)]):
        if codes[e] >= 0:
            free[codes[e] + 1] += 1
    for k in range(1, len(bounds)):
        free[k] += free[k - 1]
    begins = free.copy()
    row_of = np.empty(begins[len(bounds) - 1], np.int32)
    for j in range(len(rows)):
        for e in range(indptr[j], indptr[j + 1]):
            if codes[e] >= 0:
                at = free[codes[e]]
                free[codes[e]] = at + 1
                row_of[at] = rows[j]
                out_indices[at] = indices[e]
                out_edges[at] = e
    used = 0
    for k in range(len(bounds) - 1):
        bounds[k] = used
        for at in range(begins[k], begins[k + 1]):
            if at == begins[k] or row_of[at] != row_of[at - 1]:
                out_rows[used] = row_of[at]
                out_ends[used] = at
                used += 1
    bounds[len(bounds) - 1] = used
    out_ends[used] = len(row_of)
    return len(row_of)
