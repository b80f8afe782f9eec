"""A program: a whole model as values, printable, and as plain data for model.json.

Comes in: named output values. Goes out: the values in order, the input columns, the weights' names, text and JSON.
Reading a program from JSON rebuilds it through the table of operations, so that a file can only say what a formula can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.errors import FormulaError, ModelError, shortened
from pipeline.formula.attributes import MOST_COMPUTED, check_name
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.reductions import EDGE_ROWS
from pipeline.formula.spaces import ALL, SELF_PART, Edges, Nodes, parse_space
from pipeline.formula.values import Value, apply, leaf, topological
from pipeline.schema import DST, EDGE, ID, NODE, SRC, AnyType, EdgeType, folder_of

PARALLEL = "parallel"  # of a row per edge: which of the edges between the same two nodes
RESERVED = frozenset([ID, "__superstep", "__milliseconds"])  # columns of a result; the last two are taken out of it
RESERVED_PER_EDGE = RESERVED | {SRC, DST, PARALLEL}


OUTPUT = "output"  # of a model that gives one value, and no name to it: what it means, only its author knows


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


def input_name(column: Input) -> str:
    """How a model calls an input: "nodes.x", and "nodes[paper].x" where there are several types."""
    return f"{column.space}.{column.name}"


def output_key(type: AnyType, name: str) -> str:
    """How a program calls an output of a type: "logits", and "paper.logits" where there are several types of nodes,
    "user__buys__item.logits" where its rows are of edges of a type.

    `Program.outputs` and the files of a model have these keys; a result has the names, in a table per type.
    """
    return name if type in (NODE, EDGE) else f"{folder_of(type)}.{name}"


class Program:
    """A model's outputs, and all values that they need."""

    def __init__(self, outputs: Mapping[str, Value]):
        """`outputs`: `output_key` → value, all of nodes or all of edges. The same name may be an output of several
        types."""
        if not outputs:
            raise FormulaError("a program needs at least one output")
        self.outputs = {name: _output(name, value) for name, value in outputs.items()}
        self.values = topological(self.outputs.values())
        self.is_per_edge = self._check_rows()
        """Whether its result has a row for each edge; else for each node."""
        self._names = {key: _output_name(key, value) for key, value in self.outputs.items()}
        self._check_names()
        self.check_weights()

    @staticmethod
    def rewritten(given: Program, outputs: Mapping[str, Value]) -> Program:
        """A program that computes the same in another way: its outputs have the names, spaces and shapes of those of
        the `given` one, and nothing is checked again. Planning many relations makes hundreds."""
        made = Program.__new__(Program)
        made.outputs = dict(outputs)
        made.values = topological(outputs.values())
        made.is_per_edge, made._names = given.is_per_edge, given._names
        return made

    def _check_rows(self) -> bool:
        """Whether the outputs are of edges. FormulaError if some are, or if rows of edges are read again."""
        per_edge = [name for name, value in self.outputs.items() if value.op == EDGE_ROWS.name]
        if per_edge and len(per_edge) < len(self.outputs):
            other = next(name for name in self.outputs if name not in per_edge)
            raise FormulaError(
                f"output {per_edge[0]!r} has one row per edge and {other!r} one per node, and a result is one table: "
                "make a model of each"
            )
        rows = {value.id for value in self.values if value.op == EDGE_ROWS.name}
        if rows - {value.id for value in self.outputs.values()} or any(
            operand.id in rows for value in self.values for operand in value.inputs
        ):
            raise FormulaError(f"{EDGE_ROWS.name} is what an output is, and nothing reads it")
        return bool(per_edge)

    def _check_names(self) -> None:
        """FormulaError for a name that a table or a file cannot have."""
        try:
            for _, name in self._names.values():
                check_name("an output", name)
            for value in self.values:
                if value.op in ("input", "weight"):
                    check_name("a column" if value.op == "input" else "a weight", value.attributes["name"])
        except ValueError as error:
            raise FormulaError(str(error)) from None
        seen: dict[tuple[AnyType, str], str] = {}
        for type, name in self._names.values():
            # Spark takes no account of case in names of columns
            if name.lower() in (RESERVED_PER_EDGE if self.is_per_edge else RESERVED):
                raise FormulaError(f"output {name!r}: the result has a column of this name already; give another one")
            other = seen.setdefault((type, name.lower()), name)
            if other != name:
                raise FormulaError(f"outputs {other!r} and {name!r} differ by case only; give one another name")

    def check_weights(self) -> None:
        """FormulaError if what is computed from weights alone would not fit in memory."""
        held = computed = 0
        shapes: dict[str, tuple[int, ...]] = {}
        for value in self.values:
            if value.op == "weight":
                name = value.attributes["name"]
                if shapes.setdefault(name, value.shape) != value.shape:
                    raise FormulaError(f"weight {name} is read with shape {shapes[name]} and with shape {value.shape}")
                held += value.width
            elif value.is_weight:
                computed += value.width
        if computed > max(MOST_COMPUTED, 16 * held):
            raise FormulaError(
                f"{computed:,} numbers are computed from weights of {held:,}; {MOST_COMPUTED:,} are supported"
            )

    @property
    def what(self) -> str:
        """What its result has a row for each of, in words."""
        return "edges" if self.is_per_edge else "nodes"

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
    def output_types(self) -> tuple[AnyType, ...]:
        """The types that have outputs, in their order: of nodes, or where the result has a row per edge, of edges."""
        return tuple(dict.fromkeys(type for type, _ in self._names.values()))

    def outputs_of(self, type: AnyType) -> Mapping[str, Value]:
        """The outputs of a type by their names, which are the columns of its result."""
        return {name: self.outputs[key] for key, (own, name) in self._names.items() if own == type}

    def keys_of(self, type: AnyType) -> list[str]:
        """The keys of the outputs of a type."""
        return [key for key, (own, _) in self._names.items() if own == type]

    @property
    def node_types(self) -> tuple[str, ...]:
        """All node types that it computes on, in order of first use."""
        return tuple(dict.fromkeys(value.space.type for value in self.values if isinstance(value.space, Nodes)))

    @property
    def edge_types(self) -> list[EdgeType]:
        """The types of edges that are reduced over, in order of first use; reversed where that is at the source."""
        over = (value.inputs[0].space for value in self.values if OPERATIONS[value.op].kind in ("reduce", "normalise"))
        return list(dict.fromkeys(space.type for space in over if isinstance(space, Edges)))

    @property
    def has_relations(self) -> bool:
        """Whether it reduces over several types of edges; either way counts once."""
        return len({kind.forward for kind in self.edge_types}) > 1

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
            if not isinstance(op, str) or op not in OPERATIONS:
                raise ModelError(
                    f"value {number} of the program: unknown operation {shortened(op)}; written by a newer version?"
                )
            try:
                values.append(_value(op, entry, values))
            except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                raise ModelError(f"value {number} of the program ({op}) is not well formed: {error}") from None
        return Program({name: values[_position(number, values)] for name, number in data["outputs"].items()})


