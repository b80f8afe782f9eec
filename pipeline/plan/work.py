"""Work: what there is to do in a run, counted: bytes, edges, lanes, products. What it takes is for seconds.py to say.

Comes in: a plan, and the counts of a prepared graph (its manifest). Goes out: the work of each superstep and block.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.sorting import FLOATS
from pipeline.formula.operations import COSTLY, FREE, LANE_REDUCTIONS, OPERATIONS
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import Nodes
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.lowering.levels import sent_values
from pipeline.plan.counts import Counts
from pipeline.plan.memory import INDEX
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import FLOAT, received_bytes
from pipeline.plan.superstep import Superstep, edges_of, passes
from pipeline.schema import EdgeType

ID = 8  # bytes of a node's id; one of text may have more
TARGETS = 0.5
"""Nodes that an edge of few leads to: of 90 relations of a power law 0.3 for each edge, of edges drawn evenly 0.77."""

EXPONENTIALS = {"erf": 5, "gelu": 6}
"""As many exponentials as an operation on node values takes: erf is SciPy's, one lane after another."""


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
    """Lanes of node values that NumPy computes."""
    kept_lanes: float = 0
    """Lanes of node values that are copied out of their chunk, to memory that is mostly new to the process."""
    node_costly: float = 0
    """Exponentials and their like among them."""
    node_products: float = 0
    """Multiply-adds of matrix products per node."""
    node_matrices: float = 0
    """Rows times one matrix of a stack, those of heads: NumPy multiplies them one by one."""
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
    reduced = _reduced(step)
    rows: dict[str, list[Work]] = {}
    for value in _chunked(step):
        rows.setdefault(_type_of(value), []).append(_per_node(value))
    for value in _kept(step):
        rows.setdefault(_type_of(value), []).append(Work(kept_lanes=value.width))
    per_node = {name: add(each) for name, each in rows.items()}
    return [_block_work(plan, counts, step, block, static[block], reduced, per_node) for block in range(counts.blocks)]


class _Reduced(NamedTuple):
    """Reductions over the same edges."""

    edges: EdgeType
    share: float
    """Of all edges of the type: each of the relations that a column chooses is taken to have as many."""
    some: bool
    """Whether there is a row for each node with such an edge; else for each node."""
    reductions: Sequence[Value]
    per_edge: Work
    per_row: Work


def _reduced(step: Superstep) -> list[_Reduced]:
    """All reductions of a superstep. Of thousands of branches each goes over its own edges."""
    alike = Counter((branch.edges, branch.chosen.column) for branch in step.branches if branch.chosen)
    found = [
        _Reduced(edges_of(together[0]).type, 1.0, False, together, _once(together), add(map(_around, together)))
        for phase in step.phases
        for together in passes(step, phase)
    ]
    for branch in step.branches:
        share = 1 / alike[branch.edges, branch.chosen.column] if branch.chosen else 1.0
        per_edge = add(map(_per_edge, branch.executed))
        if branch.chosen:  # to sort them by the column
            per_edge = per_edge._replace(edges=per_edge.edges + 1)
        nodes = [*map(_per_node, (*branch.before, *branch.nodes)), *map(_around, branch.reductions)]
        found.append(_Reduced(branch.edges.type, share, True, branch.reductions, per_edge, add(nodes)))
    return found


def _once(together: Sequence[Value]) -> Work:
    """Of one edge, by the reductions of a pass: it is gone over once."""
    each = [*map(_per_edge, together)]
    return add(each)._replace(edges=max(work.edges for work in each))


