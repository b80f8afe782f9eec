"""The row axis through views, moves and broadcasting: what layout.py says against what torch does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formula import GraphArrays, node_input
from pipeline.formula.interpret import evaluate
from pipeline.pyg.layout import elementwise, expand, permute, tensor_shape, view
from pipeline.pyg.symbols import Learned, Refusal, Rows
from pipeline.schema import EDGE, NODE

COUNT = 101  # rows; a prime that no other size here is


def numbers(rows: Rows, x: torch.Tensor) -> torch.Tensor:
    """The tensor that a symbol says it is, computed from the value of its rows."""
    none = np.zeros(0, np.int64)
    arrays = GraphArrays({NODE: COUNT}, {EDGE: (none, none)}, {NODE: {"x": x.numpy()}})
    array = evaluate([rows.value], {}, arrays)[rows.value.id]
    array = np.moveaxis(array, 0, rows.axis + rows.before)
    return torch.from_numpy(array.reshape(tensor_shape(rows, COUNT)).copy())


def splits(size):
    """Ways to write a size as a product."""
    return [(size,), *[(a, size // a) for a in range(1, size + 1) if size % a == 0], (1, size, 1)]


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=0, max_size=3), st.data())
def test_any_chain_of_views_and_moves(lanes, data):
    tensor = torch.arange(COUNT * int(np.prod(lanes)), dtype=torch.float64).reshape(COUNT, *lanes)
    x, rows = tensor, Rows(node_input("x", lanes))
    for _ in range(data.draw(st.integers(1, 4), label="steps")):
        if data.draw(st.booleans(), label="permute"):
            order = data.draw(st.permutations(range(tensor.dim())), label="order")
            tensor, rows = tensor.permute(order), permute(rows, order)
        else:
            shape = [part for size in tensor.shape for part in data.draw(st.sampled_from(splits(size)), label="split")]
            while len(shape) > 4:
                place = data.draw(st.integers(0, len(shape) - 2), label="merge")
                shape[place : place + 2] = [shape[place] * shape[place + 1]]
            try:
                rows = view(rows, COUNT, shape)
            except Refusal:
                continue
            tensor = tensor.reshape(shape)
        assert tensor_shape(rows, COUNT) == tuple(tensor.shape)
        assert torch.equal(numbers(rows, x), tensor)


@pytest.mark.parametrize("shape", [(COUNT // 1, 2, 3), (6, COUNT), (2, COUNT, 3), (COUNT * 2, 3), (COUNT * 6,)])
def test_views_that_keep_rows_whole(shape):
    rows = Rows(node_input("x", (2, 3)))
    if shape[0] == COUNT or shape[0] % COUNT == 0:
        assert tensor_shape(view(rows, COUNT, shape), COUNT) == shape
    else:  # the lanes of a row would be spread over others
        with pytest.raises(Refusal, match="mixes nodes with other axes"):
            view(rows, COUNT, shape)


def test_expand_repeats_lanes_and_never_rows():
    x = torch.randn(COUNT, 1, 3, dtype=torch.float64)
    rows = Rows(node_input("x", (1, 3)))
    assert torch.equal(numbers(expand(rows, COUNT, (2, COUNT, 4, 3)), x), x.expand(2, COUNT, 4, 3))


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (2, 1), (1, 2, 3), (5, 1, 2, 3)])
def test_broadcasting_with_a_weight(shape):
    x, w = torch.randn(COUNT, 2, 3, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    found = elementwise("mul", [Rows(node_input("x", (2, 3))), _constant(w)])
    assert torch.equal(_with(found, x, w), x * w)


def test_broadcasting_with_a_weight_where_rows_are_in_the_middle():
    x, w = torch.randn(COUNT, 2, 3, dtype=torch.float64), torch.randn(2, 1, 1, dtype=torch.float64)
    found = elementwise("mul", [permute(Rows(node_input("x", (2, 3))), (1, 0, 2)), _constant(w)])
    assert torch.equal(_with(found, x, w), x.permute(1, 0, 2) * w)


def _constant(tensor):
    from pipeline.formula import weight

    return Learned(tensor, lambda: weight("w", tensor.shape))


def _with(rows, x, w):
    none = np.zeros(0, np.int64)
    arrays = GraphArrays({NODE: COUNT}, {EDGE: (none, none)}, {NODE: {"x": x.numpy()}})
    array = evaluate([rows.value], {"w": w.numpy()}, arrays)[rows.value.id]
    return torch.from_numpy(np.moveaxis(array, 0, rows.axis + rows.before).reshape(tensor_shape(rows, COUNT)).copy())


@pytest.mark.parametrize(("a", "b"), [((), (3,)), ((3,), (2, 3)), ((1,), ())])
def test_rows_that_torch_would_not_align(a, b):
    with pytest.raises(Refusal, match="the rows do not meet"):
        elementwise("add", [Rows(node_input("x", a)), Rows(node_input("y", b))])