def _output(name: str, value: Value) -> Value:
    """What an output is: a node value, or the rows of an edge value, seen along the direction of the edges."""
    if value.is_graph:
        raise FormulaError(
            f"output {name!r} has one row for the whole graph, not per node; spread(...) gives it to every node"
        )
    if value.is_node:
        space = value.inputs[0].space if value.op == EDGE_ROWS.name else None
    elif isinstance(value.space, Edges):
        space = value.space
    else:
        raise FormulaError(f"output {name!r} has one row per {value.space}, not per node or per edge")
    if space is None:
        return value
    assert isinstance(space, Edges)
    if space.part != ALL:
        loops = "the self-loops that a layer adds" if space.part in SELF_PART.values() else "a part of the edges only"
        raise FormulaError(
            f"output {name!r} has rows of {loops}; a result has one row for each edge of the table: make the output of "
            "the edges as they are given"
        )
    if not value.width:
        raise FormulaError(f"output {name!r} has one row per edge, of no columns")
    if value.is_node:
        return value
    return apply(EDGE_ROWS.name, apply("flip", value) if space.type.is_reversed else value)


def _output_name(key: str, value: Value) -> tuple[AnyType, str]:
    """(type, name) of an output."""
    space = value.inputs[0].space if value.op == EDGE_ROWS.name else value.space
    assert isinstance(space, Nodes | Edges)
    start = output_key(space.type, "")
    if not key.startswith(start):
        raise FormulaError(f"output {key!r} is a value on {space}: call it {output_key(space.type, key)!r}")
    return space.type, key.removeprefix(start)


def _value(op: str, entry: Mapping[str, Any], before: Sequence[Value]) -> Value:
    attributes = {key: _rich(key, item) for key, item in entry.get("attributes", {}).items()}
    if OPERATIONS[op].kind == "leaf":
        return leaf(op, attributes, parse_space(entry["space"]), tuple(entry["shape"]))
    return apply(op, *(before[_position(number, before)] for number in entry["inputs"]), **attributes)


def _position(number: Any, before: Sequence[Value]) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(before):
        raise ValueError(f"{shortened(number)} is not the number of a value before it")
    return number


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
    if isinstance(item, str) and item in ("inf", "-inf", "nan"):
        return float(item)
    return tuple(item) if isinstance(item, list) else item


def _space(key: str, item: str) -> Edges | Nodes:
    """The space that an attribute names, which is one of edges, or of nodes."""
    if not isinstance(item, str):
        raise ValueError(f"{shortened(item)} are no {key}")
    space = parse_space(item)
    if not isinstance(space, Edges if key == "edges" else Nodes):
        raise ValueError(f"{shortened(item)} are no {key}")
    return space
