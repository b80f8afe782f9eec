"""What people write in a formula because they know NumPy: its functions where there is one of ours, else what to write.

Comes in: the name of a NumPy function, or of an array's attribute. Goes out: an operation's name, or advice for a
message. Knows nothing of values.
"""

from __future__ import annotations

from pipeline.formula.operations import OPERATIONS

# of NumPy's functions that work element by element, those that are called otherwise here
_ALIASES = {
    "absolute": "abs",
    "arctan2": "atan2",
    "divide": "div",
    "multiply": "mul",
    "negative": "neg",
    "power": "pow",
    "rint": "round",
    "subtract": "sub",
}
_SAME = {
    "add", "ceil", "cos", "equal", "exp", "expm1", "floor", "greater", "greater_equal", "hypot", "isinf", "isnan",
    "less", "less_equal", "log", "log1p", "logical_not", "matmul", "maximum", "minimum", "not_equal", "reciprocal",
    "sign", "sin", "sqrt", "tanh",
}  # fmt: skip

_OVER_ROWS = (
    "total_{0}(x) is over all nodes, lane_{0}(x) over the columns of each row, g.{0}(…) over the edges of each node"
)
# of an array's methods and attributes, and of NumPy's functions: what to write in a formula
_ADVICE = {
    "T": "linear(x, w) multiplies by a weight transposed",
    "transpose": "linear(x, w) multiplies by a weight transposed",
    "mean": _OVER_ROWS.format("mean"),
    "sum": _OVER_ROWS.format("sum"),
    "max": _OVER_ROWS.format("max"),
    "amax": _OVER_ROWS.format("max"),
    "min": _OVER_ROWS.format("min"),
    "amin": _OVER_ROWS.format("min"),
    "prod": "total_product(x) is over all nodes, g.prod(…) over the edges of each node",
    "concatenate": "concat(x, y) puts columns side by side",
    "hstack": "concat(x, y) puts columns side by side",
    "clip": "clamp(x, low, high)",
    "where": "where(condition, x, y) of graphsweep.formula",
    "dot": "x @ w.a, or linear(x, w.a)",
    "flatten": "x.flat()",
    "ravel": "x.flat()",
    "view": "x.reshape(…), whose shape is that of one row",
    "size": "x.width is the number of columns",
    "ndim": "x.shape is the shape of one row",
    "astype": "all values are float32",
    "copy": "a value never changes: x can be used twice",
    "detach": "a value never changes, and has no gradient",
}


def operation_of(function: str) -> str | None:
    """The operation that a NumPy function is; None if there is none."""
    name = _ALIASES.get(function, function if function in _SAME else None)
    return name if name in OPERATIONS else None


def advice(name: str) -> str | None:
    """What to write in place of an array's attribute, or of a NumPy function; None if we know of nothing."""
    return _ADVICE.get(name)
