"""Tracing: a formula is called once with symbolic values; what it returns is the program.

Comes in: a Python function `formula(g, x, w, …)`, the shapes of its inputs and weights. Goes out: a Program.
"""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import FormulaError, nearest, shortened
from pipeline.formula.program import OUTPUT, Program, output_key
from pipeline.formula.relation import Relation
from pipeline.formula.relations import Relations
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import Value, node_input
from pipeline.formula.weights import Weights
from pipeline.schema import AnyType, EdgeType

Formula = Callable[..., Any]
Form = int | Sequence[int]
Inputs = Mapping[str, Form] | Mapping[Any, Mapping[str, Form]]
BY_TYPE = "write TYPE: {COLUMN: WIDTH}, and (SOURCE, RELATION, TARGET): {COLUMN: WIDTH} for edges"


def trace(formula: Formula, inputs: Inputs, weights: Mapping[str, Sequence[int]], **options: Any) -> Program:
    """Runs a formula on symbolic values.

    Parameters
    ----------
    formula
        Called with `g`, `w` and the node columns by the names of its own parameters; `options` go through.
    inputs
        Columns and the shape of their rows: `{"nodes.x": 64, "edges.weight": ()}`; an integer d means (d,).
        Of a graph with types, all its types and their columns: `{"account": {"x": 16}, "shop": {},
        ("account", "pays", "shop"): {"amount": ()}}`. Then `g["account", "pays", "shop"]` are the edges of a type, and
        a node column is a mapping, `x["account"]`.
    weights
        Name → shape.

    Raises
    ------
    FormulaError
        Where spaces or shapes do not fit: it begins with the line of the formula, "model.py:12: ".
    """
    if not callable(formula):
        raise FormulaError(f"the formula is {shortened(formula)}; a function of g, x, w is expected")
    if not isinstance(inputs, Mapping):
        raise FormulaError(f"inputs is {shortened(inputs)}; columns and widths are expected: {{'nodes.x': 64}}")
    typed = any(isinstance(form, Mapping) for form in inputs.values())
    edges, columns = _of_types(inputs) if typed else _of_one(inputs)
    offered = {"g": edges, "w": Weights(weights), **columns, **options}
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
    return Program(_by_type(result, edges) if isinstance(edges, Relations) else _named(result))


class ByType(dict[str, Value]):
    """A node column of a typed graph: node type → its value, for the types that have it."""

    def __init__(self, column: str, values: Mapping[str, Value]):
        super().__init__(values)
        self._column = column

    def __missing__(self, node_type: str) -> Value:
        raise FormulaError(f"no column {self._column!r} of nodes of the type {node_type!r}; {nearest(node_type, self)}")


def _of_one(inputs: Mapping[Any, Any]) -> tuple[Relation, dict[str, Value]]:
    """What a formula for a graph without types is offered: `g`, and node columns by name."""
    nodes: dict[str, Value] = {}
    edges: dict[str, tuple[int, ...]] = {}
    for name, form in inputs.items():
        table, _, column = str(name).partition(".")
        if table == "nodes" and column:
            nodes[column] = node_input(column, _shape(form))
        elif table == "edges" and column:
            edges[column] = _shape(form)
        else:
            raise FormulaError(f"input {name!r}: write nodes.COLUMN or edges.COLUMN; of a graph with types, {BY_TYPE}")
    return Relation(columns=edges), nodes


