"""A reduction over edges, as compiled code that takes one tile after another.

Comes in: a reduction of a formula, where the sent values lie in the payload, weights. Goes out: a CompiledReduction.
Knows nothing of Spark, blocks or the order of tiles: who calls `add` with the same tiles in the same order gets the
same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.blocks import FloatArray, IntArray, Tile
from pipeline.compiler.call import Loop, Read
from pipeline.compiler.dense import chunk_size, chunks, execute_dense
from pipeline.compiler.edge_program import GATHERED, EdgeProgram, edge_program
from pipeline.compiler.loops import write_loop
from pipeline.compiler.sorting import ranges, write_quantiles
from pipeline.formula.interpret import execute_rows
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, topological
from pipeline.kernels.exchange import add_rows, lower_rows, multiply_rows, raise_rows
from pipeline.kernels.jit import read_only

EMPTY = np.empty((0, 0), np.float32)
START = {"max": -np.inf, "min": np.inf, "prod": 1.0}
MERGE = {"sum": add_rows, "max": raise_rows, "min": lower_rows, "prod": multiply_rows}  # of those in MERGED


@dataclass
class Accumulator:
    """What tiles have added up to, for the nodes of one block."""

    out: FloatArray
    """(nodes, width): sum, product, largest, smallest, last, quantile, or the weighted sum of a softmax."""
    seen: npt.NDArray[np.bool_] | None = None
    """(nodes,): max and min only, whether a node has an edge."""
    top: FloatArray | None = None
    """(nodes, lanes of the logits): softmax_sum only, the largest logit."""
    total: FloatArray | None = None
    """(nodes, lanes of the logits): softmax_sum only, Σ exp(logit - top)."""
    gathered: list[tuple[IntArray, FloatArray]] = field(default_factory=list)
    """quantile only: dst and messages of the nodes that are worked at."""
    own: FloatArray | None = None
    """(nodes, width of a message): quantile only, one more message for each node."""

    @property
    def results(self) -> list[npt.NDArray[Any]]:
        """What a loop adds to, in the order of its arguments."""
        return [array for array in (self.out, self.top, self.total, self.seen) if array is not None]


class CompiledReduction:
    """One reduction over edges, as compiled code that takes tiles one after another."""

    def __init__(self, program: EdgeProgram, offsets: Mapping[int, int], weights: Mapping[str, npt.NDArray[Any]]):
        self.value = program.value
        edges = next(root.space for root in program.roots if not root.is_weight)
        assert isinstance(edges, Edges)
        self.edges = edges
        self.sent = program.moved("src")
        self._own = [value for value in program.own if value.is_node]
        self.local = list({value.id: value for value in [*program.moved("dst"), *self._own]}.values())
        self.program = program
        self.offsets = {value.id: offsets[value.id] for value in self.sent}
        self.weights = fold_weights([*program.inner, *program.below, *program.own], weights)
        read = (value for value in [*program.inner, *program.below] if value.op == "input")
        self.edge_columns = sorted({value.attributes["name"] for value in read})
        self._chunk = chunk_size(program) if program.dense else 0
        self._gathers = program.value.op in GATHERED
        written = self.value.width and not self._gathers
        self.loop = Loop(write_loop(program, self.offsets), program, self.weights) if written else None

    def ranges(self, tiles: Sequence[Tile], nodes: int) -> list[tuple[int, int]]:
        """The nodes that tiles are added for before `settle`: all at once, unless a node's messages do not merge."""
        return ranges(tiles, nodes, self.program.roots[0].width) if self._gathers else [(0, nodes)]

    def start(self, nodes: int, read: Read) -> Accumulator:
        """The accumulator of a block, before any edge. `read(value)`: (nodes, *shape) float32 of a local value."""
        value = self.value
        empty = value.attributes.get("empty", 0.0)
        out = np.full((nodes, value.width), START.get(value.op, empty), np.float32)
        if value.op in ("max", "min"):
            return Accumulator(out, seen=np.zeros(nodes, np.bool_))
        own = [self._rows(operand, nodes, read) for operand in self.program.own]
        if value.op == "quantile" and own:
            return Accumulator(out, own=own[0].reshape(nodes, value.inputs[1].width))
        if value.op == "last" and own:
            out[:] = np.broadcast_to(own[0], (nodes, *value.shape)).reshape(nodes, value.width)
        if value.op != "softmax_sum":
            return Accumulator(out)
        logits = self.program.roots[0]
        top = np.full((nodes, logits.width), -np.inf, np.float32)
        total = np.zeros((nodes, logits.width), np.float32)
        if own:
            self._add_own(out, top, total, own)
        return Accumulator(out, top=top, total=total)

    def add(self, accumulator: Accumulator, tile: Tile, payload: FloatArray, read: Read) -> None:
        """Adds the edges of a tile. `payload`: (senders, lanes) float32, the row of edge e being tile.columns[e]."""
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
                accumulator.gathered.append((np.repeat(chunk.rows, np.diff(chunk.offsets)), dense[0]))
            else:
                self.loop.run(chunk, payload, read, dense, accumulator.results)

    def partial(self, tile: Tile, payload: FloatArray) -> FloatArray:
        """(len(tile.rows), width) float32: what the edges of a tile come to, for `merge` in another block. Only of
        operations in MERGED that read nothing at the dst. tile.rows is 0, 1, 2, …"""
        accumulator = self.start(len(tile.rows), _nothing)
        self.add(accumulator, tile, payload, _nothing)
        return accumulator.out

    def merge(self, accumulator: Accumulator, rows: IntArray, partial: FloatArray) -> None:
        """Adds what another block has made of edges into some nodes: rows (r,), partial (r, width)."""
        MERGE[self.value.op](read_only(rows), read_only(partial), accumulator.out)
        if accumulator.seen is not None:
            accumulator.seen[rows] = True

    def settle(self, accumulator: Accumulator, low: int, high: int) -> None:
        """The nodes low … high - 1 have all their edges: what was kept of these is used up."""
        if not self._gathers or not self.value.width:
            return
        if accumulator.own is not None:
            accumulator.gathered.append((np.arange(low, high, dtype=np.int32), accumulator.own[low:high]))
        if accumulator.gathered:
            dst, messages = (np.concatenate(part) for part in zip(*accumulator.gathered, strict=True))
            accumulator.gathered.clear()
            with np.errstate(invalid="ignore"):
                write_quantiles(self.value, dst, messages, accumulator.out)

    def finish(self, accumulator: Accumulator) -> FloatArray:
        """(nodes, *shape) float32; uses up the accumulator."""
        out = accumulator.out
        shape = (len(out), *self.value.shape)
        if accumulator.seen is not None:
            out[~accumulator.seen] = self.value.attributes["empty"]
        if accumulator.top is not None:
            assert accumulator.total is not None
            total = accumulator.total
            # a softmax of nothing but -inf is 0 / 0, as in PyG; `total` counts those edges
            total[(accumulator.top == -np.inf) & (total > 0)] = np.nan
            result = out.reshape(shape)
            result /= _aligned(total, self.program.roots[0].shape, self.value.shape) + np.float32(1e-16)
        return out.reshape(shape)

    # ---- inside

    def _rows(self, value: Value, nodes: int, read: Read) -> FloatArray:
        if value.is_node:
            return read(value)
        return np.broadcast_to(self.weights[value.id], (nodes, *value.shape))

    def _add_own(self, out: FloatArray, top: FloatArray, total: FloatArray, own: list[FloatArray]) -> None:
        """One more edge for every node: the first one that is accumulated."""
        logits = self.program.roots[0].shape
        shape = self.value.shape
        nodes = len(out)
        top[:] = np.broadcast_to(_aligned(own[0], own[0].shape[1:], logits), (nodes, *logits)).reshape(top.shape)
        with np.errstate(invalid="ignore"):
            # exp(logit - top): 1; NaN for NaN and +inf; a -inf only counts until there is a larger logit
            share = np.where(top == -np.inf, np.float32(0), top - top + np.float32(1))
            total[:] = np.where(top == -np.inf, np.float32(1), share)
            message = _aligned(own[1], own[1].shape[1:], shape) * _aligned(share, logits, shape)
        out[:] = np.broadcast_to(message, (nodes, *shape)).reshape(out.shape)


def compile_reduction(
    value: Value, offsets: Mapping[int, int], weights: Mapping[str, npt.NDArray[Any]]
) -> CompiledReduction:
    """Compiles a reduction.

    Parameters
    ----------
    value
        sum, prod, max, min, last, quantile or softmax_sum over all, proper or loop edges: no added self-loops, which
        come as own logit and own message.
    offsets
        Value.id of a sent node value → its first lane in the rows of the payload.
    weights
        Name → float32 array.
    """
    return CompiledReduction(edge_program(value), offsets, weights)


def _nothing(value: Value) -> FloatArray:
    raise AssertionError(f"{value.op} is read at the dst: partial results are made at the src")


def fold_weights(values: list[Value], weights: Mapping[str, npt.NDArray[Any]]) -> dict[int, FloatArray]:
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


def _aligned(array: FloatArray, shape: tuple[int, ...], to: tuple[int, ...]) -> FloatArray:
    """Rows of `shape`, with 1s behind the row axis so that they broadcast to rows of `to`."""
    return array.reshape(len(array), *(1,) * (len(to) - len(shape)), *shape)
