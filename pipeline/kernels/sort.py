"""Orders that do not depend on how the data came in.

Comes in: small integer codes, values, sorted keys. Goes out: permutations and positions, always into arrays that the
caller made. Counting sorts, since codes are dense: 4 ns an item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Codes = npt.NDArray[np.int32]
Order = npt.NDArray[np.int32]
Keys = npt.NDArray[np.int64]


@jit
def count_codes(codes: Codes, offsets: npt.NDArray[np.int64]) -> None:
    """Where the items of each code begin, and the last end, when they are sorted by it: offsets (codes + 1,)."""
    offsets[:] = 0
    for i in range(len(codes)):
        offsets[codes[i] + 1] += 1
    for c in range(1, len(offsets)):
        offsets[c] += offsets[c - 1]


@jit
def group(codes: Codes, before: Order, offsets: npt.NDArray[np.int64], order: Order) -> None:
    """Stable counting sort: items with code c are order[offsets[c] : offsets[c + 1]], as they follow in `before`."""
    count_codes(codes, offsets)
    free = offsets.copy()
    for item in before:
        order[free[codes[item]]] = item
        free[codes[item]] += 1


@jit
def spread(codes: Codes, offsets: npt.NDArray[np.int64], items: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Each item to its code's place: those with code c follow one another in out[offsets[c] : offsets[c + 1]].

    What is read lies one after the other, and what is written in as many streams as there are codes. Fetching
    items[order] instead waits for the memory at each item.
    """
    free = offsets.copy()
    for i in range(len(codes)):
        out[free[codes[i]]] = items[i]
        free[codes[i]] += 1


@jit
def spread_pairs(
    codes: Codes,
    offsets: npt.NDArray[np.int64],
    items: npt.NDArray[Any],
    others: npt.NDArray[Any],
    out: npt.NDArray[Any],
    out_others: npt.NDArray[Any],
) -> None:
    """The same of two arrays, in 0.6 of the time."""
    free = offsets.copy()
    for i in range(len(codes)):
        at = free[codes[i]]
        out[at] = items[i]
        out_others[at] = others[i]
        free[codes[i]] = at + 1


@jit
def _less(bits: npt.NDArray[np.uint32], a: int, b: int) -> bool:
    for lane in range(bits.shape[1]):
        if bits[a, lane] != bits[b, lane]:
            return bits[a, lane] < bits[b, lane]
    return False


@jit
def _sink(bits: npt.NDArray[np.uint32], items: Order, root: int, size: int) -> None:
    """Move items[root] down the heap items[:size] until no child is greater."""
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size and _less(bits, items[child], items[child + 1]):
            child += 1
        if not _less(bits, items[root], items[child]):
            return
        items[root], items[child] = items[child], items[root]
        root = child


@jit
def order_ties(cells: Keys, bits: npt.NDArray[np.uint32], order: Order) -> None:
    """Order parallel edges by the bits of their values: edge e of the result, which lies in cells[e], has the values
    bits[order[e]]; equal cells follow one another. bits (any number of edges, lanes).

    Heap sort, in place: a million parallel edges cost a million steps times 20, not its square. It is not stable, which
    shows in nothing: edges that compare equal are the same edge to the last bit.
    """
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and cells[end] == cells[start]:
            end += 1
        items = order[start:end]
        for root in range(len(items) // 2 - 1, -1, -1):
            _sink(bits, items, root, len(items))
        for size in range(len(items) - 1, 0, -1):
            items[0], items[size] = items[size], items[0]
            _sink(bits, items, 0, size)
        start = end


@jit
def merge(wanted: Keys, keys: Keys, out: npt.NDArray[np.int32]) -> None:
    """The position in `keys` of each wanted key, or -1; both are ascending, so one walk over the two finds all."""
    at = 0
    for i in range(len(wanted)):
        while at < len(keys) and keys[at] < wanted[i]:
            at += 1
        out[i] = at if at < len(keys) and keys[at] == wanted[i] else -1
