"""What a program costs: lanes shipped, work per edge, work per node. Rewrites are judged by it, in that order.

Moving bytes is most of a distributed run (README, Figures): a lane less to ship is worth more than any arithmetic.
"""

from __future__ import annotations

from pipeline.formula.operations import CHEAP, COSTLY, FREE, OPERATIONS
from pipeline.formula.program import Program
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.values import Value
from pipeline.lowering.levels import edge_values, levels
from pipeline.schema import EdgeType

# Lane operations of one lane. What is free costs nothing to speak of, but less than nothing is worth doing per edge: it
# breaks ties.
LANE = {FREE: 0.01, CHEAP: 1, COSTLY: 10}


def cost(program: Program) -> tuple[int, float, float]:
    """(lanes shipped per boundary node over all exchanges, lane operations per edge, lane operations per node)."""
    level = levels(program)
    shipped: set[tuple[int, EdgeType, int]] = set()
    lanes = 0
    per_edge = 0.0
    for value in program.values:
        if value.op not in REDUCTIONS:
            continue
        work, ends = edge_cost(value)
        per_edge += work
        for end in ends:
            sent, edges = end.inputs[0], end.attributes["edges"]
            key = (level[value.id], edges.type, sent.id)
            if key not in shipped:
                shipped.add(key)
                lanes += sent.width
    per_node = sum([work_of(value) for value in program.values if value.is_node])
    return lanes, per_edge, per_node


def edge_cost(reduction: Value) -> tuple[float, tuple[Value, ...]]:
    """Lane operations of one edge, and the values that bring what its source sends. Remembered, as work_of."""
    if reduction.edge_cost is None:
        inside = edge_values(reduction)
        work = reduction.width + sum([work_of(entry) for entry in inside])
        reduction.edge_cost = work, tuple([entry for entry in inside if entry.op == "src"])
    return reduction.edge_cost


def work_of(value: Value) -> float:
    """Lane operations of one row. Remembered: programs that rewrites have made share most of their values."""
    if value.work is None:
        value.work = _work(value)
    return value.work


def _work(value: Value) -> float:
    if value.is_weight:
        return 0  # what is made of weights alone is made once (fold_weights)
    if value.op == "matmul":
        return value.width * value.inputs[0].shape[-1] / 8  # BLAS: some eight times faster per lane than a loop
    return value.width * LANE[OPERATIONS[value.op].cost]
