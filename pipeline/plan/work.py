"""Work: what there is to do in a run, counted: bytes, edges, lanes, products. What it takes is for seconds.py to say.

Comes in: a plan, and the counts of a prepared graph (its manifest). Goes out: the work of each superstep and block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.sorting import FLOATS
from pipeline.formula.operations import COSTLY, FREE, LANE_REDUCTIONS, OPERATIONS
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.plan.counts import Counts
from pipeline.plan.levels import local_values, sent_values
from pipeline.plan.memory import INDEX
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import FLOAT, kept_lanes, received_bytes
from pipeline.plan.superstep import Superstep, edges_of

ID = 8  # bytes of a node's id; one of text may have more


class Work(NamedTuple):
    """Of one block in one superstep."""

    opened: float = 0
    """Blocks opened."""
    read: float = 0
    """Bytes read of them."""
    tiles: float = 0
    """Tiles that a reduction goes over."""
    sent_rows: float = 0
    """Rows of other blocks that tiles read: each once in a tile, however many edges it has there."""
    sent_lanes: float = 0
    """Their lanes."""
    edges: float = 0
    """Edges that a reduction goes over in a generated loop."""
    edge_lanes: float = 0
    """Lanes that these loops compute or add up, of all edges."""
    weighed_lanes: float = 0
    """Lanes that a softmax weighs and adds up, of all edges."""
    edge_costly: float = 0
    """Exponentials and their like among them."""
    array_lanes: float = 0
    """Lanes of edge values that NumPy computes, chunk by chunk, because no loop can be generated for them."""
    sorted_lanes: float = 0
    """Lanes of messages that holistic reductions sort."""
    edge_products: float = 0
    """Multiply-adds of matrix products per edge."""
    node_lanes: float = 0
    """Lanes of node values that NumPy computes, or copies because others than the next operation read them."""
    node_costly: float = 0
    """Exponentials and their like among them."""
    node_products: float = 0
    """Multiply-adds of matrix products per node."""
    rows: float = 0
    """Rows of the result."""
    written: float = 0
    """Lanes of the result."""
    moved: float = 0
    """Distributed: bytes that reach the block through the JVM, from itself too."""


def works(plan: Plan, counts: Counts) -> list[list[Work]]:
    """The work of each superstep, block by block."""
    static = counts.static_of(plan)
    return [_works(plan, counts, step, static) for step in plan.steps]


def _works(plan: Plan, counts: Counts, step: Superstep, static: Sequence[int]) -> list[Work]:
    per_edge = add(_per_edge(reduction) for reduction in step.reductions)
    per_node = add([_kept(step), *map(_around, step.reductions), *(_per_node(value) for value in _chunked(step))])
    return [_block_work(plan, counts, step, block, static[block], per_edge, per_node) for block in range(counts.blocks)]


def _block_work(
    plan: Plan, counts: Counts, step: Superstep, block: int, static: int, per_edge: Work, per_node: Work
) -> Work:
    nodes, edges = counts.nodes[block], counts.edges[block]
    rows, lanes = _sent(counts, step, block)
    return Work(
        opened=1,
        read=_read(plan, counts, step, block, static),
        tiles=counts.blocks * sum(_passes(counts, reduction, block) for reduction in step.reductions),
        sent_rows=rows,
        sent_lanes=lanes,
        rows=nodes if step.outputs else 0,
        written=nodes * sum(value.width for value in step.outputs),
        moved=_moved(plan, counts, step, block),
    )._replace(
        **{name: edges * number for name, number in per_edge._asdict().items() if number},
        **{name: nodes * number for name, number in per_node._asdict().items() if number},
    )


def add(works: Iterable[Work]) -> Work:
    """All of it together."""
    return Work(*map(sum, zip(*works, strict=True))) if (works := list(works)) else Work()


def _per_edge(reduction: Value) -> Work:
    """Of one edge."""
    program = edge_program(reduction)
    lanes = costly = arrays = products = 0.0
    for value in program.below:
        arrays += 0 if value.is_weight or (_is_free(value) and value.op not in ("src", "dst", "input")) else value.width
        products += _products(value)
    for value in program.inner:
        if value.is_weight or _is_free(value) or value in program.dense:
            continue
        if _is_costly(value):
            costly += value.width
        else:
            lanes += value.inputs[0].width if value.op in LANE_REDUCTIONS else value.width
    record = REDUCTIONS[reduction.op]
    reduced = record.work(reduction)
    return Work(
        edges=0 if record.keeps_messages else 1,
        edge_lanes=lanes + reduced.added,
        weighed_lanes=reduced.weighed,
        edge_costly=costly + reduced.costly,
        array_lanes=arrays,
        sorted_lanes=reduced.sorted,
        edge_products=products,
    )


def _chunked(step: Superstep) -> list[Value]:
    """Node values that are computed chunk by chunk, totals included."""
    return [value for phase in step.phases for value in phase.nodes if not _is_free(value)]


def _per_node(value: Value) -> Work:
    """Of one node, by one value; a total's part is one."""
    folds = value.op in TOTALS or value.op in LANE_REDUCTIONS
    return Work(
        node_lanes=value.inputs[0].width if folds else value.width,
        node_costly=value.width if _is_costly(value) else 0,
        node_products=_products(value),
    )


