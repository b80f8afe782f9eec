"""Where rows of edges begin, so that a loop that takes so many edges at a time cuts each row where it did before.

Comes in: rows of a longer array of edges. Goes out: where they begin in a shorter one. Between two of them there may be
a few edges of nobody's, which the caller fills.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Positions = npt.NDArray[np.int32]


@jit
def begin_rows(starts: Positions, ends: Positions, piece: int, begins: Positions) -> int:
    """Row j, the edges starts[j] .. ends[j], gets a begin in `begins`; returns where the last one ends.

    A row that lies across multiples of `piece` is cut by them. It begins as far from the next multiple as it did; the
    others, which lie within a piece, fill what is between, and are not cut. Rows may change their order.
    """
    rows = len(starts)
    at = 0
    whole = 0  # the next row that may be one that is not cut
    cut = 0
    while True:
        while cut < rows and ends[cut] <= (starts[cut] // piece + 1) * piece:
            cut += 1
        while whole < rows and ends[whole] > (starts[whole] // piece + 1) * piece:
            whole += 1
        if whole == rows and cut == rows:
            return at
        left = piece - at % piece  # of this piece
        if cut < rows:
            room = (starts[cut] - at) % piece
            if whole < rows and ends[whole] - starts[whole] <= min(room, left):
                begins[whole] = at
                at += ends[whole] - starts[whole]
                whole += 1
            elif whole < rows and room > left:
                at += left
            else:
                begins[cut] = at + room
                at += room + ends[cut] - starts[cut]
                cut += 1
        else:
            edges = ends[whole] - starts[whole]
            begins[whole] = at if edges <= left else at + left
            at = begins[whole] + edges
            whole += 1
