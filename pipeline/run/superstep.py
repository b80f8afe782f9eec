"""The block program: one superstep of one block. Arrays in, arrays out.

Comes in: a plan, a superstep of it, a block, the block's state, and functions that give what other blocks sent. Goes
out: the values that somebody still needs. Knows nothing of Spark: the same function runs in one process (fused.py) and
behind a shuffle (stage.py), with the same bits, because the order of every sum is fixed here: tiles by source block,
edges in tile order and then a partial result of those that are pushed, node rows in chunks of ROW_CHUNK, branches one
after another (branch.py, alike.py), the parts of a total by block (total.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.blocks.block import Block, FloatArray, IntArray
from pipeline.formula.interpret import execute_rows
from pipeline.formula.values import Value
from pipeline.kernels.gather import gather_rows
from pipeline.kernels.jit import read_only
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Shipment, Superstep
from pipeline.run.alike import run_branches
from pipeline.run.branch_rows import BranchRows
from pipeline.run.edges import Lies, Partial, Partials, Receive, Work
from pipeline.run.edges import Values as Arrays
from pipeline.run.node_values import run_nodes
from pipeline.run.outgoing import Outgoing, Values
from pipeline.run.reduce import reduce_edges
from pipeline.run.total import Total, TotalArray, merged

Parts = Callable[[Value], Sequence[TotalArray]]
"""total → its parts, one from each block, in the order of the blocks."""


@dataclass(frozen=True)
class Computed:
    """What a superstep has made of a block."""

    values: Arrays
    """Those that the step keeps, those it ships, and in the last step the outputs."""
    parts: dict[int, TotalArray]
    """Value.id of each total of the step → the block's part of it."""
    outgoing: Mapping[Values, FloatArray] = field(default_factory=dict)
    """Values of a shipment → (nodes, its width): those of its values that were made there, see outgoing.py."""


def compute(
    plan: Plan,
    step: Superstep,
    block: Block,
    state: Mapping[int, FloatArray],
    receive: Receive,
    partial: Partial,
    parts: Parts,
    partials: Partials | None = None,
    outgoing: Outgoing | None = None,
    branch_rows: Mapping[int, BranchRows | None] | None = None,
    lies: Lies | None = None,
) -> Computed:
    """Runs a superstep on a block. `outgoing`: where values that are sent side by side are made so; None: each is an
    array of its own. `branch_rows`, `lies`: see Work."""
    totals = {value.id: Total(value) for value in step.totals}
    work = Work(plan, step, block, dict(state), receive, partial, totals, partials)
    work.outgoing, work.branch_rows, work.lies = outgoing, branch_rows, lies
    with np.errstate(all="ignore"):
        for value in step.merges:
            work.values[value.id] = merged(value, parts(value))
        for value in step.graph_values:
            _run_whole(work, value)
        phases = zip(step.phases, plan.passes(step), plan.branch_passes(step), step.done_after, strict=True)
        for phase, over_edges, by_branch, done in phases:
            run_nodes(work, phase)
            for edge_pass in over_edges:
                reduce_edges(work, edge_pass)
            run_branches(work, phase.branches, by_branch)
            for number in done:  # room for the next phase
                work.values.pop(number, None)
    return Computed(
        {value.id: work.values[value.id] for value in step.live_out},
        {number: total.part for number, total in work.totals.items()},
        outgoing.arrays if outgoing else {},
    )


def side_by_side(shipment: Shipment, values: Mapping[int, FloatArray]) -> FloatArray:
    """All values of a shipment, (n, shipment.width): what partial results are made of. A view if it is one value."""
    arrays = [_flat(values[value.id], value) for value in shipment.values]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


def sent_rows(shipment: Shipment, block: Block, target: int) -> IntArray:
    """Local indices of the nodes whose rows a block sends to another one, or by target LOOPS to itself."""
    rows = block.sends[shipment.edge_type][target]
    return rows[: block.pulled.get(shipment.edge_type, {}).get(target)] if shipment.push else rows


def payload(shipment: Shipment, rows: IntArray, values: Mapping[int, FloatArray]) -> FloatArray:
    """The rows of a shipment that one send list names: (k, shipment.width) float32."""
    out = np.empty((len(rows), shipment.width), np.float32)
    for value in shipment.values:
        gather_rows(read_only(_flat(values[value.id], value)), read_only(rows), shipment.offsets[value.id], out)
    return out


def _run_whole(work: Work, value: Value) -> None:
    """A value of the whole graph: one row, the same in every block."""
    if value.op == "fill":
        work.values[value.id] = np.full((1, *value.shape), value.attributes["value"], np.float32)
        return
    operands = [work.weight(entry) if entry.is_weight else work.values[entry.id] for entry in value.inputs]
    work.values[value.id] = np.ascontiguousarray(execute_rows(value, operands), np.float32)


def _flat(array: FloatArray, value: Value) -> FloatArray:
    return array.reshape(len(array), value.width)
