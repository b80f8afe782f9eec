"""Arrays that wait on disk: for node values that memory has no room for until the next superstep reads them.

Comes in: an array. Goes out: the same array, read-only, in a mapped file without a name: its disk space is free again
when the array is let go, however the process ends. Knows nothing of what the array holds.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import unwritable

Keep = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def spill_to(directory: str) -> Keep:
    """What puts arrays on the disk of a directory, which is made."""
    return partial(_spill, directory)


def _spill(directory: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not array.nbytes:
        return array
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            np.ascontiguousarray(array).tofile(file)
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise unwritable(directory, error) from error
    return np.frombuffer(mapped, array.dtype).reshape(array.shape)
