"""The edges of a block: tiles, what they read of other blocks, and the reductions that go through them.

Comes in: what a superstep has made of a block so far, compiled reductions. Goes out: their results, one row per node,
or per node with an edge (branch.py). Knows nothing of Spark, nor of how what is sent gets here. The order of all sums
over edges is that of tiles_for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import LOOPS, Block, FloatArray, IntArray, LongArray, Tile
from pipeline.blocks.chosen import Numbered
from pipeline.blocks.stacked import StackedTiles, ends_of
from pipeline.blocks.tile_edges import pulled_edges, pushed_rows
from pipeline.compiler import EdgePass
from pipeline.compiler.call import Read
from pipeline.compiler.dense import rows_between
from pipeline.compiler.edge_pass import Accumulators
from pipeline.errors import StorageError
from pipeline.formula.spaces import ALL, Edges, Nodes
from pipeline.formula.spaces import SELF_LOOPS as LOOPS_PART
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Shipment, Superstep
from pipeline.run.branch_rows import BranchRows
from pipeline.run.outgoing import Outgoing
from pipeline.run.total import Total
from pipeline.schema import EdgeType


class Payload(NamedTuple):
    """What a tile reads of another block: row c is that of the tile's column c."""

    values: FloatArray
    """(k, shipment.width) float32."""
    rows: IntArray | None = None
    """(rows of the payload,) int32: where in `values` each is, if they were not put together; None: they were."""


def payload_of(received: Sequence[Payload]) -> tuple[FloatArray, LongArray]:
    """What several tiles read, one behind another, (sum of rows, w); where that of each begins, and the last ends."""
    bases = ends_of(np.array([len(part.values if part.rows is None else part.rows) for part in received]))
    out = np.empty((int(bases[-1]), received[0].values.shape[1]), np.float32)
    ends = bases.tolist()
    for part, start, end in zip(received, ends[:-1], ends[1:], strict=True):
        if part.rows is None:
            out[start:end] = part.values
        else:
            part.values.take(part.rows, axis=0, out=out[start:end], mode="clip")  # "raise" fills a copy first
    return out, bases


Receive = Callable[[Shipment, int], Payload]
"""(shipment, source block or LOOPS) → what the tile reads of it."""
Partial = Callable[[Shipment, int, Value], FloatArray]
"""(shipment, source block, reduction) → its partial results, (pushed rows of the tile, reduction.width) float32."""
Partials = Callable[[Shipment, StackedTiles, Value], FloatArray]
"""(shipment, tiles, reduction) → the partial results of all of them, one behind another."""
Values = dict[int, FloatArray]
"""Value.id → (n, *shape) float32, C order; n is 1 for a value of the whole graph."""


Lies = Callable[[Shipment, int], tuple[FloatArray, IntArray]]
"""(shipment, source block or LOOPS) → the rows of that block, and which of them this block gets: where blocks are in
memory."""


NOTHING = np.zeros((1, 1), np.float32)
"""The payload of a pass that reads none."""


Tiles = Sequence[tuple[int, Tile]]
"""(source block or LOOPS, tile), in the order that fixes all sums."""


class NumberedEdges(NamedTuple):
    """The edges of a block by the number that a column has."""

    places: Mapping[float, int]
    """Number → which of the numbers it is, ascending."""
    tiles: Sequence[tuple[int, Numbered]]
    """(source block or LOOPS, its edges), in the order that fixes all sums."""


