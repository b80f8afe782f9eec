"""A superstep: what blocks compute between two exchanges, what they send, and what they keep.

The records that the schedule fills in and that runs, forecasts and reports read. Knows nothing of how a program is cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pipeline.compiler.dense import chunk_size
from pipeline.compiler.edge_program import edge_program
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.lowering.levels import edge_values, local_values
from pipeline.plan.branch import Branch
from pipeline.schema import EdgeType


@dataclass(frozen=True)
class Shipment:
    """The node values that cross one edge type in one exchange, side by side in one row."""

    edge_type: EdgeType
    values: tuple[Value, ...]
    loops: bool
    """Whether some reduction behind the exchange also reads the table's own self-loops."""
    mergeable: tuple[Value, ...] = ()
    """The reductions that read it over other edges, if each can be merged from partial results; else none."""
    push: bool = False
    """Whether rows are sent for pulled edges only, and partial results of `mergeable` for the rest (see Block)."""
    wire: str = "float32"
    """Number format of what is sent, see wire.py."""

    @property
    def width(self) -> int:
        """float32 lanes of a row."""
        return sum(value.width for value in self.values)

    @property
    def pushed(self) -> tuple[Value, ...]:
        """The reductions whose partial results are sent."""
        return self.mergeable if self.push else ()

    @property
    def partial_width(self) -> int:
        """float32 lanes of the partial results of a node, if they are sent."""
        return sum(value.width for value in self.mergeable)

    @cached_property
    def offsets(self) -> dict[int, int]:
        """Value.id → its first lane."""
        offsets, lane = {}, 0
        for value in self.values:
            offsets[value.id] = lane
            lane += value.width
        return offsets


@dataclass
class Phase:
    """Node values (and totals of them) that need no reduction of this phase, then reductions over edges that need those
    values."""

    nodes: list[Value] = field(default_factory=list)
    reductions: list[Value] = field(default_factory=list)
    """Those of no branch."""
    branches: list[Branch] = field(default_factory=list)
    """After the reductions, one after another."""
    joins: dict[int, tuple[Value, ...]] = field(default_factory=dict)
    """Value.id of each node value that branches have gone into → its other terms, in order."""

    def operands(self, value: Value) -> Sequence[Value]:
        """What one of `nodes` is computed from here."""
        return self.joins.get(value.id, value.inputs)


