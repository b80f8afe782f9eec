"""Numbers of NumPy as Arrow's: as pyarrow makes them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.blocks.arrow import numbers, one_row


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64, "<i8", "<f4"])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_as_pyarrow_makes_them(dtype: np.dtype, count: int) -> None:
    vector = np.arange(3 * count).astype(dtype)
    for given in (vector, vector[::3], vector[::-1]):
        found = numbers(given)
        found.validate(full=True)
        assert found.equals(pa.array(given))
        assert found.type == pa.array(given).type


def test_what_is_no_number_is_none_and_no_null() -> None:
    found = numbers(np.array([np.nan, 1.0], np.float32))
    assert found.null_count == 0
    assert np.isnan(found[0].as_py())


def test_no_copy() -> None:
    vector = np.arange(10)
    assert numbers(vector).buffers()[1].address == vector.ctypes.data


def test_one_row() -> None:
    schema = pa.schema(
        {"a": pa.int32(), "b": pa.int64(), "c": pa.string(), "d": pa.list_(pa.float32()), "e": pa.string()}
    )
    row = {"a": 3, "b": 1 << 40, "c": "käse ⟶ x", "d": None, "e": None}
    found = one_row(row, schema)
    found.validate(full=True)
    assert found.equals(pa.RecordBatch.from_pylist([row], schema=schema))
    with pytest.raises(OverflowError):
        one_row({**row, "a": 1 << 40}, schema)
