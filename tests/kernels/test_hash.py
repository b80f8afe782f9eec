"""Keys, blocks and texts against plain Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kernels.hash import blocks_of, fill_table, find, hash_texts, positions
from pipeline.tables.layout import text_keys

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EDGES_OF_INT64 = [-(2**63), 2**63 - 1, 0, -1, 1, 2**32, -(2**31)]
ids = st.integers(-(2**63), 2**63 - 1)
MASK = 2**64 - 1


def mixed(key: int) -> int:
    """SplitMix64's finaliser in integers that do not overflow."""
    key &= MASK
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & MASK
    return key ^ (key >> 31)


@pytest.mark.parametrize("blocks", [1, 2, 3, 17, 256, 100_000])
def test_blocks_are_the_upper_half_of_the_mix(blocks: int) -> None:
    rng = np.random.default_rng(1)
    keys = np.concatenate([np.array(EDGES_OF_INT64), rng.integers(-(2**63), 2**63 - 1, 1000)])
    out = np.empty(len(keys), np.int32)
    blocks_of(keys, blocks, out)
    assert out.tolist() == [((mixed(key) >> 32) * blocks) >> 32 for key in keys.tolist()]


@pytest.mark.parametrize("step", [1, 8, 1 << 20, 1 << 40])
def test_blocks_are_even_for_regular_ids(step: int) -> None:
    out = np.empty(80_000, np.int32)
    blocks_of(np.arange(80_000) * step, 8, out)
    counts = np.bincount(out, minlength=8)
    assert abs(counts - 10_000).max() < 500  # five standard deviations


@given(st.lists(ids, unique=True), st.lists(ids))
def test_positions_are_those_of_a_dictionary(keys: list[int], others: list[int]) -> None:
    wanted = np.array(keys[::2] + others + keys, np.int64)
    where = {key: at for at, key in enumerate(keys)}
    assert positions(wanted, np.array(keys, np.int64)).tolist() == [where.get(key, -1) for key in wanted.tolist()]


def test_positions_of_read_only_views() -> None:
    keys = np.frombuffer(np.array(EDGES_OF_INT64).tobytes(), np.int64)
    assert not keys.flags.writeable
    assert positions(keys, keys).tolist() == list(range(len(keys)))


def test_a_nearly_full_table_wraps_around() -> None:
    keys = np.arange(7, dtype=np.int64)
    table = np.full(8, -1, np.int32)
    fill_table(keys, table)
    assert sorted(table.tolist()) == list(range(-1, 7))
    out = np.empty(9, np.int32)
    find(np.arange(9, dtype=np.int64), keys, table, out)
    assert out.tolist() == [*range(7), -1, -1]


TEXTS = ["", "a", "abcd", "abcdefgh", "abcdefghijkl", "x" * 31, "x" * 32, "x" * 33, "日本語", "é" * 70, "0" * 1000]


def test_texts_hash_like_the_published_function() -> None:
    # from the xxHash repository's sanity checks and common knowledge: XXH64("", 0), XXH64("a", 0), XXH64("abc", 0)
    texts = pa.array(["", "a", "abc"])
    known = [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, 0x44BC2CF5AD770999]
    assert text_keys(texts, 0).view(np.uint64).tolist() == known


def test_texts_hash_like_spark(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(text,) for text in TEXTS], "t string").selectExpr("t", "xxhash64(t) h").collect()
    expected = {row.t: row.h for row in rows}
    assert text_keys(pa.array(TEXTS), 42).tolist() == [expected[text] for text in TEXTS]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_texts_of_a_slice(kind: pa.DataType) -> None:
    texts = pa.array(["before", *TEXTS, "after"], kind)
    assert text_keys(texts.slice(1, len(TEXTS)), 7).tolist() == text_keys(pa.array(TEXTS), 7).tolist()
    assert text_keys(texts.slice(0, 0), 7).tolist() == []


@given(st.lists(st.text(), unique=True), st.integers(0, 2**31))
def test_texts_have_keys_of_their_own(texts: list[str], seed: int) -> None:
    keys = text_keys(pa.array(texts, pa.string()), seed)
    assert len(set(keys.tolist())) == len(texts)


def test_the_seed_matters() -> None:
    offsets, data, out = np.array([0, 3], np.int32), np.frombuffer(b"abc", np.uint8), np.empty(1, np.int64)
    found = set()
    for seed in range(10):
        hash_texts(offsets, data, seed, out)
        found.add(int(out[0]))
    assert len(found) == 10