def _block_work(
    plan: Plan,
    counts: Counts,
    step: Superstep,
    block: int,
    static: int,
    reduced: Sequence[_Reduced],
    per_node: Mapping[str, Work],
) -> Work:
    parts = [_times(work, counts.node_types[name][block]) for name, work in per_node.items()]
    for each in reduced:
        edges = counts.edges_of(each.edges)[block] * each.share
        nodes = counts.nodes_of(each.reductions[0].space)[block]
        times = max(_passes(counts, value, block) for value in each.reductions)
        parts.append(_times(each.per_edge, edges))
        parts.append(_times(each.per_row, min(nodes, TARGETS * edges) if each.some else nodes))
        parts.append(Work(tiles=min(counts.blocks, edges) * times))
    rows, lanes = _sent(counts, step, block, reduced)
    outputs = {_type_of(value) for value in step.outputs}
    return add(parts)._replace(
        opened=1,
        read=_read(plan, counts, step, block, static),
        sent_rows=rows,
        sent_lanes=lanes,
        rows=sum(counts.node_types[name][block] for name in outputs),
        written=sum(counts.nodes_of(value.space)[block] * value.width for value in step.outputs),
        moved=_moved(plan, counts, step, block),
    )


def _times(work: Work, rows: float) -> Work:
    return Work(*(rows * each for each in work))


def _type_of(value: Value) -> str:
    """The type of nodes that a value, or a part of a total, is computed for."""
    space = value.inputs[0].space if value.op in TOTALS else value.space
    assert isinstance(space, Nodes)
    return space.type


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
        node_costly=value.width * EXPONENTIALS.get(value.op, 1) if _is_costly(value) else 0,
        node_products=_products(value),
        node_matrices=_matrices(value),
    )


def _kept(step: Superstep) -> list[Value]:
    """What is copied out of its chunk, because somebody reads it later; views of what was computed, too."""
    return [
        value
        for phase in step.phases
        for outside in [step.read_outside(phase)]
        for value in phase.nodes
        if value.id in outside and value.op not in TOTALS and value.op != "input"
    ]


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


def _matrices(value: Value) -> float:
    """Products of one row with a matrix each, (heads, 1, in) @ (heads, in, out)."""
    stacked = value.op == "matmul" and not value.is_weight and len(value.inputs[1].shape) > 2
    return math.prod(value.shape[:-1]) if stacked else 0


def _read(plan: Plan, counts: Counts, step: Superstep, block: int, static: int) -> float:
    """Bytes: ids always, features and edges where the superstep wants them (stage.static_kinds)."""
    nodes = counts.nodes[block]
    columns = {
        (value.space, value.attributes["name"]): counts.nodes_of(value.space)[block] * value.width
        for each in plan.steps
        for value in each.computed
        if value.op == "input" and value.is_node
    }
    features = sum(columns.values()) * FLOAT
    lists = sum(counts.rows_in(shipment.edge_type)[block] for shipment in step.ships) * INDEX
    tiles = max(static - nodes * ID - features - lists, 0)
    return nodes * ID + bool(step.features) * features + lists + bool(step.reductions) * tiles


def _passes(counts: Counts, reduction: Value, block: int) -> int:
    """How often a reduction goes through the tiles: one that sorts keeps so many messages at a time."""
    if not REDUCTIONS[reduction.op].is_holistic:
        return 1
    return max(1, -(-counts.edges[block] * reduction.inputs[0].width // FLOATS))


def _sent(counts: Counts, step: Superstep, block: int, reduced: Sequence[_Reduced]) -> tuple[float, float]:
    """Rows and lanes of other blocks, which each pass reads anew: all that there are, or those of its edges."""
    rows = lanes = 0.0
    for shipment in step.receives:
        edges = counts.edges_of(shipment.edge_type)[block]
        there = counts.rows_in(shipment.edge_type)[block] + (
            counts.loops_of(shipment.edge_type)[block] if shipment.loops else 0
        )
        here = 0.0
        for each in reduced:
            if each.edges == shipment.edge_type:
                times = max(
                    (_passes(counts, value, block) for value in each.reductions if sent_values(value)), default=0
                )
                here += times * (there if each.share == 1 else min(there, edges * each.share))
        rows, lanes = rows + here, lanes + here * shipment.width
    return rows, lanes


def _moved(plan: Plan, counts: Counts, step: Superstep, block: int) -> float:
    if not step.number:
        return 0
    received = sum(received_bytes(counts, shipment, block) for shipment in step.receives)
    return received + counts.lanes_of(plan.steps[step.number - 1].keeps, block) * FLOAT
