"""The closed table of operations: for each, the rule for its space, the rule for its shape, and its meaning in NumPy.

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

from pipeline.errors import nearest
from pipeline.formula.spaces import BASE_PART, GRAPH, LOOPS, SELF_PART, WEIGHT, Edges, Nodes, Space, Weight, WholeGraph

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Attributes = dict[str, Any]

MOST_ROWS = 1 << 24  # of a table: integers travel as float32
INTERPOLATIONS = ("linear", "lower", "higher", "midpoint")  # between the two messages around a quantile


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
        """ValueError unless it takes so many inputs and just these attributes: a program may come from a file."""
        if inputs < 1 if self.inputs is None else inputs not in self.inputs:
            raise ValueError(f"it does not take {inputs} inputs")
        if attributes.keys() != self.attributes:
            raise ValueError(f"its attributes are {sorted(self.attributes)}, not {sorted(attributes)}")


# ---- rules for spaces (a ValueError is shown to the user behind the operation and its operands)


def _same_space(spaces: Sequence[Space], _: Attributes) -> Space:
    rows = {space for space in spaces if not isinstance(space, Weight)}
    if not rows:
        return WEIGHT
    if len(rows) == 1:
        return rows.pop()
    if any(isinstance(space, Nodes) for space in rows) and any(isinstance(space, Edges) for space in rows):
        raise ValueError("node and edge values do not mix: take g.src(...) or g.dst(...) of the node value first")
    if GRAPH in rows:
        raise ValueError(
            "a total has one row for the whole graph: take spread(...) of it first (on edges g.dst(spread))"
        )
    hint = "; flip(...) turns one round" if any(isinstance(s, Edges) and s.reversed in rows for s in rows) else ""
    raise ValueError("values of different types do not mix: " + ", ".join(sorted(map(str, rows))) + hint)


def _to_edges(end: str) -> Callable[[Sequence[Space], Attributes], Space]:
    def rule(spaces: Sequence[Space], attributes: Attributes) -> Space:
        edges: Edges = attributes["edges"]
        wanted = edges.source if end == "src" else edges.target
        if spaces[0] != wanted:
            raise ValueError(f"{end} takes a value on {wanted}")
        return edges

    return rule


def _to_nodes(spaces: Sequence[Space], _: Attributes) -> Space:
    rows = {space for space in spaces if isinstance(space, Edges)}
    if len(rows) != 1:
        raise ValueError("a reduction takes edge values: g.src(...), g.dst(...) or g.edge(...)")
    edges = rows.pop()
    target = edges.target
    if any(isinstance(space, Nodes) and space != target for space in spaces):
        raise ValueError("the parts of a reduction belong to different node types")
    return target


def _looked_up(spaces: Sequence[Space], _: Attributes) -> Space:
    table, index = spaces
    if not isinstance(table, Weight):
        raise ValueError("a table that is looked up is a weight")
    if isinstance(index, Weight):
        raise ValueError("the index is a value per node or per edge, not a weight")
    return index


def _restrict(spaces: Sequence[Space], attributes: Attributes) -> Space:
    if not isinstance(spaces[0], Edges):
        raise ValueError("only edge values can be restricted to a part of the edges")
    return Edges(spaces[0].type, attributes["part"])


def _extend(spaces: Sequence[Space], _: Attributes) -> Space:
    edges, nodes = spaces
    if not isinstance(edges, Edges) or edges.part not in SELF_PART or nodes != edges.target:
        raise ValueError("added self-loops take an edge value without them and a value per node")
    return Edges(edges.type, SELF_PART[edges.part])


def _flip(spaces: Sequence[Space], _: Attributes) -> Space:
    if not isinstance(spaces[0], Edges):
        raise ValueError("only an edge value can be seen from the other end of its edge")
    return spaces[0].reversed


def _edges_only(spaces: Sequence[Space], _: Attributes) -> Space:
    if not isinstance(spaces[0], Edges):
        raise ValueError("softmax over neighbours takes an edge value")
    return spaces[0]


def _loops_only(spaces: Sequence[Space], attributes: Attributes) -> Space:
    if not isinstance(spaces[0], Edges) or spaces[0].part != LOOPS:
        raise ValueError("the last value of a self-loop takes a value on the self-loops")
    return _to_nodes(spaces, attributes)


def _total(spaces: Sequence[Space], _: Attributes) -> Space:
    if not all(isinstance(space, Nodes) and space == spaces[0] for space in spaces):
        raise ValueError("a total takes a node value" if len(spaces) == 1 else "a total takes node values of one type")
    return GRAPH


def _spread(spaces: Sequence[Space], attributes: Attributes) -> Space:
    if not isinstance(spaces[0], WholeGraph):
        raise ValueError("only a total can be spread over the nodes: total_sum(...), total_mean(...)")
    nodes: Nodes = attributes["nodes"]
    return nodes


# ---- rules for shapes


def broadcast(shapes: Sequence[Shape], _: Attributes | None = None) -> Shape:
    """NumPy's broadcasting of row shapes."""
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise ValueError("row shapes do not broadcast: " + " with ".join(map(str, shapes))) from None


