"""How large the rounding of an operation is: the one place where verification says what float32 does.

Comes in: a value and its inputs. Goes out: the standard deviation of what rounding adds to each number of the result.
Knows nothing of where the numbers come from.

A number that is rounded to nearest is off by a uniform share of half a unit in the last place: 0.29 units, which is
0.42 u of the number on average, u = 2^-24. For n numbers added up one after another, the errors of all partial sums
come together: with terms of mean m and variance v the k-th partial sum has size² k² m² + k v, so that the error² is
(0.42 u)² (S² n / 3 + T² n / 2), where S is the sum and T² the sum of the terms' squares. In parts of p numbers it is
(0.42 u)² (S² (p² / 3n + n / 3p) + T² (p / 2 + n / 2p)).

What is added here comes on top of the roundings that float32 makes anyway in a trial: those alone would do, if they
were never the same in all trials, as they are where all that comes in is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.formula.values import Value
from pipeline.verifying.estimate import DoubleArray, Estimate
from pipeline.verifying.segments import SHORT

U = 2.0**-24
ROUNDED = 0.35 * U
"""Of one operation that is rounded once."""

# no rounding at all: moves, choices, truths, whole numbers
EXACT = frozenset([
    "neg", "abs", "relu", "maximum", "minimum", "clamp", "where", "isinf", "isnan", "logical_not", "sign", "floor",
    "ceil", "round", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "reshape", "broadcast_to",
    "transpose", "concat", "slice", "take", "lookup", "lane_max", "lane_min", "lane_argmax", "max", "min", "last",
    "total_max", "total_min", "spread",
])  # fmt: skip

# functions whose float32 forms are off by up to 3.5 units in the last place
INEXACT = {
    "exp": 0.6, "expm1": 1.2, "log": 0.6, "log1p": 0.6, "sin": 0.8, "cos": 0.8, "tanh": 1.2, "erf": 0.8,
    "sigmoid": 1.0, "elu": 1.2, "softplus": 1.0, "pow": 0.8, "atan2": 0.8, "rsqrt": 0.6,
}  # fmt: skip


def rounding(value: Value, inputs: Sequence[Estimate], result: Estimate) -> DoubleArray | float:
    """The standard deviation of the rounding of each number, (rows, *shape); 0 if there is none."""
    op = value.op
    if op in EXACT:
        return 0.0
    size = np.abs(result.exact)
    if op == "matmul":
        left = inputs[0].exact
        terms = np.count_nonzero(left, axis=-1, keepdims=True) if left.ndim == size.ndim else left.shape[-1]
        return ROUNDED * np.sqrt(terms / 3 * np.square(size) + terms / 2 * result.magnitude2)
    if op in ("lane_sum", "lane_mean"):
        lanes = max(1, value.inputs[0].width // max(1, value.width))
        return ROUNDED * np.sqrt((1 + np.log2(lanes)) * result.magnitude2)
    if op == "lane_prod":
        return ROUNDED * np.sqrt(max(1, value.inputs[0].width // max(1, value.width))) * size
    if op == "gelu":  # 1 + erf(x) loses digits below 0
        return ROUNDED * (size + np.abs(inputs[0].exact))
    return INEXACT[op] * U * size if op in INEXACT else ROUNDED * size


def sum_rounding(total: DoubleArray, squares: DoubleArray, counts: DoubleArray) -> DoubleArray:
    """Of sums over neighbours: (groups, *shape); `counts`: (groups, 1, …)."""
    n = np.maximum(counts, 1)
    part = np.minimum(n, np.maximum(SHORT, np.sqrt(n)))
    of_total = np.square(part) / (3 * n) + n / (3 * part)
    of_terms = part / 2 + n / (2 * part)
    return ROUNDED * np.sqrt(of_total * np.square(total) + of_terms * squares)
