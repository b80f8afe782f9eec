"""A total over all nodes: each block's part of it, and the parts merged.

Comes in: rows of a block, chunk by chunk; then the parts of all blocks. Goes out: one row. Parts are float64: a float32
sum of a billion rows would lose half its digits, and a part is one row. The order is fixed: the rows of a chunk, chunk
after chunk, block after block, so the bits depend on the number of blocks alone. Knows nothing of plans and of Spark.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import FloatArray
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value

TotalArray = npt.NDArray[np.float64]
"""(1, *shape) float64"""


class Total:
    """A block's part of a total, while its rows are being added."""

    def __init__(self, value: Value):
        record = TOTALS[value.op]
        self._merge = record.merge
        self.part: TotalArray = np.full((1, *value.shape), record.start)

    def add(self, *rows: FloatArray) -> None:
        """The next rows, (k, *shape) of each input."""
        # contiguous, because NumPy may add another way along other strides; a chunk of 64 lanes is 2 MB
        first, *others = (np.ascontiguousarray(array, np.float64) for array in rows)
        if others:  # outer products, summed by a matrix product: (…, m, k) @ (…, k, d)
            total = (np.moveaxis(first, 0, -1) @ np.moveaxis(others[0], 0, -2))[None]
        else:
            total = self._merge.reduce(first, axis=0, keepdims=True)
        self._merge(self.part, total, out=self.part)


def merged(value: Value, parts: Sequence[TotalArray]) -> FloatArray:
    """The total, (1, *shape) float32, of all blocks' parts in their order."""
    merge = TOTALS[value.op].merge
    total = parts[0]
    for part in parts[1:]:
        total = merge(total, part)
    return total.astype(np.float32)