def _of_types(inputs: Mapping[Any, Any]) -> tuple[Relations, dict[str, ByType]]:
    """What a formula for a graph with types is offered: `g`, and node columns by name."""
    nodes: dict[str, Mapping[str, Any]] = {}
    edges: dict[EdgeType, dict[str, tuple[int, ...]]] = {}
    for kind, columns in inputs.items():
        if not isinstance(columns, Mapping):
            raise FormulaError(f"input {shortened(kind)} is {shortened(columns)}, and others are by type; {BY_TYPE}")
        if isinstance(kind, str):
            nodes[kind] = columns
        elif isinstance(kind, tuple) and len(kind) == 3 and all(isinstance(name, str) for name in kind):
            edges[EdgeType(*kind)] = {column: _shape(form) for column, form in columns.items()}
        else:
            raise FormulaError(f"input {shortened(kind)} is neither a type of nodes nor one of edges; {BY_TYPE}")
    for kind in edges:
        for end in (kind.source, kind.target):
            if end not in nodes:
                near = f"{nearest(end, nodes)}, or add" if nodes else "add"
                raise FormulaError(f"edges of {end!r}, no type of nodes among the inputs; {near} {end!r}: {{}}")
    by_column: dict[str, dict[str, Value]] = {}
    for name, columns in nodes.items():
        for column, form in columns.items():
            by_column.setdefault(column, {})[name] = node_input(column, _shape(form), Nodes(name))
    return Relations(edges, tuple(nodes)), {name: ByType(name, values) for name, values in by_column.items()}


def _shape(form: Any) -> tuple[int, ...]:
    if isinstance(form, str) or not isinstance(form, int | Sequence):
        raise FormulaError(f"the shape of a column is {shortened(form)}; a width is expected, 64, or () for one number")
    return (form,) if isinstance(form, int) else tuple(form)


def _named(result: Any) -> Mapping[str, Value]:
    """The outputs of a formula for a graph without types."""
    if isinstance(result, Value):
        return {OUTPUT: result}
    if isinstance(result, Mapping) and all(isinstance(value, Value) for value in result.values()):
        return result
    raise FormulaError(
        f"the formula returned {type(result).__name__}; a value, or a mapping of names to values, is expected"
    )


def _by_type(result: Any, edges: Relations) -> Mapping[str, Value]:
    """The outputs of a formula for a graph with types, by `output_key`."""
    if isinstance(result, Value):
        if not isinstance(result.space, Nodes | Edges):
            return {OUTPUT: result}  # Program says what it is instead
        return {output_key(_forward(result.space), OUTPUT): result}
    if not isinstance(result, Mapping) or not result:
        raise FormulaError(
            f"the formula returned {type(result).__name__}; a mapping of types to values, or to values by name, is "
            "expected"
        )
    outputs: dict[str, Value] = {}
    for name, found in result.items():
        kind = _known_type(name, edges)
        what = f"edges of the type {kind}" if isinstance(kind, EdgeType) else f"nodes of the type {kind!r}"
        for key, value in (found if isinstance(found, Mapping) else {OUTPUT: found}).items():
            if not isinstance(value, Value):
                raise FormulaError(f"the formula returned {type(value).__name__} for {what}")
            if isinstance(value.space, Nodes | Edges) and _forward(value.space) != kind:
                raise FormulaError(f"the formula returned a value of {value.space} for {what}")
            outputs[output_key(kind, key)] = value
    return outputs


def _known_type(name: Any, edges: Relations) -> AnyType:
    """What a key of the formula's result names. FormulaError if it is no type."""
    if name in edges.types:
        return str(name)
    if name in edges:
        return EdgeType(*name)
    if isinstance(name, str):
        raise FormulaError(f"the formula returned nodes of the type {name!r}; {nearest(name, edges.types)}")
    near = nearest(str(name), [str(kind) for kind in edges])
    raise FormulaError(f"the formula returned edges of the type {shortened(name)}; {near}")


def _forward(space: Nodes | Edges) -> AnyType:
    """The type whose rows a value has; a value of reversed edges has those of the edges themselves."""
    kind = space.type
    return kind.forward if isinstance(kind, EdgeType) else kind


def _line(error: FormulaError) -> str:
    """The innermost line of the error's traceback that is the user's, not the language's."""
    lines = [
        f"{os.path.basename(frame.f_code.co_filename)}:{number}: "
        for frame, number in traceback.walk_tb(error.__traceback__)
        if not frame.f_globals.get("__name__", "").startswith("pipeline.")
    ]
    return lines[-1] if lines else ""
