"""Arrays in a file that is mapped: the same arrays, and whatever is damaged is an error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pipeline.errors import StorageError
from pipeline.run.mapped import check_file, read_arrays, write_arrays

ARRAYS = {
    "own/3": np.arange(21, dtype=np.float32).reshape(7, 3),
    "odd": np.array([5], np.int32),
    "part/2": np.array([[1.5, -2.0]]),
    "nothing": np.empty((0, 4), np.float32),
    "ends": np.array([1, 1 << 40], np.int64),
    "none of them": np.empty(0, np.int32),
    "not in order": np.arange(12, dtype=np.float32).reshape(3, 4).T,
}


@pytest.mark.parametrize("checksum", [False, True])
def test_the_same_arrays_come_back(tmp_path: Path, checksum: bool) -> None:
    path = str(tmp_path / "file")
    written = write_arrays(path, ARRAYS, checksum)
    assert os.listdir(tmp_path) == ["file"]
    assert os.path.getsize(path) == written.bytes
    found = read_arrays(path)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable
        assert found[name].flags.aligned
        assert found[name].flags.c_contiguous
    assert check_file(path) == (written if checksum else None)


def test_any_reader_of_safetensors_can_look_into_it(tmp_path: Path) -> None:
    write_arrays(str(tmp_path / "file"), {k: v for k, v in ARRAYS.items() if v.size})
    for name, array in load_file(tmp_path / "file").items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_no_arrays_are_a_file_too(tmp_path: Path) -> None:
    write_arrays(str(tmp_path / "file"), {}, checksum=True)
    assert read_arrays(str(tmp_path / "file")).keys() == {"checksum"}
    assert check_file(str(tmp_path / "file")) is not None


def test_it_stays_readable_when_its_name_is_gone(tmp_path: Path) -> None:
    write_arrays(str(tmp_path / "file"), ARRAYS)
    found = read_arrays(str(tmp_path / "file"))
    os.remove(tmp_path / "file")
    np.testing.assert_array_equal(found["own/3"], ARRAYS["own/3"])


def test_every_byte_counts(tmp_path: Path) -> None:
    """Whatever byte of a file is another one, the check sees it."""
    path = tmp_path / "file"
    write_arrays(str(path), {"own/3": ARRAYS["own/3"], "odd": ARRAYS["odd"]}, checksum=True)
    whole = path.read_bytes()
    assert check_file(str(path)) is not None
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert check_file(str(path)) is None, at
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert check_file(str(path)) is None, size
    path.write_bytes(whole + bytes(8))
    assert check_file(str(path)) is None
    path.write_bytes(bytes(len(whole)))  # what a disk may give back after a power failure
    assert check_file(str(path)) is None


@pytest.mark.parametrize("size", [0, 7, 8, 40, -1])
def test_a_file_that_is_cut_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    write_arrays(str(path), ARRAYS)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StorageError, match=r"file: (is damaged|cannot be read)"):
        read_arrays(str(path))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-4, 4]},
        {"dtype": "O", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"shape": [1], "data_offsets": [0, 4]},
        [],
        None,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, entry: object) -> None:
    text = json.dumps({"x": entry}).encode()
    (tmp_path / "file").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(StorageError, match="file: is damaged"):
        read_arrays(str(tmp_path / "file"))


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write_arrays(str(tmp_path / "absent" / "file"), ARRAYS)
    assert os.listdir(tmp_path) == []
