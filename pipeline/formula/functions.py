"""The functions that a formula is written with, beside the operators of a value. Named as in NumPy and PyTorch.

Each works on any space: per node, per edge, for the whole graph, or on weights; only a total takes a node value.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import FormulaError
from pipeline.formula.spaces import Nodes
from pipeline.formula.values import Operand, Value, apply, fill
from pipeline.formula.weights import Weights


def linear(x: Value, weight: Value | Weights, bias: Value | None = None) -> Value:
    """x Wᵀ + b over the last axis of a row: (…, in) → (…, out).

    `weight`: a weight of shape (out, in), as PyTorch stores it, or a namespace with `weight` and perhaps `bias`.
    """
    if isinstance(weight, Weights):
        bias = weight.get("bias") if bias is None else bias
        matrix = weight.get("weight")
        if matrix is None:
            raise FormulaError(f"linear: {weight} holds no 'weight'; it holds {', '.join(weight.names())}")
        weight = matrix
    if len(weight.shape) != 2:
        raise FormulaError(f"linear: the weight has shape {weight.shape}; (out, in) is expected")
    y = apply("matmul", x, apply("transpose", weight, axes=(1, 0)))
    return y if bias is None else y + bias


def dot(x: Value, y: Operand) -> Value:
    """Sum over the last axis of x * y: (…, heads, d) → (…, heads, 1)."""
    product = x * y
    return lane_sum(product, axis=-1, keepdims=True)


def _axes(x: Value, axis: int | Sequence[int]) -> tuple[int, ...]:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return tuple(sorted(a % len(x.shape) if x.shape else a for a in axes))


def lane_sum(x: Value, axis: int | Sequence[int] = -1, keepdims: bool = False) -> Value:
    """Sum over axes of a row."""
    return apply("lane_sum", x, axes=_axes(x, axis), keepdims=keepdims)


def lane_mean(x: Value, axis: int | Sequence[int] = -1, keepdims: bool = False) -> Value:
    """Mean over axes of a row."""
    return apply("lane_mean", x, axes=_axes(x, axis), keepdims=keepdims)


def lane_max(x: Value, axis: int | Sequence[int] = -1, keepdims: bool = False) -> Value:
    """Maximum over axes of a row."""
    return apply("lane_max", x, axes=_axes(x, axis), keepdims=keepdims)


def lane_min(x: Value, axis: int | Sequence[int] = -1, keepdims: bool = False) -> Value:
    """Minimum over axes of a row."""
    return apply("lane_min", x, axes=_axes(x, axis), keepdims=keepdims)


def total_sum(x: Value) -> Value:
    """Sum over all nodes: one row for the whole graph. What meets node values again goes through `spread`:
    `x - spread(total_mean(x))`; on edges, `g.dst(spread(...))`. A total costs one exchange of a row per pair of blocks.
    """
    return apply("total_sum", x)


def total_mean(x: Value) -> Value:
    """Mean over all nodes."""
    return total_sum(x) / total_sum(fill(1.0, x.space))


def total_max(x: Value) -> Value:
    """Maximum over all nodes."""
    return apply("total_max", x)


def total_min(x: Value) -> Value:
    """Minimum over all nodes."""
    return apply("total_min", x)


def total_product(x: Value, y: Value) -> Value:
    """Sum over all nodes of the outer products of two rows: (…, m), (…, d) → (…, m, d). Linear attention is
    `(q.reshape(1, m) @ spread(total_product(k, v))).flat()`."""
    return apply("total_product", x, y)


def spread(x: Value, nodes: Nodes | str | None = None) -> Value:
    """The one row of a total, or of what was computed from totals, for every node, or every node of a type."""
    return apply("spread", x, nodes=Nodes(nodes) if isinstance(nodes, str) else nodes or Nodes())


def lane_softmax(x: Value, axis: int = -1) -> Value:
    """Softmax inside a row, e.g. class probabilities."""
    e = exp(x - lane_max(x, axis, keepdims=True))
    return e / lane_sum(e, axis, keepdims=True)


def lane_log_softmax(x: Value, axis: int = -1) -> Value:
    """Logarithm of the softmax inside a row."""
    shifted = x - lane_max(x, axis, keepdims=True)
    return shifted - log(lane_sum(exp(shifted), axis, keepdims=True))


def layer_norm(
    x: Value, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5, axes: int = 1
) -> Value:
    """Layer normalisation of each row over its last `axes` axes (torch.nn.LayerNorm)."""
    over = tuple(range(len(x.shape) - axes, len(x.shape)))
    centred = x - lane_mean(x, over, keepdims=True)
    variance = lane_mean(centred * centred, over, keepdims=True)
    y = centred * apply("rsqrt", variance + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def batch_norm(
    x: Value, mean: Value, variance: Value, weight: Operand = 1.0, bias: Operand = 0.0, eps: float = 1e-5
) -> Value:
    """Batch normalisation in evaluation: with the statistics of training (torch.nn.BatchNorm1d)."""
    return (x - mean) * (apply("rsqrt", variance + eps) * weight) + bias


def concat(values: Sequence[Value], axis: int = -1) -> Value:
    """Joins rows along one of their axes."""
    return apply("concat", *values, axis=axis % len(values[0].shape))


def take(x: Value, indices: int | Sequence[int], axis: int = 0) -> Value:
    """Entries of an axis of a row, or of a weight, by their numbers, as NumPy's take; one number drops the axis."""
    rank = len(x.shape)
    if not -rank <= axis < rank:
        raise FormulaError(f"take: there is no axis {axis} in the shape {x.shape}")
    axis %= rank
    several = (indices,) if isinstance(indices, int) else tuple(indices)
    found = apply("take", x, axis=axis, indices=tuple(index + x.shape[axis] * (index < 0) for index in several))
    return found.reshape(*x.shape[:axis], *x.shape[axis + 1 :]) if isinstance(indices, int) else found


