"""A reduction over edges, as compiled code that takes one tile after another.

Comes in: a reduction of a formula, where the sent values lie in the payload, weights. Goes out: a CompiledReduction.
Knows nothing of Spark, blocks or the order of tiles: who calls `add` with the same tiles in the same order gets the
same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import FloatArray, IntArray, Tile
from pipeline.compiler.call import Loop, Read
from pipeline.compiler.dense import chunk_size, chunks, execute_dense
from pipeline.compiler.edge_program import EdgeProgram, edge_program
from pipeline.compiler.loops import Texts, write_once
from pipeline.compiler.merging import merge_function
from pipeline.compiler.sorting import ranges, reduce_sorted
from pipeline.formula.interpret import execute_rows
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, topological
from pipeline.kernels.jit import read_only

EMPTY = np.empty((0, 0), np.float32)


@dataclass
class Accumulator:
    """What tiles have added up to, for the nodes of one block."""

    states: dict[str, npt.NDArray[Any]]
    """The states of the reduction (see its record), in the order of a loop's arguments: (nodes, lanes) float32, or
    (nodes,) marks."""
    kept: list[tuple[IntArray, FloatArray]] = field(default_factory=list)
    """dst and messages: holistic, of the nodes that are worked at; per edge, of all edges so far."""
    own: FloatArray | None = None
    """(nodes, width of a message): holistic only, one more message for each node."""

    @property
    def results(self) -> list[npt.NDArray[Any]]:
        """What a loop adds to, in the order of its arguments."""
        return list(self.states.values())


class CompiledReduction:
    """One reduction over edges, as compiled code that takes tiles one after another."""

    def __init__(
        self, program: EdgeProgram, offsets: Mapping[int, int], weights: Mapping[str, npt.NDArray[Any]], texts: Texts
    ):
        self.value = program.value
        edges = next(root.space for root in program.roots if not root.is_weight)
        assert isinstance(edges, Edges)
        self.edges = edges
        self.sent = program.moved("src")
        self._own = [value for value in program.own if value.is_node]
        self.local = list({value.id: value for value in [*program.moved("dst"), *self._own]}.values())
        self.program = program
        self.offsets = {value.id: offsets[value.id] for value in self.sent}
        self.weights = weight_arrays([*program.inner, *program.below, *program.own], weights)
        read = (value for value in [*program.inner, *program.below] if value.op == "input")
        self.edge_columns = sorted({value.attributes["name"] for value in read})
        self._chunk = chunk_size(program) if program.dense else 0
        self.record = program.reduction
        written = self.value.width and not self.record.keeps_messages
        self.loop = Loop(write_once(program, self.offsets, texts), program, self.weights) if written else None

    @property
    def takes_several(self) -> bool:
        """Whether `add` may be given several tiles put together: it computes nothing in chunks, and keeps nothing."""
        return self.loop is not None and not self._chunk and not self.record.is_holistic

    def ranges(self, tiles: Sequence[Tile], nodes: int) -> list[tuple[int, int]]:
        """The nodes that tiles are added for before `settle`: all at once, unless it keeps messages."""
        return ranges(tiles, nodes, self.program.roots[0].width) if self.record.is_holistic else [(0, nodes)]

    def start(self, nodes: int, read: Read) -> Accumulator:
        """The accumulator of a block, before any edge. `read(value)`: (nodes, *shape) float32 of a local value."""
        accumulator = Accumulator(self.record.start(nodes, self.value))
        own = [self._rows(operand, nodes, read) for operand in self.program.own]
        if own and self.record.is_holistic:
            accumulator.own = own[0].reshape(nodes, self.value.inputs[1].width)
        elif own:
            assert self.record.start_own is not None, self.value.op
            self.record.start_own(accumulator.states, own, self.value)
        return accumulator

    def add(self, accumulator: Accumulator, tile: Tile, payload: FloatArray, read: Read) -> None:
        """Adds the edges of a tile. `payload`: (senders, lanes) float32, the row of edge e being tile.indices[e]."""
        if not self.value.width or not tile.edges:
            return
        if not self.sent:
            payload = EMPTY
        if not self._chunk:
            assert self.loop is not None
            self.loop.run(tile, payload, read, [], accumulator.results)
            return
        for chunk in chunks(tile, self._chunk):
            dense = execute_dense(self.program, chunk, payload, read, self.offsets, self.weights)
            if self.loop is None:
                accumulator.kept.append((np.repeat(chunk.rows, np.diff(chunk.indptr)), dense[0]))
            else:
                self.loop.run(chunk, payload, read, dense, accumulator.results)

    def partial(self, tile: Tile, payload: FloatArray) -> FloatArray:
        """(len(tile.rows), width) float32: what the edges of a tile come to, for `merge` in another block. Only of
        distributive reductions that read nothing at the dst. tile.rows is 0, 1, 2, …"""
        accumulator = self.start(len(tile.rows), _nothing)
        self.add(accumulator, tile, payload, _nothing)
        return self.finish(accumulator).reshape(len(tile.rows), self.value.width)

    def merge(self, accumulator: Accumulator, rows: IntArray, partial: FloatArray) -> None:
        """Adds what another block has made of edges into some nodes: rows (r,), partial (r, width)."""
        self._merge(read_only(rows), read_only(partial), *accumulator.results)

    def settle(self, accumulator: Accumulator, low: int, high: int) -> None:
        """The nodes low … high - 1 have all their edges: what was kept of these is used up."""
        if not self.record.is_holistic or not self.value.width:
            return
        if accumulator.own is not None:
            accumulator.kept.append((np.arange(low, high, dtype=np.int32), accumulator.own[low:high]))
        if accumulator.kept:
            dst, messages = (np.concatenate(part) for part in zip(*accumulator.kept, strict=True))
            accumulator.kept.clear()
            with np.errstate(invalid="ignore"):
                reduce_sorted(self.value, dst, messages, accumulator.states["out"])

    def finish(self, accumulator: Accumulator) -> FloatArray:
        """(nodes, *shape) float32, per edge (edges, *shape); uses up the accumulator."""
        if self.record.is_per_edge:
            found = [messages for _, messages in accumulator.kept] or [np.empty((0, self.value.width), np.float32)]
            accumulator.kept.clear()
            return np.concatenate(found).reshape(-1, *self.value.shape)
        return self.record.result(accumulator.states, self.value)

    # ---- inside

    @functools.cached_property
    def _merge(self) -> Callable[..., None]:
        return merge_function(self.record)

    def _rows(self, value: Value, nodes: int, read: Read) -> FloatArray:
        if value.is_node:
            return read(value)
        return np.broadcast_to(self.weights[value.id], (nodes, *value.shape))


def compile_reduction(
    value: Value, offsets: Mapping[int, int], weights: Mapping[str, npt.NDArray[Any]], texts: Texts | None = None
) -> CompiledReduction:
    """Compiles a reduction.

    Parameters
    ----------
    value
        A reduction over all, proper or loop edges: no added self-loops, which come as further inputs.
    offsets
        Value.id of a sent node value → its first lane in the rows of the payload.
    weights
        Name → float32 array.
    texts
        Of other loops, among which there may be one alike; this one's is put there.
    """
    return CompiledReduction(edge_program(value), offsets, weights, {} if texts is None else texts)


def _nothing(value: Value) -> FloatArray:
    raise AssertionError(f"{value.op} is read at the dst: partial results are made at the src")


def weight_arrays(values: list[Value], weights: Mapping[str, npt.NDArray[Any]]) -> dict[int, FloatArray]:
    """Value.id → float32 array, of all weights among the values and of what is computed from weights alone."""
    folded: dict[int, FloatArray] = {}
    with np.errstate(all="ignore"):
        for value in topological(value for value in values if value.is_weight):
            if value.op == "weight":
                array = weights[value.attributes["name"]]
            elif value.op == "constant":
                array = np.asarray(value.attributes["value"])
            else:
                array = execute_rows(value, [folded[operand.id] for operand in value.inputs])
            folded[value.id] = np.ascontiguousarray(array, np.float32).reshape(value.shape)
    return folded
