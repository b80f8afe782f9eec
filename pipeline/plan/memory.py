"""Bytes: what a run ships and holds.

Comes in: a plan, and the counts of a prepared graph (its manifest). Goes out: bytes per exchange, bytes per task.
Reads no block and starts no work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.blocks.wire import number_bytes
from pipeline.compiler.dense import chunk_size
from pipeline.compiler.edge_program import edge_program
from pipeline.compiler.sorting import kept_floats
from pipeline.formula.interpret import last_readers
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import Edges, Nodes, Space
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.plan.levels import is_per_edge, local_values
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Phase, Shipment, Superstep
from pipeline.schema import EDGE, EdgeType

FLOAT = 4  # bytes
INDEX = 4  # of a local index in a send list
ID = 8  # of a node's id that is sent; one of text may take more
ENDS = 8  # lanes of what is written of an edge beside its outputs: two ids, which of parallel ones it is
PART = 8  # of a lane of a block's part of a total, which is float64
# What a Python worker holds before it has seen any data: interpreter, NumPy, pyarrow, Numba, loaded kernels.
WORKER_BYTES = 250 << 20
# Arrow batches on their way in and out, the allocator's slack.
SLACK = 1.3
# Of an edge that is sorted by a column: its place (8 bytes), its number's, its row, its sender, while it is sorted.
SORTED_LANES = 8
# Rows of node values that a block computes at a time (node_values.ROW_CHUNK, which knows plans and so cannot be asked).
ROW_CHUNK = 4096


@dataclass(frozen=True)
class EdgeCounts:
    """The same of one type of edges, for each block."""

    edges: Sequence[int]
    payload_in: Sequence[int]
    loops: Sequence[int]
    pulled: Sequence[int]
    pushed: Sequence[int]
    stored: Sequence[int]
    """Bytes on disk of its tiles and send lists, and of edges that may be pushed."""
    push_bytes: Sequence[int]

    @staticmethod
    def of(counts: Mapping[str, Sequence[int]]) -> EdgeCounts:
        stored = [a + b for a, b in zip(counts["static_bytes"], counts["sends_bytes"], strict=True)]
        pulled, pushed = counts["payload_rows_pulled"], counts["payload_rows_pushed"]
        loops = counts["payload_rows_loops"]
        return EdgeCounts(
            counts["edges"], counts["payload_rows_in"], loops, pulled, pushed, stored, counts["push_bytes"]
        )


@dataclass(frozen=True)
class Counts:
    """What of a graph's size matters: totals, and the same per block."""

    nodes: Sequence[int]
    edges: Sequence[int]
    payload_in: Sequence[int]
    """Rows that all tiles of a block need for one exchange."""
    loops: Sequence[int]
    """Rows that a block needs of itself for its self-loops, whatever their direction."""
    static_bytes: Sequence[int]
    reversed_in: Sequence[int] = ()
    """As payload_in, of the tiles against the edges' direction; empty where there are none."""
    reversed_bytes: Sequence[int] = ()
    """Of static_bytes, those of what is stored against the edges' direction."""
    in_degree: Sequence[int] = ()
    """The largest in-degree of each block."""
    pulled: Sequence[int] = ()
    """Rows that a block needs for the pulled edges of its tiles, if the others are pushed; empty: as payload_in."""
    pushed: Sequence[int] = ()
    """Partial results that it then needs for the others."""
    pulled_reversed: Sequence[int] = ()
    pushed_reversed: Sequence[int] = ()
    push_bytes: Sequence[int] = ()
    """Of static_bytes, those of edges that the block may push to others."""
    push_bytes_reversed: Sequence[int] = ()
    """The same against the edges' direction; of reversed_bytes."""
    types: Mapping[EdgeType, EdgeCounts] = field(default_factory=dict)
    """The same by the type of edges, of a graph whose manifest tells it: then what is above of one type is not read."""
    node_types: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Nodes of each type in each block; empty: all nodes are of one type."""

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> Counts:
        block = manifest["per_block"]
        static = [a + b for a, b in zip(block["static_bytes"], block["sends_bytes"], strict=True)]
        return Counts(
            block["nodes"],
            block["edges"],
            block["payload_rows_in"],
            block["payload_rows_loops"],
            static,
            in_degree=block["max_in_degree"],
            types={
                EdgeType.parse(type): EdgeCounts.of(counts) for type, counts in manifest.get("edge_types", {}).items()
            },
            node_types={type: counts["nodes"] for type, counts in manifest.get("node_types", {}).items()},
        )

    def nodes_of(self, space: Space) -> Sequence[int]:
        """Nodes of each block that have a row of a value."""
        assert isinstance(space, Nodes)
        return self.node_types[space.type] if self.node_types else self.nodes

    def edges_of(self, edge_type: EdgeType) -> Sequence[int]:
        """Edges of a type into each block."""
        return self.types[edge_type].edges if self.types else self.edges

    def static_of(self, plan: Plan) -> Sequence[int]:
        """Bytes on disk of what a plan reads of each block: perhaps of one direction of the edges only, and perhaps
        without what it could push."""
        return [self.static_of_block(plan, block) for block in range(self.blocks)]

    def static_of_block(self, plan: Plan, block: int) -> int:
        """The same of one block."""
        pushes = any(shipment.push for step in plan.steps for shipment in step.ships)
        if self.types:
            read = set(plan.program.edge_types)
            unread = [counts.stored for type, counts in self.types.items() if type not in read]
            unread += [counts.push_bytes for type, counts in self.types.items() if type in read and not pushes]
            return self.static_bytes[block] - sum(part[block] for part in unread)
        unread = []
        both_ways = any(edge_type.is_reversed for edge_type in plan.program.edge_types)
        if not both_ways:
            unread.append(self.reversed_bytes)
        if not pushes:
            unread += [self.push_bytes, self.push_bytes_reversed] if both_ways else [self.push_bytes]
        return self.static_bytes[block] - sum(part[block] for part in unread if part)

    def rows_in(self, edge_type: EdgeType) -> Sequence[int]:
        """Rows that each block gets for its tiles of a type in one exchange, if all edges are pulled."""
        if self.types:
            return self.types[edge_type].payload_in
        return self.reversed_in if edge_type.is_reversed else self.payload_in

    def loops_of(self, edge_type: EdgeType) -> Sequence[int]:
        """Rows that each block needs of itself for its self-loops."""
        return self.types[edge_type].loops if self.types else self.loops

    def hybrid_rows(self, edge_type: EdgeType) -> tuple[Sequence[int], Sequence[int]]:
        """The same if edges are pushed: rows, and partial results."""
        if self.types:
            return self.types[edge_type].pulled, self.types[edge_type].pushed
        pulled, pushed = self.pulled, self.pushed
        if edge_type.is_reversed:
            pulled, pushed = self.pulled_reversed, self.pushed_reversed
        return (pulled, pushed) if pulled else (self.rows_in(edge_type), [0] * self.blocks)

    def lanes_in(self, shipment: Shipment, block: int) -> int:
        """float32 lanes that a block gets of a shipment for its tiles, but those of the self-loops."""
        if not shipment.push:
            return self.rows_in(shipment.edge_type)[block] * shipment.width
        pulled, pushed = self.hybrid_rows(shipment.edge_type)
        return pulled[block] * shipment.width + pushed[block] * shipment.partial_width

    @property
    def blocks(self) -> int:
        return len(self.nodes)


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
    return sum(counts.rows_in(EDGE)) * ID if step.ships_ids else 0


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
    in_degree = counts.in_degree[block] if counts.in_degree else counts.edges[block]
    return kept_floats(counts.edges[block], in_degree, reduction.inputs[0].width) * FLOAT


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
    most = 0
    for reduction in step.reductions:
        program = edge_program(reduction)
        if program.dense:
            lanes = sum(value.width for value in program.below if not value.is_weight)
            most = max(most, min(edges, chunk_size(program)) * lanes * FLOAT)
    return most


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


def size(count: float) -> str:
    """Bytes for people: 1.5 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
