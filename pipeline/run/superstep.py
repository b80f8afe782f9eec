"""The block program: one superstep of one block. Arrays in, arrays out.

Comes in: a plan, a superstep of it, a block, the block's state, and functions that give what other blocks sent. Goes
out: the values that somebody still needs. Knows nothing of Spark: the same function runs in one process (fused.py) and
behind a shuffle (stage.py), with the same bits, because the order of every sum is fixed here: tiles by source block,
edges in tile order and then a partial result of those that are pushed, node rows in chunks of ROW_CHUNK, the parts of a
total by block (total.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import LOOPS, Block, FloatArray, IntArray, Tile
from pipeline.blocks.tile_edges import pulled_edges, pushed_rows
from pipeline.compiler import EdgePass
from pipeline.compiler.dense import rows_between
from pipeline.errors import StorageError
from pipeline.formula.interpret import execute_rows, last_readers
from pipeline.formula.spaces import ALL, Edges, Nodes
from pipeline.formula.spaces import SELF_LOOPS as LOOPS_PART
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.kernels.gather import gather_rows
from pipeline.kernels.jit import read_only
from pipeline.plan.levels import local_values
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Phase, Shipment, Superstep
from pipeline.run.total import Total, TotalArray, merged

# Node values pass through the cache in chunks: 4096 rows of 64 lanes are 1 MB. A constant, because BLAS may sum another
# way for another number of rows.
ROW_CHUNK = 4096


class Payload(NamedTuple):
    """What a tile reads of another block: row c is that of the tile's column c."""

    values: FloatArray
    """(k, shipment.width) float32."""
    rows: IntArray | None = None
    """(rows of the payload,) int32: where in `values` each is, if they were not put together; None: they were."""


Receive = Callable[[Shipment, int], Payload]
"""(shipment, source block or LOOPS) → what the tile reads of it."""
Partial = Callable[[Shipment, int, Value], FloatArray]
"""(shipment, source block, reduction) → its partial results, (pushed rows of the tile, reduction.width) float32."""
Parts = Callable[[Value], Sequence[TotalArray]]
"""total → its parts, one from each block, in the order of the blocks."""
Values = dict[int, FloatArray]
"""Value.id → (n, *shape) float32, C order; n is 1 for a value of the whole graph."""


@dataclass(frozen=True)
class Computed:
    """What a superstep has made of a block."""

    values: Values
    """Those that the step keeps, those it ships, and in the last step the outputs."""
    parts: dict[int, TotalArray]
    """Value.id of each total of the step → the block's part of it."""


@dataclass
class _Work:
    plan: Plan
    step: Superstep
    block: Block
    values: Values
    receive: Receive
    partial: Partial
    totals: dict[int, Total]

    def read(self, value: Value) -> FloatArray:
        """A node value of this block, whole."""
        return self.values[value.id]

    def nodes(self, value: Value) -> int:
        assert isinstance(value.space, Nodes)
        return self.block.nodes(value.space.type)


def compute(
    plan: Plan,
    step: Superstep,
    block: Block,
    state: Mapping[int, FloatArray],
    receive: Receive,
    partial: Partial,
    parts: Parts,
) -> Computed:
    """Runs a superstep on a block."""
    work = _Work(plan, step, block, dict(state), receive, partial, {value.id: Total(value) for value in step.totals})
    passes = plan.passes(step)
    with np.errstate(all="ignore"):
        for value in step.merges:
            work.values[value.id] = merged(value, parts(value))
        for value in step.graph_values:
            _run_whole(work, value)
        for phase, over_edges in zip(step.phases, passes, strict=True):
            _run_nodes(work, phase)
            for edge_pass in over_edges:
                _reduce(work, edge_pass)
    return Computed(
        {value.id: work.values[value.id] for value in step.live_out},
        {number: total.part for number, total in work.totals.items()},
    )


def side_by_side(shipment: Shipment, values: Mapping[int, FloatArray]) -> FloatArray:
    """All values of a shipment, (n, shipment.width): what partial results are made of. A view if it is one value."""
    arrays = [_flat(values[value.id], value) for value in shipment.values]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


def sent_rows(shipment: Shipment, block: Block, target: int) -> IntArray:
    """Local indices of the nodes whose rows a block sends to another one, or by target LOOPS to itself."""
    rows = block.sends[shipment.edge_type][target]
    return rows[: block.pulled.get(shipment.edge_type, {}).get(target)] if shipment.push else rows


def payload(shipment: Shipment, rows: IntArray, values: Mapping[int, FloatArray]) -> FloatArray:
    """The rows of a shipment that one send list names: (k, shipment.width) float32."""
    out = np.empty((len(rows), shipment.width), np.float32)
    for value in shipment.values:
        gather_rows(read_only(_flat(values[value.id], value)), read_only(rows), shipment.offsets[value.id], out)
    return out


def read_at(tile: Tile, rows: IntArray | None) -> Tile:
    """The tile with column c read from rows[c]."""
    return tile if rows is None else replace(tile, indices=rows[tile.indices])


def tiles_for(edges: Edges, block: Block) -> list[tuple[int, Tile]]:
    """The tiles of a part of the edges, in the order that fixes all sums: self-loops, then source blocks 0, 1, …"""
    tiles = block.tiles.get(edges.type, {})
    return [
        (source, tiles[source])
        for source in sorted(tiles)
        if edges.part == ALL or (source == LOOPS) == (edges.part == LOOPS_PART)
    ]


