"""Rows of a matrix, gathered into a stretch of lanes of another: how a payload is put together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit


@jit
def gather_rows(
    values: npt.NDArray[np.float32], rows: npt.NDArray[np.int32], lane: int, out: npt.NDArray[np.float32]
) -> None:
    """out[j, lane : lane + w] = values[rows[j]] for each j; values (n, w), rows (k,), out (k, W)."""
    width = values.shape[1]
    for j in range(rows.shape[0]):
        i = rows[j]
        for c in range(width):
            out[j, lane + c] = values[i, c]
