"""A result's files as tasks write them: whole or not at all, the same from every attempt, and counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.result.written import DONE, Receipt, complete, file_of, write_block

SCHEMA = pa.schema({"id": pa.int64(), "y": pa.list_(pa.float32())})


def batches(*sizes: int) -> list[pa.RecordBatch]:
    return [
        pa.RecordBatch.from_pylist([{"id": node, "y": [node / 2]} for node in range(size)], schema=SCHEMA)
        for size in sizes
    ]


def test_a_block_is_a_file(tmp_path: Path) -> None:
    assert write_block(str(tmp_path), 7, SCHEMA, batches(3, 2)) == 5
    assert os.listdir(tmp_path) == ["part-00007.parquet"]
    table = pq.read_table(tmp_path / "part-00007.parquet")
    assert table["id"].to_pylist() == [0, 1, 2, 0, 1]
    assert table["y"].to_pylist() == [[0.0], [0.5], [1.0], [0.0], [0.5]]


def test_a_block_without_nodes_is_a_file_too(tmp_path: Path) -> None:
    assert write_block(str(tmp_path), 0, SCHEMA, []) == 0
    assert pq.read_table(tmp_path).schema.names == ["id", "y"]


def test_a_second_attempt_writes_the_same_bytes(tmp_path: Path) -> None:
    write_block(str(tmp_path), 0, SCHEMA, batches(3))
    first = Path(file_of(str(tmp_path), 0)).read_bytes()
    write_block(str(tmp_path), 0, SCHEMA, batches(3))
    assert Path(file_of(str(tmp_path), 0)).read_bytes() == first
    assert len(os.listdir(tmp_path)) == 1


def test_an_attempt_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def breaks() -> Iterator[pa.RecordBatch]:
        yield from batches(3)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_block(str(tmp_path), 0, SCHEMA, breaks())
    assert os.listdir(tmp_path) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone: cannot be written: No such file or directory"):
        write_block(str(tmp_path / "gone"), 0, SCHEMA, batches(1))


def test_complete_counts_each_block_once(tmp_path: Path) -> None:
    receipts = [
        Receipt(block, write_block(str(tmp_path), block, SCHEMA, batches(size))) for block, size in [(0, 3), (1, 4)]
    ]
    (tmp_path / ".part-00001.parquet-killed").write_bytes(b"half")
    clock = Receipt(None, None, 0, 12)
    assert complete(str(tmp_path), 2, [*receipts, receipts[1], clock]) == 7, "two attempts give two receipts"
    assert sorted(os.listdir(tmp_path)) == [DONE, "part-00000.parquet", "part-00001.parquet"]


@pytest.mark.parametrize("lost", ["the receipt", "the file"])
def test_what_is_missing_is_an_error(tmp_path: Path, lost: str) -> None:
    receipts = [Receipt(block, write_block(str(tmp_path), block, SCHEMA, batches(2))) for block in range(3)]
    if lost == "the file":
        os.remove(file_of(str(tmp_path), 1))
    else:
        receipts.pop(1)
    with pytest.raises(
        StorageError, match=r"1 of 3 files were not written where this machine sees them.* of block 1; "
    ):
        complete(str(tmp_path), 3, receipts)
    assert DONE not in os.listdir(tmp_path)