def _kept(step: Superstep) -> Work:
    """What is copied out of its chunk, because somebody reads it later."""
    read = {entry.id for reduction in step.reductions for entry in local_values(reduction)}
    read |= {value.id for value in step.live_out}
    return Work(node_lanes=sum(value.width for value in _chunked(step) if value.id in read))


def _around(reduction: Value) -> Work:
    """Before the first tile and after the last: the states start and are finished."""
    return Work(node_lanes=reduction.width * REDUCTIONS[reduction.op].passes)


def _is_free(value: Value) -> bool:
    return OPERATIONS[value.op].cost == FREE


def _is_costly(value: Value) -> bool:
    return OPERATIONS[value.op].cost == COSTLY


def _products(value: Value) -> float:
    if value.is_weight:
        return 0
    if value.op in TOTALS:
        return value.width if TOTALS[value.op].products else 0
    return value.width * value.inputs[0].shape[-1] if value.op == "matmul" else 0


def _read(plan: Plan, counts: Counts, step: Superstep, block: int, static: int) -> float:
    """Bytes: ids always, features and edges where the superstep wants them (stage.static_kinds)."""
    nodes = counts.nodes[block]
    columns = {
        value.attributes["name"]: value.width
        for each in plan.steps
        for value in each.computed
        if value.op == "input" and value.is_node
    }
    features = nodes * sum(columns.values()) * FLOAT
    lists = sum(counts.rows_in(shipment.edge_type)[block] for shipment in step.ships) * INDEX
    tiles = max(static - nodes * ID - features - lists, 0)
    return nodes * ID + bool(step.features) * features + lists + bool(step.reductions) * tiles


def _passes(counts: Counts, reduction: Value, block: int) -> int:
    """How often a reduction goes through the tiles: one that sorts keeps so many messages at a time."""
    if not REDUCTIONS[reduction.op].is_holistic:
        return 1
    return max(1, -(-counts.edges[block] * reduction.inputs[0].width // FLOATS))


def _sent(counts: Counts, step: Superstep, block: int) -> tuple[float, float]:
    """Rows and lanes of other blocks, which each reduction reads anew."""
    rows = lanes = 0
    for shipment in step.receives:
        readers = [
            entry for entry in step.reductions if sent_values(entry) and edges_of(entry).type == shipment.edge_type
        ]
        here = counts.rows_in(shipment.edge_type)[block] + (
            counts.loops_of(shipment.edge_type)[block] if shipment.loops else 0
        )
        here *= sum(_passes(counts, reduction, block) for reduction in readers)
        rows, lanes = rows + here, lanes + here * shipment.width
    return rows, lanes


def _moved(plan: Plan, counts: Counts, step: Superstep, block: int) -> float:
    if not step.number:
        return 0
    received = sum(received_bytes(counts, shipment, block) for shipment in step.receives)
    return received + counts.nodes[block] * kept_lanes(plan.steps[step.number - 1]) * FLOAT