@dataclass
class Work:
    """What a superstep has made of a block so far."""

    plan: Plan
    step: Superstep
    block: Block
    values: Values
    receive: Receive
    partial: Partial
    totals: dict[int, Total]
    partials: Partials | None = None
    """The same of several tiles at once, if that is less work than one after another."""
    chosen: dict[tuple[Edges, str], NumberedEdges] = field(default_factory=dict)
    """Edges, column → the edges by the number that the column has, for branches."""
    branch_rows: Mapping[int, BranchRows | None] | None = None
    """Branch.id → the rows of a branch, in a block that is cut down to some nodes; None, of a branch: all nodes. None:
    the block is whole, and its edges tell the rows."""
    outgoing: Outgoing | None = None
    """Where values are made side by side; None: each is an array of its own."""
    lies: Lies | None = None
    """None: what other blocks send is not in memory as they have made it."""

    @cached_property
    def shipments(self) -> dict[EdgeType, Shipment]:
        """What comes in, by the edges that it crosses."""
        return {shipment.edge_type: shipment for shipment in self.step.receives}

    @cached_property
    def pushed(self) -> set[int]:
        """Ids of the reductions that other blocks have begun."""
        return self.step.pushed

    def weight(self, value: Value) -> npt.NDArray[Any]:
        """A learned weight or a number."""
        if value.op == "weight":
            return self.plan.weights[value.attributes["name"]]
        return np.asarray(value.attributes["value"], np.float32)

    def read(self, value: Value) -> FloatArray:
        """A node value of this block, whole."""
        return self.values[value.id]

    def array(self, value: Value, nodes: int) -> FloatArray:
        """(nodes, *shape) to write a node value into."""
        return self.outgoing.array(value, nodes) if self.outgoing else np.empty((nodes, *value.shape), np.float32)

    def nodes(self, value: Value) -> int:
        assert isinstance(value.space, Nodes)
        return self.block.nodes(value.space.type)


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


def reduce_tiles(
    work: Work, edge_pass: EdgePass, tiles: Tiles, nodes: int, read: Read, pushed: bool | None = None
) -> list[FloatArray]:
    """The result of each reduction of a pass: (nodes, *shape). For each tile its payload is asked for once, and is in
    the cache for all of them.

    Parameters
    ----------
    tiles
        Their rows are below `nodes`, and are those of what `read` gives.
    pushed
        Whether other blocks have begun the reductions; None: look it up.
    """
    reductions = edge_pass.reductions
    accumulators = {reduction.value.id: reduction.start(nodes, read) for reduction in reductions}
    if pushed is None:
        pushed = is_pushed(work, edge_pass)
    for low, high in edge_pass.ranges([tile for _, tile in tiles], nodes):
        for source, tile in tiles:
            # a compact copy of the pulled edges takes 2 ns an edge; a second tile for the others would take a third
            # more time whenever all are pulled, because most rows are in both
            part = pulled_edges(tile, edge_pass.edge_columns) if pushed else rows_between(tile, low, high)
            add_tile(work, edge_pass, accumulators, source, part, pushed_rows(tile) if pushed else None, read)
        for reduction in reductions:
            reduction.settle(accumulators[reduction.value.id], low, high)
    return [reduction.finish(accumulators.pop(reduction.value.id)) for reduction in reductions]


def is_pushed(work: Work, edge_pass: EdgePass) -> bool:
    """Whether other blocks have begun the reductions of a pass: all or none."""
    return edge_pass.reductions[0].value.id in work.pushed


def add_tile(
    work: Work,
    edge_pass: EdgePass,
    accumulators: Accumulators,
    source: int,
    part: Tile | None,
    rows: IntArray | None,
    read: Read,
) -> None:
    """Adds the edges of a tile, or some of them; then what another block has begun, for the rows that it has begun."""
    shipment = work.shipments.get(edge_pass.edges.type)
    if part and part.edges:
        received = Payload(NOTHING)
        if shipment and edge_pass.sent:
            received = work.receive(shipment, source)
            _check_received(work.block, source, part, received)
        edge_pass.add(accumulators, read_at(part, received.rows), received.values, read)
    if shipment and rows is not None and len(rows):
        for reduction in edge_pass.reductions:
            partial = work.partial(shipment, source, reduction.value)
            check_rows(work.block, source, len(partial) == len(rows))
            reduction.merge(accumulators[reduction.value.id], rows, partial)


def _check_received(block: Block, source: int, tile: Tile, received: Payload) -> None:
    """The loop that reads a payload looks at no bounds, so a pass over the tile's columns does."""
    rows = len(received.values if received.rows is None else received.rows)
    check_rows(block, source, int(tile.indices.max()) < rows)


def check_rows(block: Block, source: int, fits: bool) -> None:
    if not fits:
        raise not_sent(block, source)


def not_sent(block: Block, source: int) -> StorageError:
    """What is said where the files of two blocks do not go together."""
    return StorageError(
        f"block {block.index if source == LOOPS else source} of the prepared graph does not send what block "
        f"{block.index} reads of it: its files are of different graphs; prepare the graph again"
    )
