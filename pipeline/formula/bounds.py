"""Whether some row of a graph has an index that is no row of a table, where the index is computed: kind * 4 + age.

Comes in: the index as a value, and between which numbers each lane of its columns lies. Goes out: a number in a column
that cannot be right. Bounds of the whole index would not do: the largest kind and the largest age need not be in the
same row. But some row has the largest kind, and its index lies between two numbers, whatever else is in that row.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.formula.interpret import Array, execute_rows
from pipeline.formula.operations import OPERATIONS, SAME_ENDS
from pipeline.formula.values import Value, topological

Bounds = tuple[Array, Array]
"""The lowest and the highest that rows of a value can be: (1, *shape) each, of a constant ()."""


class Misfit(NamedTuple):
    """A number that a column holds, and what the index is in its row."""

    column: str
    lane: int
    number: float
    low: float
    high: float


def misfit(index: Value, rows: int, columns: Mapping[str, Bounds]) -> Misfit | None:
    """The first number of a column with which the index is none of 0 to rows - 1; None if there may be none.

    `columns`: input name → bounds, (1, *shape) each, which some row reaches. Of an index that is made of other
    operations, or on edges of values of their ends, nothing is said.
    """
    for name, (low, high) in columns.items():
        for extreme, lane in itertools.product((high, low), range(low.size)):
            fixed = low.copy(), high.copy()
            for bound in fixed:
                bound.flat[lane] = extreme.flat[lane]
            found = bounds(index, {**columns, name: fixed})
            if found is None:
                return None
            outside = np.flatnonzero((found[1] < 0) | (found[0] > rows - 1))
            if len(outside):
                lowest, highest = (float(bound.flat[outside[0]]) for bound in found)
                return Misfit(name, lane, float(extreme.flat[lane]), lowest, highest)
    return None


def bounds(value: Value, columns: Mapping[str, Bounds]) -> Bounds | None:
    """Between which numbers a value lies; None if it is made of anything but simple arithmetic on these columns."""
    known: dict[int, Bounds | None] = {}
    for below in topological([value]):
        known[below.id] = _bounds(below, [known[operand.id] for operand in below.inputs], columns)
    return known[value.id]


def _bounds(value: Value, inputs: list[Bounds | None], columns: Mapping[str, Bounds]) -> Bounds | None:
    if value.op == "input":
        return columns.get(value.attributes["name"])
    if value.op == "constant":
        number = np.asarray(value.attributes["value"])
        return number, number
    operation = OPERATIONS[value.op]
    if operation.is_truth:
        return np.zeros((1, *value.shape)), np.ones((1, *value.shape))
    if value.op == "where":
        inputs[0] = np.zeros((1, *value.inputs[0].shape)), np.ones((1, *value.inputs[0].shape))
    known = [operand for operand in inputs if operand is not None]
    if len(known) < len(inputs) or operation.ends is None:
        return None
    both = ((end,) * len(known) for end in (0, 1))
    corners = [
        execute_rows(value, [operand[end] for operand, end in zip(known, ends, strict=True)])
        for ends in (both if operation.ends == SAME_ENDS else itertools.product((0, 1), repeat=len(known)))
    ]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)
