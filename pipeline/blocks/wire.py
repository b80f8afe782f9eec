"""The number format of what blocks send to each other: float32, or two bytes for half of the traffic.

Comes in: float32 arrays. Goes out: arrays to send, and float32 again. All arithmetic is float32; only what crosses is
rounded, in every tier alike: the fused tier sends nothing and rounds the same, so that the bits agree.

    float16    11 significant bits (5e-4 of a number), up to 65504: a larger number is an error, not infinity
    bfloat16   8 significant bits (4e-3 of a number), up to 3e38
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import FloatArray
from pipeline.errors import DataError
from pipeline.kernels.bfloat16 import from_bfloat16, to_bfloat16
from pipeline.kernels.jit import read_only


def number_bytes(wire: str) -> int:
    """Bytes of a number that is sent."""
    return 4 if wire == "float32" else 2


def encode(array: FloatArray, wire: str) -> npt.NDArray[Any]:
    """What is sent: float32, float16, or the bits of bfloat16 as uint16; of the same shape.

    Raises
    ------
    DataError
        If a finite number has no finite neighbour in the format.
    """
    if wire == "float32":
        return array
    sent: npt.NDArray[Any]
    if wire == "float16":
        with np.errstate(over="ignore"):
            sent = array.astype(np.float16)
        infinite = np.isinf(sent)
    else:
        sent = np.empty(array.shape, np.uint16)
        to_bfloat16(read_only(np.ascontiguousarray(array).reshape(-1).view(np.uint32)), sent.reshape(-1))
        infinite = (sent & 0x7FFF) == 0x7F80
    if infinite.any() and not np.isinf(array[infinite]).all():
        largest = float(np.abs(array[infinite & np.isfinite(array)]).max())
        other = "bfloat16 or float32" if wire == "float16" else "float32"
        raise DataError(f"a value of {largest:.4g} is too large for the wire {wire}; take {other}")
    return sent


def decode(sent: npt.NDArray[Any]) -> FloatArray:
    """What has arrived, as float32."""
    if sent.dtype == np.float32:
        return sent
    if sent.dtype == np.float16:
        return sent.astype(np.float32)
    out = np.empty(sent.shape, np.float32)
    from_bfloat16(read_only(np.ascontiguousarray(sent).reshape(-1)), out.reshape(-1).view(np.uint32))
    return out


def rounded(array: FloatArray, wire: str) -> FloatArray:
    """What arrives of an array that is sent."""
    return decode(encode(array, wire))
