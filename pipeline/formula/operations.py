"""The closed table of operations: for each, the rules for its space and shape (rules.py), and its meaning in NumPy.

Adding an operation is one line here and, if it is to run inside a generated edge loop, one in kernels/scalar.py. A
model read from disk can only name what stands here.

Meanings take arrays whose first axis is the row (weights have none); elementwise inputs arrive aligned, so that NumPy's
broadcasting does the rest. They compute in whatever float type comes in. Truth is 1.0 and 0.0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from pipeline.errors import shortened
from pipeline.formula import rules
from pipeline.formula.attributes import ATTRIBUTES, check_attribute
from pipeline.formula.rules import MOST_ROWS, Attributes, Shape
from pipeline.formula.spaces import Space

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Operation:
    """What the compiler, the interpreter and the checks know of one operation."""

    kind: str
    """"elementwise", "row" (acts inside a row), "move" (between nodes, edges and the graph), "reduce" (edges → nodes),
    "total" (nodes → graph), "normalise" (edges → edges over the edges of one dst) or "leaf"."""
    space: Callable[[Sequence[Space], Attributes], Space]
    shape: Callable[[Sequence[Shape], Attributes], Shape]
    meaning: Callable[..., Array] | None = None
    """None where the interpreter needs the graph to execute it."""
    inputs: tuple[int, ...] | None = (1,)
    """How many it may have; None: one or more."""
    attributes: frozenset[str] = frozenset()

    def check(self, inputs: int, attributes: Attributes) -> None:
        """ValueError unless it takes so many inputs and just these attributes, each of its kind: a program may come
        from a file."""
        if inputs < 1 if self.inputs is None else inputs not in self.inputs:
            raise ValueError(f"it does not take {inputs} inputs")
        if attributes.keys() != self.attributes:
            raise ValueError(f"its attributes are {sorted(self.attributes)}, not {shortened(sorted(attributes))}")
        for key, item in attributes.items():
            check_attribute(key, item)


# ---- meanings


def _truth(array: Array, like: Array) -> Array:
    return array.astype(like.dtype if like.dtype.kind == "f" else np.float32)


def _compare(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda a, b: _truth(function(a, b), np.asarray(a))


def _gelu(x: Array, approximate: str) -> Array:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1 + erf(x * np.sqrt(0.5).astype(x.dtype)))


def _sigmoid(x: Array) -> Array:
    # exp of a non-positive number only: no overflow at either end
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(x: Array, beta: float, threshold: float) -> Array:
    y = beta * x
    return np.where(y > threshold, x, np.log1p(np.exp(np.minimum(y, threshold))) / beta)


def _elu(x: Array, alpha: float, scale: float, input_scale: float) -> Array:
    return np.where(x > 0, scale * x, alpha * scale * np.expm1(np.minimum(x, 0) * input_scale))


def _where(condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition != 0, a, b)


def _matmul_meaning(a: Array, b: Array) -> Array:
    if a.ndim == b.ndim > 2 and a.shape[-2] == 1 and len(b) and b.strides[0] == 0:
        # a row times a matrix that is the same for all rows, as a total is: one tall product instead of one per row
        tall = np.matmul(np.moveaxis(a[..., 0, :], 0, -2), b[0])
        return np.moveaxis(tall, -2, 0)[..., None, :]
    if a.ndim == 2 or b.ndim > 2:
        return np.matmul(a, b)
    # (n, h, i) @ (i, o) as one tall product: NumPy would call BLAS once per row
    return np.matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])


def _axes(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis + 1 for axis in axes)  # behind the row axis


def _broadcast_meaning(x: Array, shape: Shape) -> Array:
    padded = x.reshape(len(x), *(1,) * (len(shape) + 1 - x.ndim), *x.shape[1:])
    return np.broadcast_to(padded, (len(x), *shape))


def _lanes(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, axes, keepdims: function(x, axis=_axes(axes), keepdims=keepdims)


def _argmax(x: Array, axes: Sequence[int], keepdims: bool) -> Array:
    return np.argmax(x, axis=axes[0] + 1, keepdims=keepdims).astype(x.dtype)


def _slice_meaning(x: Array, axis: int, start: int, stop: int, step: int) -> Array:
    return x[(slice(None),) * (axis + 1) + (slice(start, stop, step),)]


def _lookup_meaning(table: Array, index: Array) -> Array:
    rows = len(table)
    inside = (index >= 0) & (index < rows) & (index == np.floor(index))
    found = table[np.where(inside, index, 0).astype(np.int64)]
    # whoever reads a column has checked it; an index that was computed may be no row of the table
    return found if inside.all() else np.where(inside.reshape(inside.shape + (1,) * (table.ndim - 1)), found, np.nan)


def _signature(meaning: Callable[..., Array]) -> tuple[tuple[int, ...] | None, frozenset[str]]:
    """Number of inputs and names of attributes, as the meaning takes them."""
    if isinstance(meaning, np.ufunc):
        return (meaning.nin,), frozenset()
    parameters = inspect.signature(meaning).parameters.values()
    attributes = frozenset(parameter.name for parameter in parameters) & ATTRIBUTES.keys()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None, attributes
    return (len(parameters) - len(attributes),), attributes


def _elementwise(meaning: Callable[..., Array]) -> Operation:
    return Operation("elementwise", rules.same_space, rules.broadcast_shapes, meaning, *_signature(meaning))


def _row(shape: Callable[[Sequence[Shape], Attributes], Shape], meaning: Callable[..., Array]) -> Operation:
    return Operation("row", rules.same_space, shape, meaning, *_signature(meaning))


def _leaf() -> Operation:
    return Operation("leaf", rules.same_space, rules.first)


def _reduction(*attributes: str) -> Operation:
    return Operation("reduce", rules.to_nodes, rules.first, None, (1,), frozenset(attributes))


def _over_nodes() -> Operation:
    return Operation("total", rules.total, rules.first)


OPERATIONS: dict[str, Operation] = {
    # leaves: made by the functions of their name in values.py, never by apply
    "input": _leaf(),
    "weight": _leaf(),
    "constant": _leaf(),
    "fill": _leaf(),
    # elementwise, one input
    "neg": _elementwise(np.negative),
    "abs": _elementwise(np.abs),
    "sign": _elementwise(np.sign),
    "exp": _elementwise(np.exp),
    "expm1": _elementwise(np.expm1),
    "log": _elementwise(np.log),
    "log1p": _elementwise(np.log1p),
    "sqrt": _elementwise(np.sqrt),
    "rsqrt": _elementwise(lambda x: 1 / np.sqrt(x)),
    "reciprocal": _elementwise(lambda x: 1 / x),
    "sin": _elementwise(np.sin),
    "cos": _elementwise(np.cos),
    "tanh": _elementwise(np.tanh),
    "erf": _elementwise(erf),
    "floor": _elementwise(np.floor),
    "ceil": _elementwise(np.ceil),
    "round": _elementwise(np.rint),
    "sigmoid": _elementwise(_sigmoid),
    "relu": _elementwise(lambda x: np.maximum(x, 0)),
    "leaky_relu": _elementwise(lambda x, slope: np.where(x > 0, x, x * slope)),
    "elu": _elementwise(_elu),
    "gelu": _elementwise(_gelu),
    "softplus": _elementwise(_softplus),
    "clamp": _elementwise(lambda x, low, high: np.clip(x, low, high)),
    "isinf": _elementwise(lambda x: _truth(np.isinf(x), x)),
    "isnan": _elementwise(lambda x: _truth(np.isnan(x), x)),
    "logical_not": _elementwise(lambda x: _truth(x == 0, x)),
    # elementwise, two or three inputs
    "add": _elementwise(np.add),
    "sub": _elementwise(np.subtract),
    "mul": _elementwise(np.multiply),
    "div": _elementwise(np.divide),
    "pow": _elementwise(np.power),
    "atan2": _elementwise(np.arctan2),
    "maximum": _elementwise(np.maximum),
    "minimum": _elementwise(np.minimum),
    "equal": _elementwise(_compare(np.equal)),
    "not_equal": _elementwise(_compare(np.not_equal)),
    "less": _elementwise(_compare(np.less)),
    "less_equal": _elementwise(_compare(np.less_equal)),
    "greater": _elementwise(_compare(np.greater)),
    "greater_equal": _elementwise(_compare(np.greater_equal)),
    "where": _elementwise(_where),
    # inside a row; axes count from the first axis behind the row
    "matmul": _row(rules.matmul, _matmul_meaning),
    "reshape": _row(rules.reshape, lambda x, shape: x.reshape(len(x), *shape)),
    "broadcast_to": _row(rules.broadcast_to, _broadcast_meaning),
    "transpose": _row(rules.transpose, lambda x, axes: np.transpose(x, (0, *_axes(axes)))),
    "concat": _row(rules.concat, lambda *arrays, axis: np.concatenate(arrays, axis=axis + 1)),
    "slice": _row(rules.slice_lanes, _slice_meaning),
    "take": _row(rules.take, lambda x, axis, indices: np.take(x, np.asarray(indices, np.int64), axis=axis + 1)),
    # lookup(table, index): rows of a weight by a whole number per row; NaN where it is none of the table's rows
    "lookup": Operation("row", rules.looked_up, rules.lookup, _lookup_meaning, (2,)),
    "lane_sum": _row(rules.over_lanes, _lanes(np.sum)),
    "lane_mean": _row(rules.over_lanes, _lanes(np.mean)),
    "lane_max": _row(rules.extreme_lanes, _lanes(np.max)),
    "lane_min": _row(rules.extreme_lanes, _lanes(np.min)),
    "lane_prod": _row(rules.over_lanes, _lanes(np.prod)),
    "lane_argmax": _row(rules.lane_argmax, _argmax),
    # between nodes and edges
    "src": Operation("move", rules.to_edges("src"), rules.first, None, (1,), frozenset({"edges"})),
    "dst": Operation("move", rules.to_edges("dst"), rules.first, None, (1,), frozenset({"edges"})),
    "restrict": Operation("move", rules.restrict, rules.first, None, (1,), frozenset({"part"})),
    "extend": Operation("move", rules.extend, rules.broadcast_shapes, None, (2,)),
    # the same edges in the same order, src and dst having changed places: what follows reduces at the other end
    "flip": Operation("move", rules.flip, rules.first),
    # over the edges of one dst. `empty`: the result where a node has no edge (PyG: 0)
    "sum": _reduction(),
    "prod": _reduction(),  # 1 where a node has no edge
    "max": _reduction("empty"),
    "min": _reduction("empty"),
    # quantile(messages[, own message]): of a node's sorted messages, lane by lane, those at q * (count - 1), and
    # between two of them `interpolation`; the own message is one more edge that every node has
    "quantile": Operation(
        "reduce", rules.to_nodes, rules.quantile, None, (1, 2), frozenset({"q", "interpolation", "empty"})
    ),
    "last": Operation("reduce", rules.loops_only, rules.with_own, None, (1, 2)),
    "softmax": Operation("normalise", rules.edges_only, rules.first),
    # softmax_sum(logits, messages[, own logit, own message]): sum of softmax(logits) * messages, the last two being one
    # more edge that every node has
    "softmax_sum": Operation("reduce", rules.softmax_sum, rules.message, None, (2, 4)),
    # over all nodes of a type, into one row for the whole graph; and that row again for every node. Without nodes a sum
    # is 0, a maximum -inf and a minimum inf, which no output can show: outputs have a row per node
    "total_sum": _over_nodes(),
    "total_max": _over_nodes(),
    "total_min": _over_nodes(),
    "total_product": Operation(
        "total", rules.total, rules.outer, None, (2,)
    ),  # sum of x ⊗ y: (…, m), (…, d) → (…, m, d)
    "spread": Operation("move", rules.spread, rules.first, None, (1,), frozenset({"nodes"})),
}

ELEMENTWISE = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "elementwise")
REDUCTIONS = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "reduce")
TOTALS = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "total")
__all__ = ["ELEMENTWISE", "MOST_ROWS", "OPERATIONS", "REDUCTIONS", "TOTALS", "Operation", "Shape"]
