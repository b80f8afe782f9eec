"""Sorts and merges against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kernels.sort import count_codes, group, merge, order_ties, spread, spread_pairs

codes = st.lists(st.integers(0, 6)).map(lambda values: np.array(values, np.int32))


@given(codes, st.randoms(use_true_random=False))
def test_group_is_a_stable_sort(code: np.ndarray, random: object) -> None:
    before = np.random.default_rng(len(code)).permutation(len(code)).astype(np.int32)
    offsets, order = np.empty(8, np.int64), np.empty(len(code), np.int32)
    group(code, before, offsets, order)
    assert order.tolist() == before[np.argsort(code[before], kind="stable")].tolist()
    assert offsets.tolist() == [0, *np.cumsum(np.bincount(code, minlength=7)).tolist()]


@given(codes)
def test_spread_puts_items_where_a_stable_sort_would(code: np.ndarray) -> None:
    offsets, wanted = np.empty(8, np.int64), np.argsort(code, kind="stable")
    count_codes(code, offsets)
    assert offsets.tolist() == [0, *np.cumsum(np.bincount(code, minlength=7)).tolist()]
    items, others = np.arange(len(code)) * 3, np.arange(len(code), dtype=np.int32)
    out, one, other = np.empty_like(items), np.empty_like(items), np.empty_like(others)
    spread(code, offsets, items, out)
    spread_pairs(code, offsets, items, others, one, other)
    assert out.tolist() == one.tolist() == items[wanted].tolist()
    assert other.tolist() == wanted.tolist()


def test_group_leaves_what_it_reads() -> None:
    code, before = np.array([1, 0, 1], np.int32), np.arange(3, dtype=np.int32)
    for array in (code, before):
        array.flags.writeable = False
    order = np.empty(3, np.int32)
    group(code, before, np.empty(3, np.int64), order)
    assert order.tolist() == [1, 0, 2]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("distinct", [1, 2, 1000])
def test_ties_are_ordered_by_the_bits_of_the_values(lanes: int, distinct: int) -> None:
    rng = np.random.default_rng(lanes * distinct)
    dst, src = (np.sort(rng.integers(0, 4, 500)).astype(np.int32) for _ in range(2))
    bits = rng.integers(0, distinct, (500, lanes)).astype(np.float32).view(np.uint32)
    order = np.lexsort((src, dst)).astype(np.int32)
    order_ties((dst * 4 + src)[order].astype(np.int64), bits, order)
    keys = [(dst[e], src[e], *bits[e].tolist()) for e in order.tolist()]
    assert keys == sorted(keys)
    assert sorted(order.tolist()) == list(range(500))


def test_many_parallel_edges_do_not_take_their_square() -> None:
    count = 300_000  # the square would be minutes
    bits = np.random.default_rng(0).integers(0, 2**31, (count, 1)).astype(np.uint32)
    same, order = np.zeros(count, np.int64), np.arange(count, dtype=np.int32)
    order_ties(same, bits, order)
    assert (np.diff(bits[order, 0].astype(np.int64)) >= 0).all()


@given(st.sets(st.integers(-(2**63), 2**63 - 1)), st.sets(st.integers(-(2**63), 2**63 - 1)))
def test_merge_finds_what_a_dictionary_finds(keys: set[int], others: set[int]) -> None:
    ascending = sorted(keys)
    wanted = sorted({*others, *ascending[::3]})
    out = np.empty(len(wanted), np.int32)
    merge(np.array(wanted, np.int64), np.array(ascending, np.int64), out)
    where = {key: at for at, key in enumerate(ascending)}
    assert out.tolist() == [where.get(key, -1) for key in wanted]