@dataclass
class Superstep:
    """Everything computed between two exchanges."""

    number: int
    merges: list[Value] = field(default_factory=list)
    """The totals whose parts, one from each block, the superstep before has sent to every block."""
    graph_values: list[Value] = field(default_factory=list)
    """Values for the whole graph that are computed from totals, by every block for itself; before the phases."""
    phases: list[Phase] = field(default_factory=list)
    receives: list[Shipment] = field(default_factory=list)
    ships: list[Shipment] = field(default_factory=list)
    ships_ids: tuple[EdgeType, ...] = ()
    """The types of edges of which the next superstep writes rows: blocks also send the ids of their sources."""
    keeps: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    """The program's outputs, in the last superstep."""

    @property
    def live_out(self) -> list[Value]:
        """The values of a block that somebody reads after the superstep, each once."""
        values = [*self.keeps, *(value for shipment in self.ships for value in shipment.values), *self.outputs]
        return list({value.id: value for value in values}.values())

    @property
    def computed(self) -> list[Value]:
        return [*(value for phase in self.phases for value in phase.nodes), *self.branch_nodes, *self.reductions]

    @property
    def branches(self) -> list[Branch]:
        return [branch for phase in self.phases for branch in phase.branches]

    @property
    def branch_nodes(self) -> list[Value]:
        """Node values that are there for the nodes with an edge of a branch only."""
        return [value for branch in self.branches for value in (*branch.before, *branch.nodes)]

    def read_outside(self, phase: Phase) -> set[int]:
        """Ids of the node values of a phase that others than its node values read: they are held whole."""
        inside = {value.id for value in phase.nodes}
        read = {value.id for value in self.live_out}
        for reduction in (value for each in self.phases for value in each.reductions):
            read |= {value.id for value in local_values(reduction)}
        for branch in self.branches:
            read |= {value.id for value in branch.dense}
        for other in self.phases:
            if other is not phase:
                read |= {entry.id for value in other.nodes for entry in other.operands(value)}
        return read & inside

    @property
    def totals(self) -> list[Value]:
        """The totals of which this superstep computes each block's part; the next one merges them."""
        return [value for phase in self.phases for value in phase.nodes if value.op in TOTALS]

    @property
    def reductions(self) -> list[Value]:
        """Those of branches too."""
        return [
            value
            for phase in self.phases
            for value in [*phase.reductions, *(each for branch in phase.branches for each in branch.reductions)]
        ]

    @property
    def executed(self) -> list[tuple[Value, Value]]:
        """Each reduction, and what its loop computes: of a branch, over edges that are chosen already."""
        alone = [(value, value) for phase in self.phases for value in phase.reductions]
        return alone + [
            pair for branch in self.branches for pair in zip(branch.reductions, branch.executed, strict=True)
        ]

    @property
    def features(self) -> list[tuple[str, str]]:
        """(node type, column) of the features read."""
        found: dict[tuple[str, str], None] = {}
        for value in self.computed:
            if value.op == "input" and isinstance(value.space, Nodes):
                found[value.space.type, value.attributes["name"]] = None
        return list(found)

    @cached_property
    def arrays(self) -> list[tuple[int, int]]:
        """Of each reduction for which NumPy computes edge values, a chunk at a time: edges of a chunk, lanes of an
        edge. Asked for by each forecast of each block, once the schedule is made."""
        programs = [edge_program(reduction) for reduction in self.reductions]
        return [
            (chunk_size(program), sum(value.width for value in program.below if not value.is_weight))
            for program in programs
            if program.dense
        ]

    @cached_property
    def done_after(self) -> list[list[int]]:
        """Of each phase, the ids of the values that nobody reads any more when it is done."""
        last: dict[int, int] = {}
        for number, phase in enumerate(self.phases):
            read = [value for each in phase.nodes for value in (each, *phase.operands(each))]
            read += [value for each in phase.reductions for value in (each, *local_values(each))]
            for branch in phase.branches:
                read += [*branch.dense, *(join for join, _ in branch.terms)]
            last.update((value.id, number) for value in read)
        kept = {value.id for value in self.live_out}
        found: list[list[int]] = [[] for _ in self.phases]
        for value, number in last.items():
            if value not in kept:
                found[number].append(value)
        return found

    @property
    def pushed(self) -> set[int]:
        """Ids of the reductions that are merged from what other blocks have made of their own edges."""
        return {value.id for shipment in self.receives for value in shipment.pushed}

    @property
    def edge_columns(self) -> list[tuple[EdgeType, str]]:
        """(edge type, column) of the edge values read."""
        found: dict[tuple[EdgeType, str], None] = {}
        for reduction in self.reductions:
            for value in edge_values(reduction):
                if value.op == "input" and isinstance(value.space, Edges):
                    found[value.space.type, value.attributes["name"]] = None
        return list(found)


def edges_of(reduction: Value) -> Edges:
    """The part of the edges that a reduction runs over."""
    space = reduction.inputs[0].space
    assert isinstance(space, Edges)
    return space


def passes(step: Superstep, phase: Phase) -> list[list[Value]]:
    """The reductions of a phase by the edges that they go through, whole tiles or only what is pulled of them. One that
    keeps its messages is alone: a holistic one goes through the tiles several times."""
    found: dict[object, list[Value]] = defaultdict(list)
    pushed = step.pushed
    for value in phase.reductions:
        alone = value.id if REDUCTIONS[value.op].keeps_messages else None
        found[edges_of(value), value.id in pushed, alone].append(value)
    return list(found.values())


def branch_passes(step: Superstep, branch: Branch) -> list[list[Value]]:
    """The reductions of a branch by the edges that they go through, whole tiles or only what is pulled of them."""
    pushed = step.pushed
    sides = ([value for value in branch.reductions if (value.id in pushed) == side] for side in (False, True))
    return [side for side in sides if side]
