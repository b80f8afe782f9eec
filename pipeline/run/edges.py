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

from pipeline.blocks.block import LOOPS, Block, FloatArray, IntArray, Tile
from pipeline.blocks.tile_edges import pulled_edges, pushed_rows
from pipeline.compiler import EdgePass
from pipeline.compiler.call import Read
from pipeline.compiler.dense import rows_between
from pipeline.errors import StorageError
from pipeline.formula.spaces import ALL, Edges, Nodes
from pipeline.formula.spaces import SELF_LOOPS as LOOPS_PART
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Shipment, Superstep
from pipeline.run.together import Together
from pipeline.run.total import Total
from pipeline.schema import EdgeType


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
Values = dict[int, FloatArray]
"""Value.id → (n, *shape) float32, C order; n is 1 for a value of the whole graph."""


Tiles = Sequence[tuple[int, Tile]]
"""(source block or LOOPS, tile), in the order that fixes all sums."""


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
    chosen: dict[tuple[EdgeType, str, str], Mapping[float, Tiles]] = field(default_factory=dict)
    """Type of edges, column, part of the edges → number → the edges whose column has it, for branches."""
    together: Together | None = None
    """Where values are made side by side; None: each is an array of its own."""

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
        return self.together.array(value, nodes) if self.together else np.empty((nodes, *value.shape), np.float32)

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


def reduce_edges(work: Work, edge_pass: EdgePass) -> None:
    """All reductions of a pass, a row for every node."""
    nodes = work.nodes(edge_pass.reductions[0].value)
    results = reduce_tiles(work, edge_pass, tiles_for(edge_pass.edges, work.block), nodes, work.read)
    for reduction, result in zip(edge_pass.reductions, results, strict=True):
        work.values[reduction.value.id] = result


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
    shipment = work.shipments.get(edge_pass.edges.type)
    nothing = Payload(np.zeros((1, 1), np.float32))
    if pushed is None:
        pushed = reductions[0].value.id in work.pushed  # of a pass all or none are
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
                edge_pass.add(accumulators, read_at(part, received.rows), received.values, read)
            if shipment and pushed and len(rows := pushed_rows(tile)):
                for reduction in reductions:
                    partial = work.partial(shipment, source, reduction.value)
                    _check_rows(work.block, source, len(partial) == len(rows))
                    reduction.merge(accumulators[reduction.value.id], rows, partial)
        for reduction in reductions:
            reduction.settle(accumulators[reduction.value.id], low, high)
    return [reduction.finish(accumulators.pop(reduction.value.id)) for reduction in reductions]


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
