"""Bytes that the tasks of a run hold.

Comes in: a plan, and the counts of a prepared graph. Goes out: bytes of a block's task, and of a task that runs them
all. Reads no block and starts no work.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.compiler.sorting import kept_floats
from pipeline.formula.interpret import last_readers
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import Edges
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.lowering.levels import is_per_edge, local_values
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import FLOAT, PART, total_lanes
from pipeline.plan.superstep import Phase, Shipment, Superstep

INDEX = 4  # bytes of a local index in a send list
ENDS = 8  # lanes of what is written of an edge beside its outputs: two ids, which of parallel ones it is
# What a Python worker holds before it has seen any data: interpreter, NumPy, pyarrow, Numba, loaded kernels.
WORKER_BYTES = 250 << 20
# Arrow batches on their way in and out, the allocator's slack.
SLACK = 1.3
# Of an edge that is sorted by a column: its place (8 bytes), its number's, its row, its sender, while it is sorted.
SORTED_LANES = 8
# Rows of node values that a block computes at a time (node_values.ROW_CHUNK, which knows plans and so cannot be asked).
ROW_CHUNK = 4096


def block_bytes(plan: Plan, counts: Counts, block: int, fused: bool = False) -> int:
    """The most that one block needs in any superstep: static parts, values, and the chunks that are worked at; in the
    distributed tier payloads, in the fused one what is copied of a tile."""
    nodes, most = counts.nodes[block], 0
    for step in plan.steps:
        if fused:
            # one type of edges after another
            received = max((_tile_lanes(counts, shipment, block) for shipment in step.receives), default=0)
            sent = sum(_joined_lanes(counts, step, block))
        else:
            received = sum(counts.lanes_in(shipment, block) for shipment in step.receives)
            sent = sum(counts.lanes_in(shipment, block) for shipment in step.ships)
            sent += sum(_joined_lanes(counts, step, block, only_pushed=True))
        totals = sum(value.width for value in step.merges) + total_lanes(step)
        lanes = received + sent + _live_floats(plan, counts, step, block) + _branch_floats(counts, step, block)
        lanes += counts.edges[block] * _edge_lanes(step)
        sorted_ = max((sorted_bytes(counts, entry, block) for entry in step.reductions), default=0)
        worked = max(_node_chunk_bytes(step, nodes), _edge_chunk_bytes(step, counts.edges[block]))
        most = max(most, lanes * FLOAT + counts.blocks * totals * PART + sorted_ + worked)
    return counts.static_of_block(plan, block) + most


def fused_bytes(plan: Plan, counts: Counts, threads: int = 1) -> int:
    """What the fused tier needs: the node values that cross from one superstep to the next, of all blocks; and what
    each thread is working at."""
    crossing = 0
    for step in plan.steps:
        came = _crossing_floats(counts, plan.steps[step.number - 1]) if step.number else {}
        crossing = max(crossing, sum({**came, **_crossing_floats(counts, step)}.values()))
    return crossing * FLOAT + spilled_bytes(plan, counts, threads)


def _crossing_floats(counts: Counts, step: Superstep) -> dict[object, int]:
    """float32 lanes of all nodes of each array that waits for the next superstep; several values that are sent are one
    array."""
    alone = [shipment.values[0] for shipment in step.ships if len(shipment.values) == 1]
    values = {value.id: value for value in [*step.keeps, *step.outputs, *alone] if _is_of_nodes(value)}
    found: dict[object, int] = {
        number: sum(counts.nodes_of(value.space)) * value.width for number, value in values.items()
    }
    for together in _sent_together(step):
        found[tuple(value.id for value in together)] = sum(counts.nodes_of(together[0].space)) * _width(together)
    return found


def _sent_together(step: Superstep, only_pushed: bool = False) -> set[tuple[Value, ...]]:
    """Values that are put side by side to be sent; types of edges that send the same ones share them."""
    return {each.values for each in step.ships if len(each.values) > 1 and (each.push or not only_pushed)}


def _width(values: Sequence[Value]) -> int:
    return sum(value.width for value in values)


def spilled_bytes(plan: Plan, counts: Counts, threads: int = 1) -> int:
    """The same where these values wait on disk: send lists (which do too, but are read all the time) and threads."""
    types = {shipment.edge_type for step in plan.steps for shipment in step.ships}
    lists = sum(sum(counts.rows_in(edge_type)) for edge_type in types) * INDEX
    most = sorted((block_bytes(plan, counts, block, fused=True) for block in range(counts.blocks)), reverse=True)
    return lists + sum(most[:threads])


def _tile_lanes(counts: Counts, shipment: Shipment, block: int) -> int:
    """float32 lanes, as many bytes as an index, of what the fused tier copies of one tile at a time: its columns, twice
    where edges are pushed, and then partial results; a payload where it is rounded. Charged as if it were the only
    tile."""
    lanes = edges = counts.edges_of(shipment.edge_type)[block]
    if shipment.push:
        lanes += edges + counts.hybrid_rows(shipment.edge_type)[1][block] * shipment.partial_width
    if shipment.wire != "float32":
        lanes += counts.lanes_in(shipment, block)
    return lanes


def sorted_bytes(counts: Counts, reduction: Value, block: int) -> int:
    """What a holistic reduction keeps of a node's messages at a time; 0 for one that keeps a state."""
    if not REDUCTIONS[reduction.op].is_holistic:
        return 0
    return kept_floats(counts.edges[block], counts.in_degree[block], reduction.inputs[0].width) * FLOAT


