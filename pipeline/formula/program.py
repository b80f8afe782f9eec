"""A program: a whole model as values, printable, and as plain data for model.json.

Comes in: named output values. Goes out: the values in order, the input columns, the weights' names, text and JSON.
Reading a program from JSON rebuilds it through the table of operations, so that a file can only say what a formula can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.errors import FormulaError, ModelError
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.spaces import WEIGHT, Edges, Nodes, parse_space
from pipeline.formula.values import Value, apply, topological
from pipeline.schema import EdgeType


@dataclass(frozen=True)
class Input:
    """A column that a program reads: of which table, by what name, with rows of what shape."""

    space: Nodes | Edges
    name: str
    shape: tuple[int, ...]

    @property
    def table(self) -> str:
        return "nodes" if isinstance(self.space, Nodes) else "edges"

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


class Program:
    """A model's outputs by name, and all values that they need."""

    def __init__(self, outputs: Mapping[str, Value]):
        if not outputs:
            raise FormulaError("a program needs at least one output")
        self.outputs = dict(outputs)
        for name, value in self.outputs.items():
            if value.is_graph:
                raise FormulaError(
                    f"output {name!r} has one row for the whole graph, not per node; spread(...) gives it to every node"
                )
            if not value.is_node:
                raise FormulaError(
                    f"output {name!r} has one row per {str(value.space).rstrip('s')}, not per node; "
                    "reduce edge values first: g.sum(...), g.mean(...), g.max(...)"
                )
        self.values = topological(self.outputs.values())

    @cached_property
    def numbers(self) -> dict[int, int]:
        """Value.id → its position in `values`."""
        return {value.id: number for number, value in enumerate(self.values)}

    @property
    def inputs(self) -> list[Input]:
        """The columns read, each once, in order of first use."""
        found: dict[str, Input] = {}
        for value in self.values:
            if value.op == "input" and not value.is_weight:
                assert isinstance(value.space, Nodes | Edges)
                column = Input(value.space, value.attributes["name"], value.shape)
                found.setdefault(str(column) + str(column.space), column)
        return list(found.values())

    @property
    def edge_types(self) -> list[EdgeType]:
        """The types of edges that are reduced over, in order of first use; reversed where that is at the source."""
        over = (value.inputs[0].space for value in self.values if OPERATIONS[value.op].kind in ("reduce", "normalise"))
        return list(dict.fromkeys(space.type for space in over if isinstance(space, Edges)))

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights read."""
        return {value.attributes["name"]: value.shape for value in self.values if value.op == "weight"}

    def __str__(self) -> str:
        lines = []
        for number, value in enumerate(self.values):
            if value.op in ("weight", "constant"):
                continue
            operands = [self._operand(operand) for operand in value.inputs]
            operands += [
                f"{key}={_short(item)}" for key, item in value.attributes.items() if key not in ("edges", "nodes")
            ]
            lines.append(f"%{number}:{value.space}{list(value.shape)} = {value.op} {' '.join(operands)}".rstrip())
        lines += [f"{name} ← %{self.numbers[value.id]}" for name, value in self.outputs.items()]
        return "\n".join(lines)

    def _operand(self, value: Value) -> str:
        if value.op == "weight":
            return f"{value.attributes['name']}{list(value.shape)}"
        if value.op == "constant":
            return _short(value.attributes["value"])
        return f"%{self.numbers[value.id]}"

    # ---- as plain data

    def to_json(self) -> dict[str, Any]:
        values = []
        for value in self.values:
            entry: dict[str, Any] = {"op": value.op}
            if value.inputs:
                entry["inputs"] = [self.numbers[operand.id] for operand in value.inputs]
            attributes = {key: _plain(item) for key, item in value.attributes.items()}
            if attributes:
                entry["attributes"] = attributes
            if not value.inputs:
                entry["space"], entry["shape"] = str(value.space), list(value.shape)
            values.append(entry)
        return {"values": values, "outputs": {name: self.numbers[value.id] for name, value in self.outputs.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Program:
        """Rebuilds a program; a ModelError names the entry that is not one of ours."""
        values: list[Value] = []
        for number, entry in enumerate(data["values"]):
            op = entry["op"]
            if op not in OPERATIONS:
                raise ModelError(
                    f"value {number} of the program: unknown operation {op!r}; written by a newer version?"
                )
            try:
                attributes = {key: _rich(key, item) for key, item in entry.get("attributes", {}).items()}
                if OPERATIONS[op].kind == "leaf":
                    space = WEIGHT if op in ("weight", "constant") else parse_space(entry["space"])
                    values.append(Value(op, (), attributes, space, tuple(map(int, entry["shape"]))))
                else:
                    if not all(0 <= position < number for position in entry["inputs"]):
                        raise ValueError(f"its inputs {entry['inputs']} do not come before it")
                    operands = [values[position] for position in entry["inputs"]]
                    values.append(apply(op, *operands, **attributes))
            except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                raise ModelError(f"value {number} of the program ({op}) is not well formed: {error}") from None
        return Program({name: values[number] for name, number in data["outputs"].items()})


def _short(item: Any) -> str:
    return f"{item:.6g}" if isinstance(item, float) else str(item).replace(" ", "")


def _plain(item: Any) -> Any:
    if isinstance(item, float) and not math.isfinite(item):
        return str(item)  # JSON has no infinity
    if isinstance(item, Edges | Nodes):
        return str(item)
    return list(item) if isinstance(item, tuple) else item


def _rich(key: str, item: Any) -> Any:
    if key in ("edges", "nodes"):
        return _space(key, item)
    if item in ("inf", "-inf", "nan"):
        return float(item)
    return tuple(item) if isinstance(item, list) else item


def _space(key: str, item: str) -> Edges | Nodes:
    """The space that an attribute names, which is one of edges, or of nodes."""
    space = parse_space(item)
    if not isinstance(space, Edges if key == "edges" else Nodes):
        raise ValueError(f"{item!r} are no {key}")
    return space
