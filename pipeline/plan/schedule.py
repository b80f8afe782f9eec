"""The schedule: a lowered program cut at its exchanges into supersteps.

Comes in: a lowered program. Goes out: for each superstep its phases (node values, then reductions over edges), what it
ships to other blocks, what it keeps for itself, which columns it reads. A total over all nodes takes two supersteps:
the first adds up the block's own nodes, among its node values; the next merges what all blocks have sent. A pure
function of the program: workers that rebuild it get the same schedule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from pipeline.formula.program import Program
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import ALL, SELF_LOOPS
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.lowering.levels import levels, local_values, sent_values
from pipeline.plan.branches import Found, chosen_edges, find_branches
from pipeline.plan.superstep import Phase, Shipment, Superstep, edges_of
from pipeline.schema import EdgeType

MAPS = frozenset({"matmul", "reshape"})
# There in every superstep that reads them, never carried: a feature column, and a total as a row per node.
REMATERIALISED = frozenset({"input", "spread"})


@dataclass(frozen=True)
class Schedule:
    program: Program
    steps: list[Superstep]


Pushes = Collection[tuple[int, EdgeType]]
"""(number of the superstep that ships, edge type) of the shipments that push."""


def schedule(
    program: Program,
    pushes: Pushes = (),
    wire: str = "float32",
    weights: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Schedule:
    """Cuts a lowered program into supersteps. `weights`: those of the program; without them branches are not found,
    because what a relation adds to a node without its edges is not known."""
    level = levels(program)
    last = max((level[value.id] for value in program.values if value.is_node), default=0)
    steps = [Superstep(number) for number in range(last + 1)]
    readers, shipped = _readers(program, level), _ship_levels(program, level)
    when = _when(program, level, readers, shipped)
    rank = _place(program, when, level, steps)
    found = find_branches(program, when, rank, weights or {})
    _branch_off(found, steps)
    _ship(program, level, steps, pushes, wire)
    _keep(program, when, steps, readers, shipped, found.inside)
    if program.is_per_edge:
        steps[-2].ships_ids = tuple(kind for kind in program.output_types if isinstance(kind, EdgeType))
    return Schedule(program, steps)


_Readers = dict[int, list[tuple[Value, int]]]
_Shipped = dict[int, set[int]]


def _readers(program: Program, level: dict[int, int]) -> _Readers:
    """Value.id of a node value or a total → (who reads it inside its own block, at which level)."""
    readers: dict[int, list[tuple[Value, int]]] = defaultdict(list)
    for value in program.values:
        if value.op in REDUCTIONS:
            for read in local_values(value):
                readers[read.id].append((value, level[value.id]))
        elif (value.is_node or value.is_graph) and value.op not in TOTALS:
            for operand in value.inputs:
                readers[operand.id].append((value, level[value.id]))
    return readers


def _ship_levels(program: Program, level: dict[int, int]) -> _Shipped:
    """Value.id of a node value → the supersteps at whose end it is shipped, or goes into a total."""
    shipped: dict[int, set[int]] = defaultdict(set)
    for value in program.values:
        if value.op in REDUCTIONS:
            for sent, _ in sent_values(value):
                shipped[sent.id].add(level[value.id] - 1)
        elif value.op in TOTALS:
            for operand in value.inputs:
                shipped[operand.id].add(level[value.id] - 1)
    return shipped


def _when(program: Program, level: dict[int, int], readers: _Readers, shipped: _Shipped) -> dict[int, int]:
    """The superstep in which each node value is computed: as soon as possible, but for two kinds of level 0, and
    for what many relations make of the same rows.

    What depends on features only, and is read in a single later superstep, is computed there: reading the features
    again is cheaper than carrying the value through the exchanges before, if it is about as wide. What depends on
    edges only (a degree) is computed when it is first read: a superstep that ships features then reads no tiles.
    """
    when = {value.id: level[value.id] for value in program.values}
    final = max((level[value.id] for value in program.values if value.is_node), default=0)
    features: dict[int, frozenset[int]] = {}
    widths: dict[int, int] = {}
    for value in program.values:
        if value.is_weight or value.op == "fill":
            features[value.id] = frozenset()
        elif value.op == "input" and value.is_node:
            features[value.id] = frozenset((value.id,))
            widths[value.id] = value.width
        elif (value.is_node or value.is_graph) and level[value.id] == 0:
            read = local_values(value) if value.op in REDUCTIONS else value.inputs
            features[value.id] = frozenset().union(*(features[i.id] for i in read))
    outputs = {value.id for value in program.outputs.values()}
    several = program.has_relations
    for value in reversed(program.values):
        if several and value.id not in features and not shipped[value.id] and value.id not in outputs:
            # what a relation does with the row of its target: the row is carried, not one for each relation
            later = {when[user.id] for user, _ in readers[value.id]}
            if value.op in MAPS and value.is_node and len(later) == 1 and value.inputs[0].width <= value.width:
                when[value.id] = max(when[value.id], *later)
        if value.id not in features or not value.is_node:
            continue
        uses = {max(at, when[user.id]) for user, at in readers[value.id]} | shipped[value.id]
        if value.id in outputs:
            uses.add(final)
        cheap = sum(widths[i] for i in features[value.id]) <= 2 * value.width
        if value.op == "input" or not features[value.id] or (len(uses) == 1 and cheap):
            when[value.id] = min(uses, default=0)
    _narrow(program, when, readers, shipped, features, outputs)
    return when


def _narrow(
    program: Program,
    when: dict[int, int],
    readers: _Readers,
    shipped: _Shipped,
    features: Collection[int],
    outputs: Collection[int],
) -> None:
    """What is narrower than the row that it is made of is not put off, if that row would be carried for its sake alone:
    q of HGT's [k, q, v]."""
    for value in program.values:
        if not value.is_node or value.op in REMATERIALISED or value.id in outputs:
            continue
        here = when[value.id]
        late = {user.id: user for user, at in readers[value.id] if max(at, when[user.id]) > here}
        if not late or any(at > here for at in shipped[value.id]):
            continue
        rows = [user for user in late.values() if user.is_node and user.op not in REDUCTIONS and user.id in features]
        ready = all(when[entry.id] <= here for user in rows for entry in user.inputs if entry.is_node)
        if len(rows) == len(late) and ready and sum(user.width for user in rows) < value.width:
            when.update((user.id, here) for user in rows)