def lookup(table: Value, index: Value) -> Value:
    """The row of a weight whose number `index` is: a learned table of categories (torch.nn.Embedding).

    table (v, …), index (…) per node or edge → index's shape followed by a table row's. NaN where `index` is not one of
    0, 1, … v - 1.
    """
    return apply("lookup", table, index)


def flip(x: Value) -> Value:
    """An edge value seen from the other end of its edge, for reductions at the source: `g.reversed().sum(flip(x))`."""
    return apply("flip", x)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """a where the condition holds, else b."""
    return apply("where", condition, a, b)


def relu(x: Value) -> Value:
    return apply("relu", x)


def leaky_relu(x: Value, slope: float = 0.01) -> Value:
    return apply("leaky_relu", x, slope=float(slope))


def elu(x: Value, alpha: float = 1.0) -> Value:
    return apply("elu", x, alpha=float(alpha), scale=1.0, input_scale=1.0)


def gelu(x: Value, approximate: str = "none") -> Value:
    return apply("gelu", x, approximate=approximate)


def silu(x: Value) -> Value:
    return x * sigmoid(x)


def softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    return apply("softplus", x, beta=float(beta), threshold=float(threshold))


def sigmoid(x: Value) -> Value:
    return apply("sigmoid", x)


def tanh(x: Value) -> Value:
    return apply("tanh", x)


def exp(x: Value) -> Value:
    return apply("exp", x)


def log(x: Value) -> Value:
    return apply("log", x)


def sqrt(x: Value) -> Value:
    return apply("sqrt", x)


def hypot(x: Operand, y: Operand) -> Value:
    """The length of (x, y), without overflow on the way."""
    return apply("hypot", x, y)


def atan2(y: Operand, x: Operand) -> Value:
    """The angle of (x, y), from -π to π."""
    return apply("atan2", y, x)


def maximum(x: Operand, y: Operand) -> Value:
    return apply("maximum", x, y)


def minimum(x: Operand, y: Operand) -> Value:
    return apply("minimum", x, y)


def clamp(x: Value, low: float = float("-inf"), high: float = float("inf")) -> Value:
    return apply("clamp", x, low=float(low), high=float(high))
