"""Tracing: a formula is called once with symbolic values; what it returns is the program.

Comes in: a Python function `formula(g, x, w, …)`, the shapes of its inputs and weights. Goes out: a Program.
"""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import FormulaError
from pipeline.formula.program import Program
from pipeline.formula.relation import Relation
from pipeline.formula.values import Value, node_input
from pipeline.formula.weights import Weights

Formula = Callable[..., Value | Mapping[str, Value]]


def trace(
    formula: Formula,
    inputs: Mapping[str, int | Sequence[int]],
    weights: Mapping[str, Sequence[int]],
    **options: Any,
) -> Program:
    """Runs a formula on symbolic values.

    Parameters
    ----------
    formula
        Called with `g`, `w` and the node columns by the names of its own parameters; `options` go through.
    inputs
        Columns and the shape of their rows: `{"nodes.x": 64, "edges.weight": ()}`; an integer d means (d,).
    weights
        Name → shape.

    Raises
    ------
    FormulaError
        Where spaces or shapes do not fit: it begins with the line of the formula, "model.py:12: ".
    """
    shapes = {name: (size,) if isinstance(size, int) else tuple(size) for name, size in inputs.items()}
    nodes: dict[str, Value] = {}
    edges: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        table, _, column = name.partition(".")
        if table == "nodes" and column:
            nodes[column] = node_input(column, shape)
        elif table == "edges" and column:
            edges[column] = shape
        else:
            raise FormulaError(f"input {name!r}: write nodes.COLUMN or edges.COLUMN")
    offered = {"g": Relation(columns=edges), "w": Weights(weights), **nodes, **options}
    parameters = inspect.signature(formula).parameters
    missing = [
        name
        for name, parameter in parameters.items()
        if name not in offered and parameter.default is inspect.Parameter.empty
    ]
    if missing:
        raise FormulaError(f"the formula asks for {', '.join(missing)}; it is offered {', '.join(offered)}")
    try:
        result = formula(**{name: offered[name] for name in parameters if name in offered})
    except FormulaError as error:
        raise FormulaError(f"{_line(error)}{error}") from error
    if isinstance(result, Value):
        return Program({"embedding": result})
    if isinstance(result, Mapping) and all(isinstance(value, Value) for value in result.values()):
        return Program(result)
    raise FormulaError(
        f"the formula returned {type(result).__name__}; a value, or a mapping of names to values, is expected"
    )


def _line(error: FormulaError) -> str:
    """The innermost line of the error's traceback that is the user's, not the language's."""
    lines = [
        f"{os.path.basename(frame.f_code.co_filename)}:{number}: "
        for frame, number in traceback.walk_tb(error.__traceback__)
        if not frame.f_globals.get("__name__", "").startswith("pipeline.")
    ]
    return lines[-1] if lines else ""
