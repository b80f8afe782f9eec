"""Rows that wait for their blocks: all of them come out, whether they waited in memory or in files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from pipeline.blocks.rows import Row
from pipeline.errors import StorageError
from pipeline.preparing.in_transit import Exchange


def rows(seed: int, count: int = 50, blocks: int = 3) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        Row(
            int(random.integers(blocks)),
            seed,
            "kind",
            str(part),
            "|u1",
            0,
            part,
            random.bytes(int(random.integers(40))),
        )
        for part in range(count)
    ]


def arrays(some: list[Row]) -> list[Row]:
    return [row._replace(data=np.frombuffer(row.data, np.uint8)) for row in some]


def content(some: Iterable[Row]) -> Counter[tuple[object, ...]]:
    return Counter((*row[:-1], bytes(row.data)) for row in some)


@pytest.mark.parametrize("limit", [0, 300, 1 << 20])
def test_every_row_comes_out_once_at_its_block(tmp_path: Path, limit: int) -> None:
    given = [rows(seed) for seed in range(8)]
    with Exchange(str(tmp_path), limit) as exchange:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda some: exchange.put(arrays(some)), given))
        assert bool(os.listdir(tmp_path)) == (limit < 1 << 20), "files only beyond the limit"
        taken = {block: list(exchange.take(block)) for block in range(3)}
        assert all(row.target == block for block, some in taken.items() for row in some)
        assert content(chain.from_iterable(taken.values())) == content(chain.from_iterable(given))
        assert not any(list(exchange.take(block)) for block in range(3)), "they are forgotten"
        assert not [file for _, _, files in os.walk(tmp_path) for file in files], "and so are their files"
    assert os.listdir(tmp_path) == []


def test_files_go_when_something_fails(tmp_path: Path) -> None:
    def breaks() -> None:
        with Exchange(str(tmp_path), 0) as exchange:
            exchange.put(arrays(rows(1)))
            assert os.listdir(tmp_path)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        breaks()
    assert os.listdir(tmp_path) == []


def test_room_that_was_made_is_used_again(tmp_path: Path) -> None:
    with Exchange(str(tmp_path), 2000) as exchange:
        for seed in range(20):
            exchange.put(arrays(rows(seed)))
            for block in range(3):
                list(exchange.take(block))
        assert os.listdir(tmp_path) == [], "never more than 2000 bytes at a time"


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="cannot be written: No such file"),
        Exchange(f"{tmp_path}/no", 0) as exchange,
    ):
        exchange.put(arrays(rows(1)))