def _place(program: Program, when: dict[int, int], level: dict[int, int], steps: list[Superstep]) -> dict[int, int]:
    """Sorts the node values of each superstep into phases, and the totals whose parts it computes with them: Value.id →
    phase."""
    rank: dict[int, int] = {}
    for value in program.values:
        if value.is_graph and value.op not in TOTALS:
            steps[when[value.id]].graph_values.append(value)
        if not value.is_node and value.op not in TOTALS:
            continue
        here = when[value.id]
        if value.op in TOTALS:
            here = level[value.id] - 1
            steps[here + 1].merges.append(value)
        needs = local_values(value) if value.op in REDUCTIONS else [i for i in value.inputs if i.is_node]
        step = steps[here]
        rank[value.id] = max((rank[i.id] + (i.op in REDUCTIONS) for i in needs if when[i.id] == here), default=0)
        while len(step.phases) <= rank[value.id]:
            step.phases.append(Phase())
        phase = step.phases[rank[value.id]]
        (phase.reductions if value.op in REDUCTIONS else phase.nodes).append(value)
        if value.op in REMATERIALISED:
            _rematerialise(value, here, steps)
    return rank


def _branch_off(found: Found, steps: list[Superstep]) -> None:
    """Takes branches out of the phases that their values were placed in."""
    if not found.joins:
        return
    for step in steps:
        for number, phase in enumerate(step.phases):
            phase.nodes = [value for value in phase.nodes if value.id not in found.inside]
            phase.reductions = [value for value in phase.reductions if value.id not in found.inside]
            phase.branches = found.branches.get((step.number, number), [])
            phase.joins = {value.id: found.joins[value.id] for value in phase.nodes if value.id in found.joins}


def _rematerialise(value: Value, first: int, steps: list[Superstep]) -> None:
    """Into every later superstep; those that do not need it drop it in the end."""
    for step in steps[first + 1 :]:
        if not step.phases:
            step.phases.append(Phase())
        step.phases[0].nodes.append(value)


def _ship(program: Program, level: dict[int, int], steps: list[Superstep], pushes: Pushes, wire: str) -> None:
    sent: dict[tuple[int, EdgeType], dict[int, Value]] = defaultdict(dict)
    readers: dict[tuple[int, EdgeType], list[Value]] = defaultdict(list)
    for value in program.values:
        if value.op in REDUCTIONS:
            at = level[value.id], edges_of(value).type
            for node, _ in sent_values(value):
                sent[at].setdefault(node.id, node)
            if sent_values(value):
                readers[at].append(value)
    for (number, edge_type), values in sent.items():
        reading = readers[number, edge_type]
        loops = any(edges_of(value).part in (ALL, SELF_LOOPS) for value in reading)
        others = tuple(value for value in reading if value.width and edges_of(value).part != SELF_LOOPS)
        merges = all(
            REDUCTIONS[value.op].is_distributive and not local_values(value) and chosen_edges(value) is None
            for value in others
        )
        mergeable = others if merges else ()
        push = bool(mergeable) and (number - 1, edge_type) in pushes
        shipment = Shipment(edge_type, tuple(values.values()), loops, mergeable, push, wire)
        steps[number].receives.append(shipment)
        steps[number - 1].ships.append(shipment)


def _keep(
    program: Program,
    when: dict[int, int],
    steps: list[Superstep],
    readers: _Readers,
    shipped: _Shipped,
    inside: Collection[int],
) -> None:
    """State: computed values that a later superstep of the same block reads, and features nobody needs are dropped.
    `inside`: what is in branches, which is computed where it is read."""
    until: dict[int, int] = dict.fromkeys(when, -1)
    steps[-1].outputs = list(program.outputs.values())
    for value in steps[-1].outputs:
        until[value.id] = len(steps) - 1
    for value in reversed(program.values):
        if value.is_node or value.is_graph:
            # a total is read wherever its row per node is
            uses = [until[user.id] if user.op == "spread" else when[user.id] for user, _ in readers[value.id]]
            until[value.id] = max([*uses, *shipped[value.id], until[value.id]])
    for step in steps[:-1]:
        step.keeps = [
            value
            for value in program.values
            if (value.is_node or value.is_graph)
            and value.op not in REMATERIALISED
            and value.id not in inside
            and when[value.id] <= step.number < until[value.id]
        ]
    for step in steps:
        needed = {i.id for value in step.computed for i in value.inputs}
        needed |= {i.id for value in step.reductions for i in local_values(value)}
        needed |= {value.id for value in step.live_out}
        needed |= {term.id for phase in step.phases for rest in phase.joins.values() for term in rest}
        for phase in step.phases:
            phase.nodes = [value for value in phase.nodes if value.op not in REMATERIALISED or value.id in needed]
