"""Inputs of a program that are put together from columns of one number each.

Comes in: a program, and which of its inputs have how many parts. Goes out: a program that reads the parts. Knows
nothing of tables: which column a part is, its caller says.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.formula.program import Input, Program, input_name
from pipeline.formula.values import Value, apply, leaf


def joined(program: Program, parts: Mapping[str, int]) -> tuple[Program, list[str]]:
    """The program in which the named inputs are so many inputs of one number, side by side in their order.

    Goes out with the names of the new inputs: of the first in `parts`, then of the second, …
    """
    taken = {input_name(column) for column in program.inputs}
    chosen = {input_name(column): column for column in program.inputs if input_name(column) in parts}
    rows: dict[str, Value] = {}
    names: list[str] = []
    for name, count in parts.items():
        column = chosen[name]
        lanes = [_free(column, lane, taken) for lane in range(count)]
        names += [input_name(lane) for lane in lanes]
        values = [leaf("input", {"name": lane.name}, lane.space, lane.shape) for lane in lanes]
        rows[name] = apply("reshape", apply("concat", *values, axis=0), shape=column.shape)
    new: dict[int, Value] = {}
    for value in program.values:
        if value.op == "input" and (name := f"{value.space}.{value.attributes['name']}") in rows:
            new[value.id] = rows[name]
        elif value.inputs:
            new[value.id] = apply(value.op, *(new[operand.id] for operand in value.inputs), **value.attributes)
        else:
            new[value.id] = value
    return Program({name: new[value.id] for name, value in program.outputs.items()}), names


def _free(column: Input, lane: int, taken: set[str]) -> Input:
    """An input for one number of a column, of a name that the program has not."""
    name = f"{column.name}_{lane}"
    while f"{column.space}.{name}" in taken:
        name += "_"
    taken.add(f"{column.space}.{name}")
    return Input(column.space, name, (1,))
