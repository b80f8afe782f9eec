"""Rows of a matrix, gathered into a stretch of lanes of another: how a payload is put together. And added to others."""

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
        # an index that the compiler cannot see to be positive keeps it from copying with vectors: 0.4 of the time
        row, part = values[np.uint32(rows[j])], out[j][lane : lane + width]
        for c in range(width):
            part[c] = row[c]


@jit
def add_rows(values: npt.NDArray[np.float32], rows: npt.NDArray[np.int32], out: npt.NDArray[np.float32]) -> None:
    """out[rows[j]] += values[j] for each j; values (k, w), rows (k,), out (n, w)."""
    for j in range(rows.shape[0]):
        row, sum = values[j], out[np.uint32(rows[j])]
        for c in range(values.shape[1]):
            sum[c] += row[c]


@jit
def weigh_rows(
    values: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int32],
    kept: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """out[rows[j]] = out[rows[j]] * kept[j] + values[j] * weights[j] for each j; kept, weights (k, heads), values and
    out with the lanes of each head, then one number for each, and as many that stay as they are."""
    heads = kept.shape[1]
    lanes = values.shape[1] // heads - 2
    for j in range(rows.shape[0]):
        row, sum = values[j], out[np.uint32(rows[j])]
        for h in range(heads):
            of_sum, of_row = kept[j, h], weights[j, h]
            for c in range(h * lanes, (h + 1) * lanes):
                sum[c] = sum[c] * of_sum + row[c] * of_row
            one = heads * lanes + h
            sum[one] = sum[one] * of_sum + row[one] * of_row
