"""Which columns a program looks tables up by: what these columns may hold.

Comes in: a program. Goes out: for each lookup by a column itself, the column, its lanes, and the rows of the table; for
the others, the index that is computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.formula.interpret import Array, execute_rows
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import Input, Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import Value, topological


@dataclass(frozen=True)
class Category:
    """A column whose numbers are rows of a table."""

    column: Input
    lanes: tuple[int, ...]
    rows: int
    """Of the table: the numbers are 0 to rows - 1."""
    table: str | None
    """The weight's name; None if it is computed."""


def categories(program: Program) -> list[Category]:
    """In the order of the program. An index that is computed, say by a clamp, may be of any column: it is left out."""
    found = []
    for value in program.values:
        if value.op == "lookup":
            table, index = value.inputs
            for column, lanes in _columns(index):
                rows = tuple(sorted(set(lanes.ravel().tolist())))
                found.append(Category(column, rows, table.shape[0], _name(table)))
    return found


@dataclass(frozen=True)
class Computed:
    """An index that is computed from columns, and the table that it is for, as in Category."""

    index: Value
    columns: tuple[Input, ...]
    rows: int
    table: str | None


def computed(program: Program) -> list[Computed]:
    """The lookups that `categories` leaves out, in the order of the program."""
    found = []
    for value in program.values:
        if value.op == "lookup" and not _columns(value.inputs[1]):
            table, index = value.inputs
            inputs = (below for below in topological([index]) if below.op == "input")
            found.append(Computed(index, tuple(map(_input, inputs)), table.shape[0], _name(table)))
    return found


def _name(table: Value) -> str | None:
    return table.attributes["name"] if table.op == "weight" else None


def _input(value: Value) -> Input:
    assert isinstance(value.space, Nodes | Edges)
    return Input(value.space, value.attributes["name"], value.shape)


def _columns(value: Value) -> list[tuple[Input, Array]]:
    """The columns that a value only arranges, and of which lane each of its numbers is."""
    found: dict[int, list[tuple[Input, Array]]] = {}
    for below in topological([value]):
        found[below.id] = []
        if below.op == "input":
            found[below.id] = [(_input(below), np.arange(below.width).reshape(1, *below.shape))]
        elif OPERATIONS[below.op].kind == "move":  # of `extend` both: a column, and what it is on added self-loops
            found[below.id] = [column for operand in below.inputs for column in found[operand.id]]
        elif OPERATIONS[below.op].arranges and len(below.inputs) == 1:
            arranged = found[below.inputs[0].id]
            found[below.id] = [(column, execute_rows(below, [lanes])) for column, lanes in arranged]
    return found[value.id]
