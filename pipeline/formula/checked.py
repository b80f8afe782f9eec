"""Weights and columns that are given for a program: those that it reads, and no others.

Comes in: a program, arrays by name, names of columns. Goes out: the same, checked. Opens no table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError, shortened
from pipeline.formula.node_rows import NodeRows
from pipeline.formula.program import Program, input_name
from pipeline.formula.spaces import Nodes

WeightArray = npt.NDArray[np.float32]


def checked_weights(program: Program, weights: Mapping[str, npt.ArrayLike]) -> dict[str, WeightArray]:
    """Copies in float32, which nobody can change. ModelError unless they are those of the program, and finite."""
    wanted = program.weights
    missing, unexpected = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or unexpected:
        said = (("weights that are missing", missing), ("weights that no formula reads", unexpected))
        raise ModelError("; ".join(f"{what}: {', '.join(names)}" for what, names in said if names))
    checked = {}
    for name, shape in wanted.items():
        array = np.array(weights[name], np.float32, order="C")  # a copy: nobody else can change it
        if array.shape != shape:
            raise ModelError(f"weight {name} has shape {array.shape}; the program expects {shape}")
        if not np.isfinite(array).all():
            bad = array.size - int(np.isfinite(array).sum())
            raise ModelError(f"weight {name} holds {bad} of {array.size} numbers that are NaN or infinite in float32")
        array.flags.writeable = False
        checked[name] = array
    return checked


def checked_columns(program: Program, columns: Mapping[str, str]) -> dict[str, str]:
    """Input of the program → table column; its own name where nothing else is given. ModelError if that cannot be."""
    read = {input_name(column): column for column in program.inputs}
    unknown = sorted(columns.keys() - read.keys())
    if unknown:
        raise ModelError(f"columns are given for {', '.join(unknown)}; the program reads {', '.join(read) or 'none'}")
    chosen = {name: columns.get(name, name) for name in read}
    lanes: dict[str, int] = {}
    for name, column in chosen.items():
        table, _, key = column.rpartition(".")
        if table != str(read[name].space) or not key:
            raise ModelError(f"{name} is read from {shortened(column)}; write {read[name].space}.COLUMN")
        width = lanes_of(read[name].shape)
        if lanes.setdefault(column, width) != width:
            raise ModelError(f"column {column} is read with width {lanes[column]} and with width {width}")
    return chosen


def checked_rows(program: Program, columns: Mapping[str, str], given: Mapping[str, NodeRows]) -> dict[str, NodeRows]:
    """Node type → its learned rows, as far as the program reads them. ModelError if one has not the width in which it
    is read."""
    read: dict[tuple[str, str], int] = {}
    for column in program.inputs:
        if isinstance(column.space, Nodes):
            name = columns[input_name(column)].rpartition(".")[2]
            read[column.space.type, name] = lanes_of(column.shape)
    found = {}
    for type, rows in given.items():
        own = [name for name in rows.columns if (type, name) in read]
        for name in own:
            if rows.columns[name].shape[1] != read[type, name]:
                raise ModelError(
                    f"learned rows {name} of {Nodes(type)} have width {rows.columns[name].shape[1]}; the program "
                    f"expects {read[type, name]}"
                )
        if own:
            found[type] = rows.only(own)
    return found


def lanes_of(shape: Sequence[int]) -> int:
    """Numbers in a row of a shape."""
    return math.prod(shape)
