"""The closed table of operations: one record each, which checks, interpreter, compiler and planner read.

CONTRIBUTING.md says how one is added. A model read from disk can only name what stands here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.errors import shortened
from pipeline.formula import meanings, rules
from pipeline.formula.attributes import check_attribute
from pipeline.formula.reductions import REDUCTIONS, Reduction
from pipeline.formula.rules import MOST_ROWS, Attributes, Shape
from pipeline.formula.spaces import Space
from pipeline.formula.totals import TOTALS, TotalOperation

Array = npt.NDArray[Any]
Meaning = Callable[..., Array]
Code = str | Callable[..., str]

FREE: Literal["free"] = "free"  # moves or names numbers
CHEAP: Literal["cheap"] = "cheap"  # an addition or so
COSTLY: Literal["costly"] = "costly"  # 5 to 40 multiplications: worth computing once
Cost = Literal["free", "cheap", "costly"]

SAME_ENDS: Literal["same"] = "same"  # grows with each operand
ALL_ENDS: Literal["all"] = "all"  # grows or falls with each operand, which of them depends on the others
Ends = Literal["same", "all"]


@dataclass(frozen=True)
class Operation:
    """What the compiler, the interpreter and the checks know of one operation."""

    kind: str
    """"elementwise", "row" (acts inside a row), "move" (between nodes, edges and the graph), "reduce" (edges → nodes),
    "total" (nodes → graph), "normalise" (edges → edges over the edges of one dst) or "leaf"."""
    space: Callable[[Sequence[Space], Attributes], Space]
    shape: Callable[[Sequence[Shape], Attributes], Shape]
    meaning: Meaning | None = None
    """meaning(*inputs, **attributes), see meanings.py; None where the interpreter needs the graph to execute it."""
    inputs: tuple[int, ...] | None = (1,)
    """How many it may have; None: one or more."""
    attributes: frozenset[str] = frozenset()
    cost: Cost = CHEAP
    """Of one lane."""
    code: Code | None = None
    """Elementwise: an expression over float32 scalars, for generated loops. `{0}`, `{1}` stand for the operands,
    `{slope}` for an attribute that became a float32 constant; what it may name is in compiler/load.py. All stays
    float32: no literal of Python's meets an operand, since Numba would go on in float64. NaN propagates as in NumPy.
    Where an attribute chooses the expression, this is a function of the attributes."""
    fold: tuple[str, str] | None = None
    """A reduction of lanes: what it starts from, and an expression of that and one more lane."""
    is_exact: bool = False
    """It chooses or moves numbers, or says yes or no: nothing is rounded."""
    is_truth: bool = False
    """Its lanes are 1 or 0, for yes and no."""
    arranges: bool = False
    """Its lanes are those of its inputs, in another order or number."""
    ends: Ends | None = None
    """Where it is lowest and highest if it is known how low and high each operand can be: where all operands are at the
    same end, or where each is at one of its ends. None: somewhere else, or nobody has asked."""

    def check(self, inputs: int, attributes: Attributes) -> None:
        """ValueError unless it takes so many inputs and just these attributes, each of its kind: a program may come
        from a file."""
        if inputs < 1 if self.inputs is None else inputs not in self.inputs:
            raise ValueError(f"it does not take {inputs} inputs")
        if attributes.keys() != self.attributes:
            raise ValueError(f"its attributes are {sorted(self.attributes)}, not {shortened(sorted(attributes))}")
        for key, item in attributes.items():
            check_attribute(key, item)


def _parameters(meaning: Meaning) -> tuple[tuple[int, ...] | None, frozenset[str]]:
    """Number of inputs and names of attributes: the positional and the keyword-only parameters of a meaning."""
    if isinstance(meaning, np.ufunc):
        return (meaning.nin,), frozenset()
    parameters = inspect.signature(meaning).parameters.values()
    attributes = frozenset(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None, attributes
    return (len(parameters) - len(attributes),), attributes


def _elementwise(meaning: Meaning, code: Code, cost: Cost = CHEAP, **more: Any) -> Operation:
    parameters = _parameters(meaning)
    return Operation("elementwise", rules.same_space, rules.broadcast_shapes, meaning, *parameters, cost, code, **more)


def _choice(meaning: Meaning, code: Code, ends: Ends | None = None) -> Operation:
    """Of an operation that gives one of its operands, or what is as far from 0."""
    return _elementwise(meaning, code, is_exact=True, ends=ends)


def _truth(meaning: Meaning, code: Code) -> Operation:
    return _elementwise(meaning, code, is_exact=True, is_truth=True)


def _row(
    shape: Callable[[Sequence[Shape], Attributes], Shape], meaning: Meaning, cost: Cost = CHEAP, **more: Any
) -> Operation:
    return Operation("row", rules.same_space, shape, meaning, *_parameters(meaning), cost, **more)


def _arranged(shape: Callable[[Sequence[Shape], Attributes], Shape], meaning: Meaning, cost: Cost = CHEAP) -> Operation:
    return _row(shape, meaning, cost, is_exact=True, arranges=True, ends=SAME_ENDS)


def _lanes(
    function: Callable[..., Array],
    start: str,
    step: str,
    shape: Callable[[Sequence[Shape], Attributes], Shape] = rules.over_lanes,
    is_exact: bool = False,
) -> Operation:
    return _row(shape, meanings.over_lanes(function), fold=(start, step), is_exact=is_exact)


def _move(space: Callable[[Sequence[Space], Attributes], Space], *attributes: str) -> Operation:
    return Operation("move", space, rules.first, attributes=frozenset(attributes), cost=FREE, is_exact=True)


def _leaf() -> Operation:
    return Operation("leaf", rules.same_space, rules.first, cost=FREE, is_exact=True)


def _reduction(record: Reduction) -> Operation:
    exact = record.is_exact
    return Operation("reduce", record.space, record.shape, None, record.inputs, record.attributes, is_exact=exact)


def _over_nodes(record: TotalOperation) -> Operation:
    return Operation("total", rules.total, record.shape, None, (record.inputs,), is_exact=record.is_exact)


def _gelu(*, approximate: str) -> str:
    if approximate == "tanh":
        return "HALF * {0} * (ONE + tanh(SQRT_2_PI * ({0} + GELU_CUBE * {0} * {0} * {0})))"
    return "HALF * {0} * (ONE + float32(math.erf({0} * SQRT_HALF)))"


OPERATIONS: dict[str, Operation] = {
    # leaves: made by the functions of their name in values.py, never by apply
    "input": _leaf(),
    "weight": _leaf(),
    "constant": _leaf(),
    "fill": _leaf(),
    # elementwise, one input
    "neg": _choice(np.negative, "-{0}", ALL_ENDS),
    "abs": _choice(np.abs, "abs({0})"),
    "sign": _choice(np.sign, "{0} if ({0} == ZERO) | ({0} != {0}) else (ONE if {0} > ZERO else -ONE)"),
    "exp": _elementwise(np.exp, "exp({0})", COSTLY),
    "expm1": _elementwise(np.expm1, "expm1({0})", COSTLY),
    "log": _elementwise(np.log, "np.log({0})", COSTLY),
    "log1p": _elementwise(np.log1p, "np.log1p({0})", COSTLY),
    "sqrt": _elementwise(np.sqrt, "np.sqrt({0})"),
    "rsqrt": _elementwise(lambda x: 1 / np.sqrt(x), "ONE / np.sqrt({0})"),
    "reciprocal": _elementwise(lambda x: 1 / x, "ONE / {0}"),
    "sin": _elementwise(np.sin, "np.sin({0})", COSTLY),
    "cos": _elementwise(np.cos, "np.cos({0})", COSTLY),
    "tanh": _elementwise(np.tanh, "tanh({0})", COSTLY),
    "erf": _elementwise(meanings.erf, "float32(math.erf({0}))", COSTLY),
    "floor": _choice(np.floor, "np.floor({0})", SAME_ENDS),
    "ceil": _choice(np.ceil, "np.ceil({0})", SAME_ENDS),
    "round": _choice(np.rint, "np.rint({0})", SAME_ENDS),
    "sigmoid": _elementwise(meanings.sigmoid, "sigmoid({0})", COSTLY),
    "relu": _choice(lambda x: np.maximum(x, 0), "ZERO if {0} < ZERO else {0}", SAME_ENDS),
    "leaky_relu": _elementwise(meanings.leaky_relu, "{0} if {0} > ZERO else {0} * {slope}"),
    "elu": _elementwise(
        meanings.elu, "{scale} * {0} if {0} > ZERO else {alpha} * {scale} * expm1({0} * {input_scale})", COSTLY
    ),
    "gelu": _elementwise(meanings.gelu, _gelu, COSTLY),
    "softplus": _elementwise(
        meanings.softplus, "{0} if {beta} * {0} > {threshold} else np.log1p(exp({beta} * {0})) / {beta}", COSTLY
    ),
    "clamp": _choice(meanings.clamp, "{low} if {0} < {low} else ({high} if {0} > {high} else {0})", SAME_ENDS),
    "isinf": _truth(lambda x: meanings.truth(np.isinf(x), x), "ONE if abs({0}) == INFINITY else ZERO"),
    "isnan": _truth(lambda x: meanings.truth(np.isnan(x), x), "ONE if {0} != {0} else ZERO"),
    "logical_not": _truth(lambda x: meanings.truth(x == 0, x), "ONE if {0} == ZERO else ZERO"),
    # elementwise, two or three inputs
    "add": _elementwise(np.add, "{0} + {1}", ends=SAME_ENDS),
    "sub": _elementwise(np.subtract, "{0} - {1}", ends=ALL_ENDS),
    "mul": _elementwise(np.multiply, "{0} * {1}", ends=ALL_ENDS),
    "div": _elementwise(np.divide, "{0} / {1}"),
    "pow": _elementwise(np.power, "np.power({0}, {1})", COSTLY),
    "atan2": _elementwise(np.arctan2, "float32(math.atan2({0}, {1}))", COSTLY),
    "hypot": _elementwise(np.hypot, "float32(math.hypot({0}, {1}))", COSTLY),
    "maximum": _choice(np.maximum, "maximum({0}, {1})", SAME_ENDS),
    "minimum": _choice(np.minimum, "minimum({0}, {1})", SAME_ENDS),
    "equal": _truth(meanings.compare(np.equal), "ONE if {0} == {1} else ZERO"),
    "not_equal": _truth(meanings.compare(np.not_equal), "ONE if {0} != {1} else ZERO"),
    "less": _truth(meanings.compare(np.less), "ONE if {0} < {1} else ZERO"),
    "less_equal": _truth(meanings.compare(np.less_equal), "ONE if {0} <= {1} else ZERO"),
    "greater": _truth(meanings.compare(np.greater), "ONE if {0} > {1} else ZERO"),
    "greater_equal": _truth(meanings.compare(np.greater_equal), "ONE if {0} >= {1} else ZERO"),
    "where": _choice(meanings.where, "{1} if {0} != ZERO else {2}", ALL_ENDS),
    # inside a row; axes count from the first axis behind the row
    "matmul": _row(rules.matmul, meanings.matmul),
    "reshape": _arranged(rules.reshape, lambda x, *, shape: x.reshape(len(x), *shape), FREE),
    "broadcast_to": _arranged(rules.broadcast_to, meanings.broadcast_to, FREE),
    "transpose": _arranged(rules.transpose, meanings.transpose),
    "concat": _arranged(rules.concat, meanings.concat),
    "slice": _arranged(rules.slice_lanes, meanings.slice_lanes),
    "take": _arranged(rules.take, meanings.take),
    # lookup(table, index): rows of a weight by a whole number per row; NaN where it is none of the table's rows
    "lookup": Operation("row", rules.looked_up, rules.lookup, meanings.lookup, (2,), is_exact=True),
    "lane_sum": _lanes(np.sum, "ZERO", "{0} + {1}"),
    "lane_mean": _lanes(np.mean, "ZERO", "{0} + {1}"),  # the compiler divides by the number of lanes
    "lane_max": _lanes(np.max, "-INFINITY", "maximum({0}, {1})", rules.extreme_lanes, is_exact=True),
    "lane_min": _lanes(np.min, "INFINITY", "minimum({0}, {1})", rules.extreme_lanes, is_exact=True),
    "lane_prod": _lanes(np.prod, "ONE", "{0} * {1}"),
    "lane_argmax": _row(rules.lane_argmax, meanings.lane_argmax, is_exact=True),
    "merge_states": _row(rules.merge_states, meanings.merge_states),
    # between nodes and edges
    "src": _move(rules.to_edges("src"), "edges"),
    "dst": _move(rules.to_edges("dst"), "edges"),
    "restrict": _move(rules.restrict, "part"),
    "extend": Operation("move", rules.extend, rules.broadcast_shapes, None, (2,), is_exact=True),
    # the same edges in the same order, src and dst having changed places: what follows reduces at the other end
    "flip": _move(rules.flip),
    # over the edges of one dst: to a row per node, see reductions/; and to a row per edge again
    **{name: _reduction(record) for name, record in REDUCTIONS.items()},
    "softmax": Operation("normalise", rules.edges_only, rules.first),
    # over all nodes of a type, into one row for the whole graph, see totals.py; and that row again for every node
    **{name: _over_nodes(record) for name, record in TOTALS.items()},
    "spread": _move(rules.spread, "nodes"),
}

ELEMENTWISE = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "elementwise")
LANE_REDUCTIONS = frozenset(name for name, operation in OPERATIONS.items() if operation.fold)
__all__ = [
    "CHEAP",
    "COSTLY",
    "ELEMENTWISE",
    "FREE",
    "LANE_REDUCTIONS",
    "MOST_ROWS",
    "OPERATIONS",
    "SAME_ENDS",
    "TOTALS",
    "Operation",
    "Shape",
]  # fmt: skip
