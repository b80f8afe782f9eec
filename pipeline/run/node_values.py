"""Node values of a phase: matrix products, activations, sums of what branches have made; and the parts of totals.

Comes in: what a superstep has made of a block so far, a phase. Goes out: the values that are read later, whole; the
others are there for a chunk of rows at a time. Knows nothing of edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.interpret import execute_rows, last_readers
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.spaces import Nodes
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.plan.superstep import Phase
from pipeline.run.edges import Work

# Node values pass through the cache in chunks: 4096 rows of 64 lanes are 1 MB. A constant, because BLAS may sum another
# way for another number of rows.
ROW_CHUNK = 4096


def run_nodes(work: Work, phase: Phase) -> None:
    """Node values of a phase, chunk by chunk; only those that are read outside of it become whole arrays."""
    outside = work.step.read_outside(phase)
    by_type: dict[str, list[Value]] = {}
    for value in phase.nodes:
        space = value.inputs[0].space if value.op in TOTALS else value.space
        assert isinstance(space, Nodes)
        if value.op == "input":
            column = _column(work, space.type, value.attributes["name"])
            work.values[value.id] = column.reshape(len(column), *value.shape)
        else:
            by_type.setdefault(space.type, []).append(value)
    for node_type, values in by_type.items():
        count = work.block.nodes(node_type)
        for value in values:
            if value.id in outside and value.id not in phase.joins:
                work.values[value.id] = work.array(value, count)
        # of many relations a chunk has a thousand values: those that nobody reads any more make room in the cache
        last = last_readers(values, (), phase.operands)
        for start in range(0, count, ROW_CHUNK):
            _run_chunk(work, phase, values, slice(start, min(start + ROW_CHUNK, count)), outside, last)


def _column(work: Work, type: str, name: str) -> npt.NDArray[np.float32]:
    """(nodes, lanes): of the graph, or of the model, which knows its rows by the ids of the nodes."""
    if work.plan.is_own(type, name):
        return work.plan.node_rows[type].rows(name, work.block.ids[type])
    return work.block.features[type][name]


def _run_chunk(
    work: Work, phase: Phase, values: list[Value], rows: slice, outside: set[int], last: Mapping[int, Sequence[int]]
) -> None:
    chunk: dict[int, npt.NDArray[Any]] = {}

    def operand(value: Value) -> npt.NDArray[Any]:
        if value.id not in chunk:
            chunk[value.id] = work.weight(value) if value.is_weight else work.values[value.id][rows]
        return chunk[value.id]

    count = rows.stop - rows.start
    for value in values:
        if value.op in TOTALS:
            work.totals[value.id].add(*map(operand, value.inputs))
            continue  # what it has read stays until the chunk is done
        if value.op == "fill":
            result = np.full((count, *value.shape), value.attributes["value"], np.float32)
        elif value.id in phase.joins:
            result = _joined(work.values[value.id][rows], value, [(e, operand(e)) for e in phase.joins[value.id]])
        elif value.op == "spread":
            result = np.broadcast_to(work.values[value.inputs[0].id], (count, *value.shape))
        else:
            result = execute_rows(value, [operand(entry) for entry in value.inputs])
        chunk[value.id] = result
        if value.id in outside:
            work.values[value.id][rows] = result
        for number in last.get(value.id, ()):
            chunk.pop(number, None)


def _joined(
    branched: npt.NDArray[Any], join: Value, rest: Sequence[tuple[Value, npt.NDArray[Any]]]
) -> npt.NDArray[Any]:
    """What branches have made, and the other terms of a join."""
    meaning = OPERATIONS[join.op].meaning
    assert meaning is not None
    for term, array in rest:
        if not term.is_weight and len(term.shape) < len(join.shape):
            array = array.reshape(len(array), *(1,) * (len(join.shape) - len(term.shape)), *term.shape)
        branched = meaning(branched, array, **join.attributes)
    return branched
