"""What the driver counts before a result is put in place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import StorageError
from pipeline.places.marker import MARKER
from pipeline.result.counted import File, count_files, refuse_missing, refuse_other_blocks
from pipeline.result.written import Receipt, write_block
from tests.result.test_written import NUMBERS, at, batches, folder


def test_the_files_of_a_table(tmp_path: Path) -> None:
    for block, size in ((1, 4), (0, 3)):
        write_block(folder(tmp_path), block, NUMBERS, batches(size))
    for left in (".part-00001.parquet-killed", ".part-00001.parquet.crc", "_temporary/0/part-00007.parquet"):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).write_bytes(b"half")
    (tmp_path / MARKER).write_text("{}")
    found = count_files(at(tmp_path), "parquet", "o")
    sizes = [(tmp_path / f"part-0000{block}.parquet").stat().st_size for block in (0, 1)]
    assert found == [File("part-00000.parquet", 3, sizes[0]), File("part-00001.parquet", 4, sizes[1])]
    assert sorted(os.listdir(tmp_path)) == [MARKER, "part-00000.parquet", "part-00001.parquet"]


def test_a_file_that_is_not_whole(tmp_path: Path) -> None:
    write_block(folder(tmp_path), 0, NUMBERS, batches(3))
    file = tmp_path / "part-00000.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"^out: part-00000\.parquet was not written whole"):
        count_files(at(tmp_path), "parquet", "out")


def test_rows_that_are_not_there() -> None:
    refuse_missing(7, 7, 7, "o")
    with pytest.raises(
        StorageError, match=r"o: 65,536 rows were computed, but the files .* hold 0: tasks write to disks"
    ):
        refuse_missing(0, 65536, 65536, "o")
    with pytest.raises(StorageError, match="o: 6 rows were computed for 7 nodes; nothing was put in place"):
        refuse_missing(6, 6, 7, "o")


FILES = [File(f"part-0000{block}.parquet", 2, 100) for block in range(3)]
RECEIPTS = [Receipt(block, 2) for block in range(3)]


def test_each_block_counts_once() -> None:
    refuse_other_blocks(FILES, 3, [*RECEIPTS, RECEIPTS[1], Receipt(None, None, 0, 12)], "o")


@pytest.mark.parametrize("lost", ["the receipt", "the file", "a row"])
def test_a_block_that_is_missing(lost: str) -> None:
    files, receipts = list(FILES), list(RECEIPTS)
    if lost == "the file":
        files.pop(1)
    elif lost == "the receipt":
        receipts.pop(1)
    else:
        files[1] = files[1]._replace(rows=1)
    with pytest.raises(
        StorageError, match=r"o: 1 of 3 files were not written where this machine sees them.* block 1; "
    ):
        refuse_other_blocks(files, 3, receipts, "o")
