"""Positions inside a row: what the generated code will compute, enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.compiler.index import Index, broadcast_index, join, split


def evaluate(index: Index, values: dict[str, int]) -> int:
    return eval(str(index), values)


def test_text():
    assert str(Index()) == "0"
    assert str(Index.loop("c", 4) + 3) == "3 + c"
    assert str(Index.loop("c", 16) + Index.loop("h", 4) * 16 + 5) == "5 + 16 * h + c"
    assert str(Index.loop("c", 4) + Index.loop("c", 4)) == "2 * c"
    assert str(Index.loop("c", 4) * 0) == "0"


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6), (6, 1), (2, 1, 3, 4), (4, 16)])
def test_one_variable_per_axis(shape):
    axes = [Index.loop(f"v{axis}", size) for axis, size in enumerate(shape)]
    index = join(axes, shape)
    for place in itertools.product(*map(range, shape)):
        names = {f"v{axis}": position for axis, position in enumerate(place)}
        assert evaluate(index, names) == np.ravel_multi_index(place, shape)
        found = split(index, shape)
        assert found is not None
        kept = [position if size > 1 else 0 for position, size in zip(place, shape, strict=True)]
        assert [evaluate(axis, names) for axis in found] == kept


def test_a_reshape_splits_a_loop_where_its_parts_fit():
    index = Index.loop("h", 4) * 16 + Index.loop("c", 16)
    assert [str(axis) for axis in split(index, (64,)) or []] == ["16 * h + c"]
    assert [str(axis) for axis in split(index, (4, 2, 8)) or []] == []  # c runs over both of the last axes
    assert [str(axis) for axis in split(index + Index.loop("k", 2) * 64, (2, 4, 16)) or []] == ["k", "h", "c"]
    assert split(Index.loop("c", 64), (4, 16)) is None  # c / 16 is no such sum
    assert [str(axis) for axis in split(Index.loop("c", 8) + 24, (4, 16)) or []] == ["1", "8 + c"]
    assert split(Index.loop("c", 9) + 24, (4, 16)) is None


@pytest.mark.parametrize(
    ("shape", "to"),
    [((4, 16), (16,)), ((4, 16), (4, 1)), ((4, 16), ()), ((4, 16), (1, 1)), ((2, 3, 4), (3, 1)), ((3,), (1, 3))],
)
def test_broadcasting(shape, to):
    axes = [Index.loop(f"v{axis}", size) for axis, size in enumerate(shape)]
    index = broadcast_index(join(axes, shape), shape, to)
    assert index is not None
    width = int(np.prod(to))
    positions = np.broadcast_to(np.arange(width).reshape(to), np.broadcast_shapes(shape, to)).reshape(shape)
    for place in itertools.product(*map(range, shape)):
        names = {f"v{axis}": position for axis, position in enumerate(place)}
        assert evaluate(index, names) == positions[place]
