"""Levels: how many exchanges a value needs. And what belongs to the edge program of a reduction.

Comes in: a program. Goes out: numbers and lists of values. Inputs have level 0, `src(v)` and a total of v are one above
v, everything else is at the highest level of its inputs: the number of supersteps falls out of the model, whatever its
layers are.
"""

from __future__ import annotations

from pipeline.formula.program import Program
from pipeline.formula.reductions import EDGE_ROWS
from pipeline.formula.spaces import Edges
from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value, topological


def levels(program: Program) -> dict[int, int]:
    """Value.id → number of exchanges before it can be known."""
    level = {value.id: level_of(value) for value in program.values}
    if program.is_per_edge:
        # rows of edges are written when they are made: in the last superstep, and behind an exchange, which brings the
        # ids of their sources
        last = max(1, *level.values())
        level.update((value.id, last) for value in program.values if is_per_edge(value))
    return level


def level_of(value: Value) -> int:
    """The same of a value whose inputs were asked for. Remembered, as programs that rewrites have made share values."""
    if value.level is None:
        deepest = 0
        for operand in value.inputs:
            deepest = max(deepest, level_of(operand))
        value.level = deepest + (value.op == "src" or value.op in TOTALS)
    return value.level


def is_per_edge(value: Value) -> bool:
    """Whether a value's rows are those of edges: it is an output."""
    return value.op == EDGE_ROWS.name


def edge_values(reduction: Value) -> tuple[Value, ...]:
    """The edge values and weights that a reduction is computed from, up to its src, dst and columns; inputs first."""
    if reduction.inside is None:  # of 2,000 relations it is asked for 230,000 times
        over = (operand for operand in reduction.inputs if not operand.is_node)
        reduction.inside = tuple(topological(over, stop=("src", "dst")))
    return reduction.inside


def sent_values(reduction: Value) -> list[tuple[Value, Edges]]:
    """The node values that a reduction reads at the other end of its edges, in a fixed order, each once."""
    found: dict[int, tuple[Value, Edges]] = {}
    for value in edge_values(reduction):
        if value.op == "src":
            found.setdefault(value.inputs[0].id, (value.inputs[0], value.attributes["edges"]))
    return list(found.values())


def local_values(reduction: Value) -> list[Value]:
    """The node values that a reduction reads at the dst: under `dst`, and its own node inputs."""
    found = {operand.id: operand for operand in reduction.inputs if operand.is_node}
    for value in edge_values(reduction):
        if value.op == "dst":
            found.setdefault(value.inputs[0].id, value.inputs[0])
    return list(found.values())