def _reduce(work: _Work, edge_pass: EdgePass) -> None:
    """All reductions of a pass: for each tile its payload is asked for once, and is in the cache for all of them."""
    reductions = edge_pass.reductions
    nodes = work.nodes(reductions[0].value)
    accumulators = {reduction.value.id: reduction.start(nodes, work.read) for reduction in reductions}
    shipment = next((s for s in work.step.receives if s.edge_type == edge_pass.edges.type), None)
    nothing = Payload(np.zeros((1, 1), np.float32))
    pushed = reductions[0].value.id in work.step.pushed  # of a pass all or none are
    tiles = tiles_for(edge_pass.edges, work.block)
    for low, high in edge_pass.ranges([tile for _, tile in tiles], nodes):
        for source, tile in tiles:
            # a compact copy of the pulled edges takes 2 ns an edge; a second tile for the others would take a third
            # more time whenever all are pulled, because most rows are in both
            part = pulled_edges(tile, edge_pass.edge_columns) if pushed else rows_between(tile, low, high)
            if part and part.edges:
                received = nothing
                if shipment and edge_pass.sent:
                    received = work.receive(shipment, source)
                    _check_received(work.block, source, part, received)
                edge_pass.add(accumulators, read_at(part, received.rows), received.values, work.read)
            if shipment and pushed and len(rows := pushed_rows(tile)):
                for reduction in reductions:
                    partial = work.partial(shipment, source, reduction.value)
                    _check_rows(work.block, source, len(partial) == len(rows))
                    reduction.merge(accumulators[reduction.value.id], rows, partial)
        for reduction in reductions:
            reduction.settle(accumulators[reduction.value.id], low, high)
    for reduction in reductions:
        work.values[reduction.value.id] = reduction.finish(accumulators.pop(reduction.value.id))


def _check_received(block: Block, source: int, tile: Tile, received: Payload) -> None:
    """The loop that reads a payload looks at no bounds, so a pass over the tile's columns does."""
    rows = len(received.values if received.rows is None else received.rows)
    _check_rows(block, source, int(tile.indices.max()) < rows)


def _check_rows(block: Block, source: int, fits: bool) -> None:
    if not fits:
        raise not_sent(block, source)


def not_sent(block: Block, source: int) -> StorageError:
    """What is said where the files of two blocks do not go together."""
    return StorageError(
        f"block {block.index if source == LOOPS else source} of the prepared graph does not send what block "
        f"{block.index} reads of it: its files are of different graphs; prepare the graph again"
    )


def _run_whole(work: _Work, value: Value) -> None:
    """A value of the whole graph: one row, the same in every block."""
    if value.op == "fill":
        work.values[value.id] = np.full((1, *value.shape), value.attributes["value"], np.float32)
        return
    operands = [_weight(work, entry) if entry.is_weight else work.values[entry.id] for entry in value.inputs]
    work.values[value.id] = np.ascontiguousarray(execute_rows(value, operands), np.float32)


def _weight(work: _Work, value: Value) -> npt.NDArray[Any]:
    if value.op == "weight":
        return work.plan.weights[value.attributes["name"]]
    return np.asarray(value.attributes["value"], np.float32)


def _run_nodes(work: _Work, phase: Phase) -> None:
    """Node values of a phase, chunk by chunk; only those that are read outside of it become whole arrays."""
    outside = _read_outside(work, phase)
    by_type: dict[str, list[Value]] = {}
    for value in phase.nodes:
        space = value.inputs[0].space if value.op in TOTALS else value.space
        assert isinstance(space, Nodes)
        if value.op == "input":
            column = work.block.features[space.type][value.attributes["name"]]
            work.values[value.id] = column.reshape(len(column), *value.shape)
        else:
            by_type.setdefault(space.type, []).append(value)
    for node_type, values in by_type.items():
        count = work.block.nodes(node_type)
        for value in values:
            if value.id in outside:
                work.values[value.id] = np.empty((count, *value.shape), np.float32)
        # of many relations a chunk has a thousand values: those that nobody reads any more make room in the cache
        last = last_readers(values, ())
        for start in range(0, count, ROW_CHUNK):
            _run_chunk(work, values, slice(start, min(start + ROW_CHUNK, count)), outside, last)


def _run_chunk(
    work: _Work, values: list[Value], rows: slice, outside: set[int], last: Mapping[int, Sequence[int]]
) -> None:
    chunk: dict[int, npt.NDArray[Any]] = {}

    def operand(value: Value) -> npt.NDArray[Any]:
        if value.id not in chunk:
            chunk[value.id] = _weight(work, value) if value.is_weight else work.values[value.id][rows]
        return chunk[value.id]

    count = rows.stop - rows.start
    for value in values:
        if value.op in TOTALS:
            work.totals[value.id].add(*map(operand, value.inputs))
            continue  # what it has read stays until the chunk is done
        if value.op == "fill":
            result = np.full((count, *value.shape), value.attributes["value"], np.float32)
        elif value.op == "spread":
            result = np.broadcast_to(work.values[value.inputs[0].id], (count, *value.shape))
        else:
            result = execute_rows(value, [operand(entry) for entry in value.inputs])
        chunk[value.id] = result
        if value.id in outside:
            work.values[value.id][rows] = result
        for number in last.get(value.id, ()):
            chunk.pop(number, None)


def _read_outside(work: _Work, phase: Phase) -> set[int]:
    """Ids of the values that others than the node values of this phase read."""
    step = work.step
    inside = {value.id for value in phase.nodes}
    outside = {value.id for value in step.live_out}
    for reduction in step.reductions:
        outside |= {value.id for value in local_values(reduction)}
    for other in step.phases:
        if other is not phase:
            outside |= {entry.id for value in other.nodes for entry in value.inputs}
    return outside & inside


def _flat(array: FloatArray, value: Value) -> FloatArray:
    return array.reshape(len(array), value.width)
