"""What the generated loop does not compute itself: matrix products per edge and their like, for a chunk of edges.

Comes in: a chunk of a tile, the payload, node values. Goes out: for each dense value one (edges, width) array. Memory
is bounded by the chunk, whose size depends on the program alone, so that a tile is always cut at the same edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pipeline.blocks.block import FloatArray, Tile
from pipeline.compiler.edge_program import LEAVES, EdgeProgram
from pipeline.formula.interpret import Array, execute_rows
from pipeline.formula.values import Value

LANES = 1 << 20  # floats of the widest value of a chunk: 4 MB
LONGEST = 8192
SHORTEST = 64

Read = Callable[[Value], FloatArray]


def chunk_size(program: EdgeProgram) -> int:
    """Edges per chunk."""
    widest = max((value.width for value in program.below if not value.is_weight), default=1)
    return max(SHORTEST, min(LONGEST, LANES // max(widest, 1)))


def chunks(tile: Tile, size: int) -> Iterator[Tile]:
    """The tile in chunks of `size` edges; a row may be cut, since reductions merge."""
    if tile.edges <= size:
        yield tile
        return
    for start in range(0, tile.edges, size):
        stop = min(start + size, tile.edges)
        first = int(np.searchsorted(tile.indptr, start, side="right")) - 1
        last = int(np.searchsorted(tile.indptr, stop, side="left"))
        yield Tile(
            rows=tile.rows[first:last],
            indptr=np.clip(tile.indptr[first : last + 1], start, stop) - np.int32(start),
            indices=tile.indices[start:stop],
            values={name: column[start:stop] for name, column in tile.values.items()},
            senders=tile.senders,
        )


def rows_between(tile: Tile, low: int, high: int) -> Tile:
    """The edges of a tile into the nodes low … high - 1."""
    first, last = np.searchsorted(tile.rows, [low, high]).tolist()
    if last - first == len(tile.rows):
        return tile
    start, stop = tile.indptr[[first, last]].tolist()
    return Tile(
        rows=tile.rows[first:last],
        indptr=tile.indptr[first : last + 1] - tile.indptr[first],
        indices=tile.indices[start:stop],
        values={name: column[start:stop] for name, column in tile.values.items()},
        senders=tile.senders,
    )


def execute_dense(
    program: EdgeProgram,
    tile: Tile,
    payload: FloatArray,
    read: Read,
    offsets: Mapping[int, int],
    weights: Mapping[int, FloatArray],
) -> list[FloatArray]:
    """The dense values of a chunk, (edges, width) float32 each."""
    dst = np.repeat(tile.rows, np.diff(tile.indptr))
    results: dict[int, Array] = dict(weights)
    with np.errstate(all="ignore"):
        for value in program.below:
            if value.is_weight:
                continue
            if value.op in LEAVES:
                results[value.id] = _leaf(value, tile, dst, payload, read, offsets)
            elif value.op == "restrict":
                results[value.id] = results[value.inputs[0].id]
            else:
                inputs = [results[operand.id] for operand in value.inputs]
                results[value.id] = np.asarray(execute_rows(value, inputs), np.float32)
    arrays = (np.ascontiguousarray(results[value.id], np.float32) for value in program.dense)
    return [array.reshape(tile.edges, value.width) for array, value in zip(arrays, program.dense, strict=True)]


def _leaf(value: Value, tile: Tile, dst: Array, payload: FloatArray, read: Read, offsets: Mapping[int, int]) -> Array:
    """(edges, *shape) of what the chunk's edges read."""
    if value.op == "src":
        start = offsets[value.inputs[0].id]
        return payload[tile.indices, start : start + value.width].reshape(tile.edges, *value.shape)
    if value.op == "dst":
        return read(value.inputs[0])[dst]
    if value.op == "input":
        return tile.values[value.attributes["name"]].reshape(tile.edges, *value.shape)
    assert value.op == "fill", value.op
    return np.full((tile.edges, *value.shape), value.attributes["value"], np.float32)
