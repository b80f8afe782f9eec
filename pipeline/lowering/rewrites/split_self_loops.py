"""Added self-loops become node values: the loop of node i is row i, and a reduction takes it as one more edge.

    sum(e on all+self)      → sum(e on all) + e(own)
    prod(e on all+self)     → prod(e on all) * e(own)
    max(e on all+self)      → maximum(max(e on all, empty=-inf), e(own))
    softmax_sum(a, m)       → softmax_sum(a, m, a(own), m(own))

and so on, by the record of each reduction; e(own) is the same formula with src(v) = dst(v) = v. No edge is added to any
tile, and degrees cost no exchange.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import FormulaError
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import Program
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import BASE_PART, Edges
from pipeline.formula.values import Value, apply, fill


@dataclass(frozen=True)
class _Pair:
    """A value on edges with added loops: on the stored edges, and on the loop of each node."""

    stored: Value
    own: Value


def split_self_loops(program: Program) -> Program:
    """The program without any value on added loops."""
    if not any(isinstance(value.space, Edges) and value.space.part in BASE_PART for value in program.values):
        return program
    new: dict[int, Value | _Pair] = {}
    for value in program.values:
        new[value.id] = _split(value, [new[operand.id] for operand in value.inputs])
    outputs = {}
    for name, value in program.outputs.items():
        result = new[value.id]
        assert isinstance(result, Value)
        outputs[name] = result
    return Program(outputs)


def _split(value: Value, inputs: list[Value | _Pair]) -> Value | _Pair:
    space = value.space
    if isinstance(space, Edges) and space.part in BASE_PART:
        stored = Edges(space.type, BASE_PART[space.part])
        if value.op in ("src", "dst"):
            node = inputs[0]
            assert isinstance(node, Value)
            return _Pair(apply(value.op, node, edges=stored), node)
        if value.op == "fill":
            number = value.attributes["value"]
            return _Pair(fill(number, stored, value.shape), fill(number, space.target, value.shape))
        if value.op == "extend":
            edge, own = inputs
            assert isinstance(edge, Value)
            assert isinstance(own, Value)
            return _Pair(edge, own)
        if OPERATIONS[value.op].kind in ("elementwise", "row"):
            return _Pair(_again(value, [_stored(i) for i in inputs]), _again(value, [_own(i) for i in inputs]))
        raise FormulaError(f"{value.op} is not supported on edges with added self-loops")
    if not any(isinstance(operand, _Pair) for operand in inputs):
        return _again(value, [_stored(i) for i in inputs])
    return _reduce(value, inputs)


def _reduce(value: Value, inputs: list[Value | _Pair]) -> Value:
    if value.op not in REDUCTIONS:
        raise FormulaError(f"{value.op} is not supported on edges with added self-loops")
    record, attributes = REDUCTIONS[value.op], value.attributes
    stored, own = [_stored(i) for i in inputs], [_own(i) for i in inputs]
    if record.own is None:
        return apply(value.op, *stored, *own, **attributes)
    if "empty" in attributes:  # what changes nothing: every node has an edge
        attributes = {**attributes, "empty": record.state[0].start}
    return apply(record.own, apply(value.op, *stored, **attributes), own[0])


def _again(value: Value, inputs: list[Value]) -> Value:
    if not inputs:
        return value
    return apply(value.op, *inputs, **value.attributes)


def _stored(operand: Value | _Pair) -> Value:
    return operand.stored if isinstance(operand, _Pair) else operand


def _own(operand: Value | _Pair) -> Value:
    return operand.own if isinstance(operand, _Pair) else operand
