"""A pass over all edges of a block: small tiles are put together, so that what is done for a tile is done for many.

Comes in: what a superstep has made of a block so far, a compiled pass. Goes out: its results, a row for every node.
With P blocks there are P * P tiles: what each costs beside its edges is all that is left when they have few. The bits
are those of one tile after another (edges.py).
"""

from __future__ import annotations

import numpy as np

from pipeline.blocks.block import LOOPS, FloatArray, LongArray
from pipeline.blocks.stacked import StackedTiles, ends_of, groups_of
from pipeline.blocks.tile_edges import pulled_edges, pushed_rows
from pipeline.blocks.together import together
from pipeline.compiler import EdgePass
from pipeline.compiler.edge_pass import Accumulators, Several
from pipeline.formula.spaces import PROPER, SELF_LOOPS
from pipeline.formula.values import Value
from pipeline.plan.superstep import Shipment
from pipeline.run.edges import (
    NOTHING,
    Work,
    add_tile,
    check_rows,
    is_pushed,
    not_sent,
    payload_of,
    reduce_tiles,
    tiles_for,
)

TOGETHER = 1 << 13
"""Edges of tiles that are put together. What they read is copied: with 64 columns 2 MB, which the cache holds."""


FEWEST = 16
"""Tiles that are worth it: a loop over several is a function of its own, which takes a second to compile."""


def reduce_edges(work: Work, edge_pass: EdgePass) -> None:
    """All reductions of a pass, a row for every node."""
    nodes = work.nodes(edge_pass.reductions[0].value)
    tiles = work.block.tiles.get(edge_pass.edges.type)
    if isinstance(tiles, StackedTiles) and edge_pass.takes_several:
        results = _reduce_stacked(work, edge_pass, tiles, nodes)
    else:
        results = reduce_tiles(work, edge_pass, tiles_for(edge_pass.edges, work.block), nodes, work.read)
    for reduction, result in zip(edge_pass.reductions, results, strict=True):
        work.values[reduction.value.id] = result


def _reduce_stacked(work: Work, edge_pass: EdgePass, tiles: StackedTiles, nodes: int) -> list[FloatArray]:
    accumulators = {reduction.value.id: reduction.start(nodes, work.read) for reduction in edge_pass.reductions}
    loops = int(LOOPS in tiles)  # which come first
    part = edge_pass.edges.part
    some = tiles.part(loops if part == PROPER else 0, loops if part == SELF_LOOPS else len(tiles))
    pushed = is_pushed(work, edge_pass)
    for first, last in groups_of(some.edge_ends, TOGETHER):
        if last - first >= FEWEST:
            _add_several(work, edge_pass, accumulators, some.part(first, last), pushed)
            continue
        for source in some.heads[first:last, 0].tolist():
            tile = some[source]
            pulled = pulled_edges(tile, edge_pass.edge_columns) if pushed else tile
            add_tile(work, edge_pass, accumulators, source, pulled, pushed_rows(tile) if pushed else None, work.read)
    return [reduction.finish(accumulators.pop(reduction.value.id)) for reduction in edge_pass.reductions]


def _add_several(
    work: Work, edge_pass: EdgePass, accumulators: Accumulators, tiles: StackedTiles, pushed: bool
) -> None:
    shipment = work.shipments.get(edge_pass.edges.type)
    sources = tiles.heads[:, 0].tolist()
    values, bases = NOTHING, ends_of(tiles.heads[:, 3])
    if shipment and edge_pass.sent:
        values, bases = payload_of([work.receive(shipment, source) for source in sources])
    pulled = together(tiles, bases, pushed=not pushed, names=edge_pass.edge_columns)
    if pulled.wrong is not None:
        raise not_sent(work.block, sources[pulled.wrong])
    partials: dict[int, FloatArray] = {}
    rows, ends = pulled.tile.rows[:0], np.zeros(len(tiles) + 1, np.int64)
    if shipment and pushed:
        rest = together(tiles, bases, pulled=False)
        rows, ends = rest.tile.rows, rest.row_ends
        for reduction in edge_pass.reductions:
            partials[reduction.value.id] = _partials(work, shipment, tiles, ends, reduction.value)
    several = Several(pulled.tile, pulled.row_ends, rows, ends)
    edge_pass.add_several(accumulators, several, values, work.read, partials)


def _partials(work: Work, shipment: Shipment, tiles: StackedTiles, ends: LongArray, reduction: Value) -> FloatArray:
    """The partial results of several tiles, one behind another; `ends`: where the rows of each begin."""
    if work.partials is not None:
        return work.partials(shipment, tiles, reduction)
    found: list[FloatArray] = []
    for source, rows in zip(tiles.heads[:, 0].tolist(), np.diff(ends).tolist(), strict=True):
        if rows:
            found.append(work.partial(shipment, source, reduction))
            check_rows(work.block, source, len(found[-1]) == rows)
    return np.concatenate([np.empty((0, reduction.width), np.float32), *found])
