"""NumPy's numbers as Arrow's, without pandas.

Comes in: a vector of numbers; or one row. Goes out: the same memory as an Arrow array; or a batch. pyarrow's own ways
first ask pandas whether it is one of its columns, and import it where it is installed: a third of a second of each
process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def numbers(vector: npt.NDArray[Any]) -> pa.Array:
    """(n,) of any type of number → n numbers, none of them null. A vector that is not contiguous is copied."""
    held = np.ascontiguousarray(vector)
    assert held.dtype.kind in "iuf", "Arrow keeps truth values as bits"
    return pa.Array.from_buffers(pa.from_numpy_dtype(held.dtype), len(held), [None, pa.py_buffer(held)])


def one_row(row: Mapping[str, int | str | None], schema: pa.Schema) -> pa.RecordBatch:
    """A batch of one row of whole numbers and texts; None is null."""
    return pa.RecordBatch.from_arrays([_one(row[field.name], field.type) for field in schema], schema=schema)


def _one(item: int | str | None, type: pa.DataType) -> pa.Array:
    if item is None:
        return pa.nulls(1, type)
    if isinstance(item, str):
        text = item.encode()
        return pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(text)], np.int32)), pa.py_buffer(text))
    return numbers(np.array([item], type.to_pandas_dtype()))
