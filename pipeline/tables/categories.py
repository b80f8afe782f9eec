"""Whether the numbers of a graph's columns are rows of the tables that a model looks up by them.

Comes in: a program, the table columns of its inputs, what these hold. Goes out: nothing, or a ModelError. Reads no
table: the smallest and the largest number of a column are known when it has been prepared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.blocks.ranges import Range, Ranges
from pipeline.errors import ModelError
from pipeline.formula.bounds import misfit
from pipeline.formula.categories import Category, Computed, categories, computed
from pipeline.formula.checked import lanes_of
from pipeline.formula.program import Input, Program, input_name


def check_categories(program: Program, columns: Mapping[str, str], ranges: Ranges) -> None:
    """ModelError if some row certainly has a number that is no row of the table that it is looked up in. `columns`:
    input → table column; `ranges`: table column → what its lanes hold, where that is known."""
    for category in categories(program):
        name = columns[input_name(category.column)]
        for lane, held in _some_lanes(category, ranges.get(name, ())):
            _check_category(category, _lane_of(name, category.column, lane), held)
    for lookup in computed(program):
        _check_computed(lookup, columns, ranges)


def _check_computed(lookup: Computed, columns: Mapping[str, str], ranges: Ranges) -> None:
    """ModelError if some row's index is certainly no row of the table that it is looked up in."""
    held = {}
    for column in lookup.columns:
        lanes = ranges.get(columns[input_name(column)], ())
        if len(lanes) == lanes_of(column.shape):
            low, high = (np.reshape(ends, (1, *column.shape)) for ends in list(zip(*lanes, strict=True))[:2])
            held[column.name] = low, high
    found = misfit(lookup.index, lookup.rows, held)
    if found is not None:
        column = next(column for column in lookup.columns if column.name == found.column)
        name = _lane_of(columns[input_name(column)], column, found.lane)
        least = f"at most {found.high:.10g}" if found.high < 0 else f"at least {found.low:.10g}"
        raise ModelError(
            f"{name} holds {found.number:.10g}, with which the number of a row that the model computes is {least}; "
            f"{_rows_of(lookup)}: number the categories as in training"
        )


def _some_lanes(category: Category, lanes: Sequence[Range]) -> list[tuple[int, Range]]:
    return [(lane, lanes[lane]) for lane in category.lanes if lane < len(lanes)]


def _check_category(category: Category, name: str, held: Range) -> None:
    """ModelError unless the numbers of a lane are rows of the table that they are looked up in."""
    wrong = held.low if held.low < 0 else held.high if held.high >= category.rows else None
    if wrong is None and held.whole:
        return
    found = "numbers that are not whole" if wrong is None else f"{wrong:.10g}"
    raise ModelError(f"{name} holds {found}; {_rows_of(category)}: number the categories as in training")


def _rows_of(category: Category | Computed) -> str:
    which = f" {category.table}" if category.table else ""
    return f"the model's table{which} has {category.rows:,} rows (0 to {category.rows - 1:,})"


def _lane_of(name: str, column: Input, lane: int) -> str:
    return name if lanes_of(column.shape) == 1 else f"{name}[{lane}]"