def _first(shapes: Sequence[Shape], _: Attributes) -> Shape:
    return shapes[0]


def _message(shapes: Sequence[Shape], _: Attributes) -> Shape:
    return broadcast(shapes[:2])


def _quantile(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    q, interpolation, shape = attributes["q"], attributes["interpolation"], shapes[0]
    if shapes[-1] != shape:
        raise ValueError(f"messages have shape {shape}, but own ones {shapes[-1]}")
    if not q or not all(0 <= part <= 1 for part in q):
        raise ValueError(f"quantiles are numbers from 0 to 1, not {tuple(q)}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}; {nearest(interpolation, INTERPOLATIONS)}")
    if len(q) == 1:
        return shape
    return (len(q) * shape[0], *shape[1:]) if shape else (len(q),)


def _matmul(shapes: Sequence[Shape], _: Attributes) -> Shape:
    left, right = shapes
    if not left or len(right) < 2:
        raise ValueError("a matrix product takes a row of at least one axis and a matrix")
    if left[-1] != right[-2]:
        raise ValueError(f"widths differ: {left[-1]} lanes against a matrix of {right[-2]} → {right[-1]}")
    if len(left) == 1:
        if len(right) != 2:
            raise ValueError("a vector per row takes one matrix")
        return (right[-1],)
    return (*broadcast([left[:-2], right[:-2]]), left[-2], right[-1])


def _reshape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    shape = tuple(attributes["shape"])
    if np.prod(shapes[0], dtype=int) != np.prod(shape, dtype=int):
        raise ValueError(f"cannot reshape rows of {shapes[0]} to {shape}")
    return shape


def _broadcast_to(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    shape = tuple(attributes["shape"])
    if broadcast([shapes[0], shape]) != shape:
        raise ValueError(f"cannot broadcast rows of {shapes[0]} to {shape}")
    return shape


def _outer(shapes: Sequence[Shape], _: Attributes) -> Shape:
    left, right = shapes
    if not left or not right or left[:-1] != right[:-1]:
        raise ValueError(f"rows of {left} and {right} have no outer product: all axes but the last must be the same")
    return (*left, right[-1])


def _transpose(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    return tuple(shapes[0][axis] for axis in attributes["axes"])


def _concat(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axis = attributes["axis"]
    rest = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rest) != 1 or any(len(shape) <= axis for shape in shapes):
        raise ValueError("cannot join rows of shapes " + ", ".join(map(str, shapes)))
    joined = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], joined, *shapes[0][axis + 1 :])


def _slice(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axis = attributes["axis"]
    taken = len(range(attributes["start"], attributes["stop"], attributes["step"]))
    if attributes["stop"] > shapes[0][axis] or attributes["step"] < 1:
        raise ValueError(f"lanes {attributes['start']}:{attributes['stop']} are not in rows of {shapes[0]}")
    return (*shapes[0][:axis], taken, *shapes[0][axis + 1 :])


def _take(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axis = attributes["axis"]
    if any(not 0 <= index < shapes[0][axis] for index in attributes["indices"]):
        raise ValueError(f"lanes {attributes['indices']} are not in rows of {shapes[0]}")
    return (*shapes[0][:axis], len(attributes["indices"]), *shapes[0][axis + 1 :])


def _lookup(shapes: Sequence[Shape], _: Attributes) -> Shape:
    table, index = shapes
    if not table or not table[0]:
        raise ValueError("a table has at least one row")
    if table[0] > MOST_ROWS:
        raise ValueError(f"a table of {table[0]:,} rows: float32 tells no more than {MOST_ROWS:,} integers apart")
    return (*index, *table[1:])


def _over_lanes(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axes = attributes["axes"]
    if any(not 0 <= axis < len(shapes[0]) for axis in axes):
        raise ValueError(f"rows of {shapes[0]} have no axes {tuple(axes)}")
    keep = attributes["keepdims"]
    return tuple(1 if axis in axes else size for axis, size in enumerate(shapes[0]) if keep or axis not in axes)


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


_ATTRIBUTES = frozenset(
    [
        "slope",
        "alpha",
        "scale",
        "input_scale",
        "approximate",
        "beta",
        "threshold",
        "low",
        "high",
        "shape",
        "axes",
        "axis",
        "start",
        "stop",
        "step",
        "indices",
        "keepdims",
        "edges",
        "nodes",
        "part",
        "empty",
    ]
)


def _signature(meaning: Callable[..., Array]) -> tuple[tuple[int, ...] | None, frozenset[str]]:
    """Number of inputs and names of attributes, as the meaning takes them."""
    if isinstance(meaning, np.ufunc):
        return (meaning.nin,), frozenset()
    parameters = inspect.signature(meaning).parameters.values()
    attributes = frozenset(parameter.name for parameter in parameters) & _ATTRIBUTES
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None, attributes
    return (len(parameters) - len(attributes),), attributes


def _elementwise(meaning: Callable[..., Array]) -> Operation:
    return Operation("elementwise", _same_space, broadcast, meaning, *_signature(meaning))


def _row(shape: Callable[[Sequence[Shape], Attributes], Shape], meaning: Callable[..., Array]) -> Operation:
    return Operation("row", _same_space, shape, meaning, *_signature(meaning))


def _leaf() -> Operation:
    return Operation("leaf", _same_space, _first)


def _reduction(*attributes: str) -> Operation:
    return Operation("reduce", _to_nodes, _first, None, (1,), frozenset(attributes))


def _over_nodes() -> Operation:
    return Operation("total", _total, _first)


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
    "matmul": _row(_matmul, _matmul_meaning),
    "reshape": _row(_reshape, lambda x, shape: x.reshape(len(x), *shape)),
    "broadcast_to": _row(_broadcast_to, _broadcast_meaning),
    "transpose": _row(_transpose, lambda x, axes: np.transpose(x, (0, *_axes(axes)))),
    "concat": _row(_concat, lambda *arrays, axis: np.concatenate(arrays, axis=axis + 1)),
    "slice": _row(_slice, _slice_meaning),
    "take": _row(_take, lambda x, axis, indices: np.take(x, np.asarray(indices, np.int64), axis=axis + 1)),
    # lookup(table, index): rows of a weight by a whole number per row; NaN where it is none of the table's rows
    "lookup": Operation("row", _looked_up, _lookup, _lookup_meaning, (2,)),
    "lane_sum": _row(_over_lanes, _lanes(np.sum)),
    "lane_mean": _row(_over_lanes, _lanes(np.mean)),
    "lane_max": _row(_over_lanes, _lanes(np.max)),
    "lane_min": _row(_over_lanes, _lanes(np.min)),
    "lane_prod": _row(_over_lanes, _lanes(np.prod)),
    "lane_argmax": _row(_over_lanes, _argmax),
    # between nodes and edges
    "src": Operation("move", _to_edges("src"), _first, None, (1,), frozenset({"edges"})),
    "dst": Operation("move", _to_edges("dst"), _first, None, (1,), frozenset({"edges"})),
    "restrict": Operation("move", _restrict, _first, None, (1,), frozenset({"part"})),
    "extend": Operation("move", _extend, broadcast, None, (2,)),
    # the same edges in the same order, src and dst having changed places: what follows reduces at the other end
    "flip": Operation("move", _flip, _first),
    # over the edges of one dst. `empty`: the result where a node has no edge (PyG: 0)
    "sum": _reduction(),
    "prod": _reduction(),  # 1 where a node has no edge
    "max": _reduction("empty"),
    "min": _reduction("empty"),
    # quantile(messages[, own message]): of a node's sorted messages, lane by lane, those at q * (count - 1), and
    # between two of them `interpolation`; the own message is one more edge that every node has
    "quantile": Operation("reduce", _to_nodes, _quantile, None, (1, 2), frozenset({"q", "interpolation", "empty"})),
    "last": Operation("reduce", _loops_only, _first, None, (1, 2)),
    "softmax": Operation("normalise", _edges_only, _first),
    # softmax_sum(logits, messages[, own logit, own message]): sum of softmax(logits) * messages, the last two being one
    # more edge that every node has
    "softmax_sum": Operation("reduce", _to_nodes, _message, None, (2, 4)),
    # over all nodes of a type, into one row for the whole graph; and that row again for every node. Without nodes a sum
    # is 0, a maximum -inf and a minimum inf, which no output can show: outputs have a row per node
    "total_sum": _over_nodes(),
    "total_max": _over_nodes(),
    "total_min": _over_nodes(),
    "total_product": Operation("total", _total, _outer, None, (2,)),  # sum of x ⊗ y: (…, m), (…, d) → (…, m, d)
    "spread": Operation("move", _spread, _first, None, (1,), frozenset({"nodes"})),
}

ELEMENTWISE = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "elementwise")
REDUCTIONS = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "reduce")
TOTALS = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "total")
__all__ = ["BASE_PART", "ELEMENTWISE", "OPERATIONS", "REDUCTIONS", "TOTALS", "Operation", "Shape", "broadcast"]