def _node_chunk_bytes(step: Superstep, nodes: int) -> int:
    """Node values of a phase, of the rows that are computed at a time: without these a perceptron 64→256→256 took 3.8
    times what was said, in blocks of 2,500 nodes."""
    return min(nodes, ROW_CHUNK) * max((_most_lanes(phase) for phase in step.phases), default=0) * FLOAT


def _most_lanes(phase: Phase) -> int:
    """The most lanes that are there at once, if each value goes where nobody reads it any more (node_values.py)."""
    values = phase.nodes
    last = last_readers(values, (), phase.operands)
    widths = {value.id: value.width for value in values if value.op != "input"}
    lanes = most = 0
    for value in values:
        lanes += widths.get(value.id, 0)
        most = max(most, lanes)
        if value.op not in TOTALS:
            lanes -= sum(widths.pop(number, 0) for number in last.get(value.id, ()))
    return most


def _edge_chunk_bytes(step: Superstep, edges: int) -> int:
    """All values of the edges that NumPy computes at a time, for a reduction that has no generated loop of its own."""
    return max((min(edges, chunk) * lanes * FLOAT for chunk, lanes in step.arrays), default=0)


def _joined_lanes(counts: Counts, step: Superstep, block: int, only_pushed: bool = False) -> list[int]:
    """float32 lanes of values that are put side by side, each such array; one value alone is read where it is. In the
    distributed tier (`only_pushed`) that is done for partial results alone."""
    return [
        counts.nodes_of(together[0].space)[block] * _width(together) for together in _sent_together(step, only_pushed)
    ]


def _live_floats(plan: Plan, counts: Counts, step: Superstep, block: int) -> int:
    """float32 lanes that exist at once in a superstep: what came in, what it computes and somebody reads whole, and
    what reductions keep beside their result."""
    came = plan.steps[step.number - 1].live_out if step.number else []
    whole = [value for phase in step.phases for value in phase.reductions]
    local = [value for reduction in whole for value in local_values(reduction)]
    local += [value for branch in step.branches for value in branch.dense]
    joins = [join for branch in step.branches for join, _ in branch.terms]
    alive = {value.id: value for value in [*came, *whole, *joins, *step.live_out, *local]}
    features = {value.id for value in step.computed if value.op == "input"}
    kept = [value for value in whole if not is_per_edge(value)]
    states = sum(counts.nodes_of(value.space)[block] * (_state_lanes(value) - value.width) for value in kept)
    return states + sum(
        counts.nodes_of(value.space)[block] * value.width
        for value in alive.values()
        if _is_of_nodes(value) and value.id not in features
    )


def _is_of_nodes(value: Value) -> bool:
    """Whether it has a row for each node of a block."""
    return value.is_node and not is_per_edge(value)


def _edge_lanes(step: Superstep) -> int:
    """Lanes per edge of results that have a row per edge: chunk by chunk, and once more when these are put together;
    then the ends of each edge, the ids of both, and which of parallel edges it is."""
    rows = [value for value in step.outputs if is_per_edge(value)]
    return 2 * sum(value.width for value in rows) + (ENDS if rows else 0)


def _branch_floats(counts: Counts, step: Superstep, block: int) -> int:
    """float32 lanes of the branch that takes most of them: there is one at a time. As many bytes as a lane has an
    index, of edges that are sorted by a column and of rows."""
    most = 0
    for branch in step.branches:
        edges = counts.edges_of(branch.edges.type)[block]
        rows = min(edges, counts.nodes_of(branch.reductions[0].space)[block])
        local = {value.id: value.width for reduction in branch.reductions for value in local_values(reduction)}
        lanes = 2 + sum(map(_state_lanes, branch.reductions)) + sum(local.values())
        chunk = min(rows, ROW_CHUNK) * (_width([*branch.before, *branch.nodes, *branch.dense]))
        most = max(most, rows * lanes + chunk)
    sorted_ = sum(SORTED_LANES * counts.edges_of(edges.type)[block] for edges, _ in _chosen_columns(step))
    return most + sorted_


def _chosen_columns(step: Superstep) -> set[tuple[Edges, str]]:
    """The columns that branches choose edges by."""
    return {(branch.edges, branch.chosen.column) for branch in step.branches if branch.chosen}


def _state_lanes(reduction: Value) -> int:
    """float32 lanes per node of what a reduction keeps while edges come; its result takes the place of some."""
    record = REDUCTIONS[reduction.op]
    return max(sum(record.lanes(state, reduction) for state in record.state), reduction.width)
