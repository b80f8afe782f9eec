"""A generated function together with what it reads beside a tile: node values, edge columns, weights.

Comes in: the text of a function, its edge program, weights. Goes out: a Loop, which is called with one tile after
another. Knows nothing of what is accumulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from pipeline.blocks.block import FloatArray, Tile
from pipeline.compiler.edge_program import EdgeProgram
from pipeline.compiler.load import load
from pipeline.formula.values import Value
from pipeline.kernels.jit import read_only

Read = Callable[[Value], FloatArray]


class Loop:
    """One generated function."""

    def __init__(self, text: str, program: EdgeProgram, weights: Mapping[int, FloatArray]):
        """`weights`: Value.id → float32 array of each weight that the program reads."""
        self.text = text
        self.tile = load(text)
        self.local = [value.inputs[0] for value in program.leaves("dst")]
        self.weights = [read_only(weights[value.id].reshape(-1)) for value in program.weights]
        self._columns = [(value.attributes["name"], value.width) for value in program.leaves("input")]

    def run(
        self,
        tile: Tile,
        payload: FloatArray,
        read: Read,
        dense: Sequence[FloatArray],
        results: Sequence[npt.NDArray[Any]],
    ) -> None:
        """Adds a tile to `results`, (nodes, …) each. `dense`: (edges, width) float32 of each dense value."""
        self.tile(*self._given(tile, payload, read, dense, len(results[0])), *results)

    def run_several(
        self,
        several: Callable[..., None],
        tile: Tile,
        payload: FloatArray,
        read: Read,
        results: Sequence[npt.NDArray[Any]],
        merged: Sequence[npt.NDArray[Any]],
    ) -> None:
        """The same of several tiles put together, by a function of several.py; `merged`: its last arguments."""
        given = self._given(tile, payload, read, [], len(results[0]))
        several(*given, *results, *map(read_only, merged))

    def _given(
        self, tile: Tile, payload: FloatArray, read: Read, dense: Sequence[FloatArray], nodes: int
    ) -> list[npt.NDArray[Any] | int]:
        arrays = [tile.rows, tile.indptr, tile.indices, payload]
        local = [read(value).reshape(nodes, value.width) for value in self.local]
        columns = [tile.values[name].reshape(tile.edges, width) for name, width in self._columns]
        inputs = [*local, *columns, *dense]
        return [*map(read_only, arrays), 1, *map(read_only, inputs), *self.weights]
