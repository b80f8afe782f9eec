"""A result's files as tasks write them: whole or not at all, the same from every attempt, and read back as given."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.places.filesystem import Opened, opened
from pipeline.places.place import Place
from pipeline.result.counted import count_files
from pipeline.result.output import OutputTable
from pipeline.result.written import Folder, write_block

NUMBERS = OutputTable("bigint", {"y": (1,)})


def folder(path: Path, format: str = "parquet") -> Folder:
    return Folder(str(path), "the output", format)


def at(path: Path) -> Opened:
    found = opened(Place.of(path))
    assert found is not None
    return found


def batches(*sizes: int) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pylist([{"id": node, "y": [node / 2]} for node in range(size)], schema=NUMBERS.columns)
        for size in sizes
    ]


def test_a_block_is_a_file(tmp_path: Path) -> None:
    assert write_block(folder(tmp_path), 7, NUMBERS, batches(3, 2)) == 5
    assert os.listdir(tmp_path) == ["part-00007.parquet"]
    table = pq.read_table(tmp_path / "part-00007.parquet")
    assert table["id"].to_pylist() == [0, 1, 2, 0, 1]
    assert table["y"].to_pylist() == [[0.0], [0.5], [1.0], [0.0], [0.5]]


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_block_without_nodes_is_a_file_too(tmp_path: Path, format: str) -> None:
    assert write_block(folder(tmp_path, format), 0, NUMBERS, []) == 0
    (found,) = count_files(at(tmp_path), format, "o")
    assert (found.name, found.rows) == (f"part-00000.{format}", 0)
    if format == "parquet":
        assert pq.read_table(tmp_path).schema.names == ["id", "y"]
    else:
        assert (tmp_path / "part-00000.csv").read_text() == '"id","y_0"\n'


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_second_attempt_writes_the_same_bytes(tmp_path: Path, format: str) -> None:
    file = tmp_path / f"part-00000.{format}"
    write_block(folder(tmp_path, format), 0, NUMBERS, batches(3))
    first = file.read_bytes()
    write_block(folder(tmp_path, format), 0, NUMBERS, batches(3))
    assert file.read_bytes() == first
    assert len(os.listdir(tmp_path)) == 1


def test_an_attempt_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def breaks() -> Iterator[pa.RecordBatch]:
        yield from batches(3)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_block(folder(tmp_path), 0, NUMBERS, breaks())
    assert os.listdir(tmp_path) == []


def test_an_attempt_that_comes_too_late_cannot_write(tmp_path: Path) -> None:
    """The directory that it was told has been put in place meanwhile, under another name."""
    staging, output = tmp_path / ".o.staging", tmp_path / "o"
    staging.mkdir()
    write_block(folder(staging), 0, NUMBERS, batches(3))

    def moved() -> Iterator[pa.RecordBatch]:
        yield from batches(1)
        staging.rename(output)

    with pytest.raises(StorageError, match="the output: cannot be written: No such file or directory"):
        write_block(folder(staging), 0, NUMBERS, moved())
    assert not staging.exists()
    assert pq.read_table(output / "part-00000.parquet").num_rows == 3


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^the output: cannot be written: No such file or directory$"):
        write_block(folder(tmp_path / "gone"), 0, NUMBERS, batches(1))


IDS = [
    " lead",
    "trail ",
    "tab\t",
    'q"q',
    "a,b",
    "",
    "new\nline",
    "return\rx",
    "both\r\ny",
    "é☃",
    "#x",
    "'",
    "\\",
    "NULL",
]


def test_csv_reads_back_as_it_was_given(tmp_path: Path) -> None:
    table = OutputTable("string", {"y": (2, 2), "z": ()})
    values = np.array([[0.1, 1e-45, 3.4e38, -0.0]] * len(IDS), np.float32)
    outputs = {"y": values.reshape(-1, 2, 2), "z": np.arange(len(IDS), dtype=np.float32) / 3}
    write_block(folder(tmp_path, "csv"), 0, table, table.rows([pa.array(IDS)], outputs))
    with open(tmp_path / "part-00000.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "y_0", "y_1", "y_2", "y_3", "z"]
    assert [row["id"] for row in rows] == IDS
    found = np.array([[row[f"y_{lane}"] for lane in range(4)] for row in rows], np.float32)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(np.array([row["z"] for row in rows], np.float32), outputs["z"])
    (counted,) = count_files(at(tmp_path), "csv", "o")
    assert counted.rows == len(IDS), "lines within quotes are no rows"
