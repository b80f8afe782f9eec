"""Bytes that a run moves: what blocks send each other, and what they carry over for themselves.

Comes in: a superstep, and the counts of a prepared graph. Goes out: rows and bytes.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.blocks.wire import number_bytes
from pipeline.plan.counts import Counts
from pipeline.plan.superstep import Shipment, Superstep

FLOAT = 4  # bytes
ID = 8  # bytes of a node's id that is sent; one of text may take more
PART = 8  # bytes of a lane of a block's part of a total, which is float64


def shipped_rows(counts: Counts, shipment: Shipment) -> tuple[int, int]:
    """Rows of all payloads of a shipment, from blocks to others and to themselves; partial results of it."""
    loops = sum(counts.loops_of(shipment.edge_type)) if shipment.loops else 0
    if not shipment.push:
        return sum(counts.rows_in(shipment.edge_type)) + loops, 0
    pulled, pushed = counts.hybrid_rows(shipment.edge_type)
    return sum(pulled) + loops, sum(pushed)


def shipment_bytes(counts: Counts, shipment: Shipment) -> int:
    """Bytes of both."""
    rows, partials = shipped_rows(counts, shipment)
    return (rows * shipment.width + partials * shipment.partial_width) * number_bytes(shipment.wire)


def received_bytes(counts: Counts, shipment: Shipment, block: int) -> int:
    """Those of them that one block gets, from itself too."""
    loops = counts.loops_of(shipment.edge_type)[block] * shipment.width if shipment.loops else 0
    return (counts.lanes_in(shipment, block) + loops) * number_bytes(shipment.wire)


def shipped_bytes(counts: Counts, step: Superstep) -> int:
    """Bytes of all payloads and partial results that a superstep ships, and of the totals' parts."""
    payloads = sum(shipment_bytes(counts, shipment) for shipment in step.ships)
    return payloads + total_bytes(counts, step) + id_bytes(counts, step)


def id_bytes(counts: Counts, step: Superstep) -> int:
    """Bytes of the ids that a superstep ships, for the rows of edges that are written behind it."""
    return sum(sum(counts.rows_in(edge_type)) for edge_type in step.ships_ids) * ID


def total_lanes(step: Superstep) -> int:
    """Lanes of the totals whose parts a block sends to every block."""
    return sum(value.width for value in step.totals)


def total_bytes(counts: Counts, step: Superstep) -> int:
    """Bytes of these parts: a row from each block to each."""
    return counts.blocks**2 * total_lanes(step) * PART


def kept_lanes(step: Superstep) -> int:
    """Lanes per node of the state that blocks carry over to the next superstep."""
    return sum(value.width for value in step.keeps if value.is_node)


def kept_totals(step: Superstep) -> int:
    """Lanes of the same, of which a block has a single row: totals, and what was computed from them."""
    return sum(value.width for value in step.keeps if value.is_graph)


def kept_bytes(counts: Counts, step: Superstep) -> int:
    """Bytes of that state."""
    kept = sum(sum(counts.nodes_of(value.space)) * value.width for value in step.keeps if value.is_node)
    return (kept + counts.blocks * kept_totals(step)) * FLOAT


def stored_bytes(counts: Counts, step: Superstep, own: Collection[int]) -> int:
    """Bytes that a superstep leaves in the files of a work directory on a disk. `own`: ids of the node values that are
    kept, or sent alone; several that are sent together lie there side by side, once for all types of edges."""
    values = {value.id: value for value in [*step.keeps, *(value for each in step.ships for value in each.values)]}
    nodes = sum(sum(counts.nodes_of(values[id].space)) * values[id].width for id in own if values[id].is_node)
    graph = counts.blocks * sum(values[id].width for id in own if values[id].is_graph)
    alike = {each.values: each for each in step.ships if len(each.values) > 1}
    together = sum(sum(counts.nodes_of(each.values[0].space)) * each.width for each in alike.values())
    return (nodes + graph + together) * FLOAT + counts.blocks * total_lanes(step) * PART
