"""Tables as files, as far as they are seen without Spark."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.tables.files import ParquetTable, is_missing


def test_what_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "nodes.parquet"
    assert is_missing(str(file))
    file.touch()
    assert not is_missing(str(file))
    assert not is_missing(str(tmp_path))


@pytest.mark.parametrize("path", ["s3://bucket/nodes", "hdfs://host/nodes", "/nowhere/*.parquet", "/nowhere/{a,b}"])
def test_what_cannot_be_told_from_here(path: str) -> None:
    assert not is_missing(path), "Spark may know better"


def write(directory: Path, *parts: list[str | None]) -> ParquetTable:
    """A table of texts, a file for each part, with a row group for every two rows."""
    directory.mkdir()
    for number, part in enumerate(parts):
        table = pa.table({"amount": pa.array(part, pa.string()), "src": pa.array(["x"] * len(part))})
        pq.write_table(table, directory / f"{number}.parquet", row_group_size=2)
    table = ParquetTable.open(str(directory))
    assert table is not None
    return table


def test_the_first_text_that_is_no_number(tmp_path: Path) -> None:
    found = write(tmp_path / "a", ["1", None, "-2.5e3", " 4 "], ["nan", "1,5", "x"])
    assert found.no_number("amount") == "1,5"
    assert found.no_number("src") == "x"


def test_numbers_as_text(tmp_path: Path) -> None:
    assert write(tmp_path / "a", ["1", None, "inf"], []).no_number("amount") is None


def test_other_formats_are_for_spark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    assert ParquetTable.open(str(tmp_path / "a.csv")) is None
    assert ParquetTable.open(str(tmp_path / "none.parquet")) is None


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"x" * 40)
    with pytest.raises(StorageError, match=r"a\.parquet"):
        ParquetTable.open(str(tmp_path / "a.parquet"))
