"""Parquet files whose pages are damaged, which no footer tells: the file is named, and no row is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.places.place import Place
from pipeline.tables.listing import list_table
from pipeline.tables.parquet import ParquetPiece, ParquetTable
from pipeline.tables.table import read_pieces


@pytest.fixture
def pieces(tmp_path: Path) -> list[ParquetPiece]:
    pq.write_table(pa.table({"a": np.arange(10_000) % 977}), tmp_path / "t.parquet", use_dictionary=False)
    listing = list_table(Place.of(tmp_path / "t.parquet"))
    assert listing is not None
    found = ParquetTable.of(listing).pieces(["a"])
    assert found
    return found


def test_a_damaged_page_names_the_file(pieces: list[ParquetPiece]) -> None:
    file = Path(pieces[0].file)
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xff" * 56
    file.write_bytes(bytes(content))
    with pytest.raises(StorageError, match=r"t\.parquet: \S+t\.parquet is damaged or cannot be read: "):
        list(read_pieces(pieces, ["a"]))


def test_fewer_rows_than_the_footer_tells(pieces: list[ParquetPiece]) -> None:
    assert sum(batch.num_rows for batch in read_pieces(pieces, ["a"])) == 10_000
    more = [piece._replace(rows=piece.rows + 1) for piece in pieces]
    with pytest.raises(StorageError, match="gives 10,000 of 10,001 rows: it was changed meanwhile, or is damaged"):
        list(read_pieces(more, ["a"]))
