"""Some of the nodes, by a mask that is known only from the data: x[mask], mask.nonzero(), out[mask] = rows.

Comes in: values of all nodes and a mask over them. Goes out: the same as rows of the chosen nodes, and back. A program
has no such rows. It computes all of them, and a `where` at the write, or in front of a total, says which of them count:
what the others hold, NaN and infinity too, reaches nothing. While recording, the chosen nodes are a space of their own,
with a number of rows that nothing else has: they meet only themselves, weights and totals.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.spaces import Nodes
from pipeline.formula.values import Value, apply, fill, topological

ONE_MASK = "write them back first (out[mask] = rows), or keep all rows and use torch.where"
LOGIC = frozenset(["mul", "maximum"])  # and, or


@dataclass(frozen=True, kw_only=True)
class Chosen(Nodes):
    """One row per node whose mask is 1, in the nodes' order."""

    mask: Value
    """() per node: 1 or 0"""
    line: str = field(compare=False)
    """Where the model first chose them: "model.py:31"."""

    def __str__(self) -> str:
        return f"nodes chosen in {self.line}"


def chosen(value: Value, nodes: Chosen) -> Value:
    """Rows of all nodes → those of the chosen ones."""
    return Value("choose", (value,), {}, nodes, value.shape)


def of_all(value: Value) -> Value:
    """What is computed for the chosen nodes, computed for all of them; it means something for the chosen ones only."""
    assert isinstance(value.space, Chosen)
    everywhere = Nodes(value.space.type)
    own: dict[int, Value] = {}
    for below in topological([value], stop=("choose", "spread")):
        if not isinstance(below.space, Chosen):
            own[below.id] = below
        elif below.op == "choose":
            own[below.id] = below.inputs[0]
        elif below.op == "spread":
            own[below.id] = apply("spread", below.inputs[0], nodes=everywhere)
        elif below.op == "fill":
            own[below.id] = fill(below.attributes["value"], everywhere, below.shape)
        else:
            operands = [own[operand.id] for operand in below.inputs]
            if below.op == "lookup":  # nodes without a label often hold -1, which is no row of a table
                operands[1] = _where(below.space.mask, operands[1], 0.0)
            own[below.id] = apply(below.op, *operands, **below.attributes)
    return own[value.id]


def only(value: Value, otherwise: float) -> Value:
    """Rows of the chosen nodes → rows of all: `otherwise` for those that were not chosen. Other values as they are."""
    return _where(value.space.mask, of_all(value), otherwise) if isinstance(value.space, Chosen) else value


def _where(mask: Value, value: Value, otherwise: float) -> Value:
    wide = apply("reshape", mask, shape=tuple(1 for _ in value.shape)) if value.shape else mask
    return apply("where", wide, value, otherwise)


def is_mask(value: Value) -> bool:
    """Whether a value is a comparison, or logic on comparisons: 1 or 0 in every row."""
    if value.op in LOGIC:
        return all(map(is_mask, value.inputs))
    return value.op in OPERATIONS and OPERATIONS[value.op].is_truth  # "choose" is an operation of recordings only


def same_formula(a: Value, b: Value) -> bool:
    """Whether two values are computed in the same way from the same inputs: a mask spelled twice is one mask."""
    numbers: dict[object, int] = {}
    known: dict[int, int] = {}
    for value in topological([a, b]):
        inputs = tuple(known[operand.id] for operand in value.inputs)
        spelled = value.op, inputs, repr(value.attributes), value.space, value.shape
        known[value.id] = numbers.setdefault(spelled, len(numbers))
    return known[a.id] == known[b.id]
