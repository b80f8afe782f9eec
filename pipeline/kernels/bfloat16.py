"""float32 as the nearest bfloat16, the upper half of its bits: which NumPy has no type for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit


@jit
def to_bfloat16(bits: npt.NDArray[np.uint32], out: npt.NDArray[np.uint16]) -> None:
    """Bits of float32 (n,) → bits of bfloat16, ties to even; any NaN becomes one NaN."""
    for i in range(len(bits)):
        word = bits[i]
        if word & np.uint32(0x7FFFFFFF) > np.uint32(0x7F800000):
            out[i] = np.uint16(0x7FC0)
        else:
            even = (word >> np.uint32(16)) & np.uint32(1)
            out[i] = np.uint16((word + np.uint32(0x7FFF) + even) >> np.uint32(16))


@jit
def from_bfloat16(halves: npt.NDArray[np.uint16], out: npt.NDArray[np.uint32]) -> None:
    """The same number as float32, exactly."""
    for i in range(len(halves)):
        out[i] = np.uint32(halves[i]) << np.uint32(16)
