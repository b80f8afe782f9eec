"""Arrays that wait on disk are the same arrays, and leave nothing there."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StorageError
from pipeline.run.spill import spill_to


@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 2, 3), (0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_the_same_array(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    array = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    waiting = spill_to(str(tmp_path / "made"))(array)
    assert (waiting.dtype, waiting.shape) == (array.dtype, array.shape)
    assert waiting.tolist() == array.tolist()


def test_what_is_written_is_there_in_c_order(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    waiting = spill_to(str(tmp_path))(array)
    assert waiting.tolist() == array.tolist()
    assert waiting.flags.c_contiguous


def test_it_is_read_only_and_nameless(tmp_path: Path) -> None:
    waiting = spill_to(str(tmp_path))(np.ones(1 << 20, np.float32))
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match="read-only"):
        waiting[0] = 2
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert mapped, "it is in a file"
    del waiting
    gc.collect()
    assert not [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        spill_to(str(tmp_path / "file" / "inside"))(np.ones(3))
