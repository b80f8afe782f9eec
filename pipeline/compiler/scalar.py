"""Elementwise operations as code: for each, an expression over names of float32 scalars.

`{0}`, `{1}` stand for the operands, `{slope}` for an attribute that became a float32 constant. All stays float32: no
literal of Python's meets an operand, since Numba would go on in float64. Truth is 1.0 and 0.0. NaN propagates as in
NumPy. What needs more than a select or two is a function of functions.py.
"""

from __future__ import annotations

from pipeline.formula.values import Value

SCALAR: dict[str, str] = {
    "neg": "-{0}",
    "abs": "abs({0})",
    "sign": "{0} if ({0} == ZERO) | ({0} != {0}) else (ONE if {0} > ZERO else -ONE)",
    "exp": "exp({0})",
    "expm1": "expm1({0})",
    "log": "np.log({0})",
    "log1p": "np.log1p({0})",
    "sqrt": "np.sqrt({0})",
    "rsqrt": "ONE / np.sqrt({0})",
    "reciprocal": "ONE / {0}",
    "sin": "np.sin({0})",
    "cos": "np.cos({0})",
    "tanh": "tanh({0})",
    "erf": "float32(math.erf({0}))",
    "floor": "np.floor({0})",
    "ceil": "np.ceil({0})",
    "round": "np.rint({0})",
    "sigmoid": "sigmoid({0})",
    "relu": "ZERO if {0} < ZERO else {0}",
    "leaky_relu": "{0} if {0} > ZERO else {0} * {slope}",
    "elu": "{scale} * {0} if {0} > ZERO else {alpha} * {scale} * expm1({0} * {input_scale})",
    "gelu": "HALF * {0} * (ONE + float32(math.erf({0} * SQRT_HALF)))",
    "gelu_tanh": "HALF * {0} * (ONE + tanh(SQRT_2_PI * ({0} + GELU_CUBE * {0} * {0} * {0})))",
    "softplus": "{0} if {beta} * {0} > {threshold} else np.log1p(exp({beta} * {0})) / {beta}",
    "clamp": "{low} if {0} < {low} else ({high} if {0} > {high} else {0})",
    "isinf": "ONE if abs({0}) == INFINITY else ZERO",
    "isnan": "ONE if {0} != {0} else ZERO",
    "logical_not": "ONE if {0} == ZERO else ZERO",
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "pow": "np.power({0}, {1})",
    "atan2": "float32(math.atan2({0}, {1}))",
    "maximum": "maximum({0}, {1})",
    "minimum": "minimum({0}, {1})",
    "equal": "ONE if {0} == {1} else ZERO",
    "not_equal": "ONE if {0} != {1} else ZERO",
    "less": "ONE if {0} < {1} else ZERO",
    "less_equal": "ONE if {0} <= {1} else ZERO",
    "greater": "ONE if {0} > {1} else ZERO",
    "greater_equal": "ONE if {0} >= {1} else ZERO",
    "where": "{1} if {0} != ZERO else {2}",
}

# worth keeping in a scratch array rather than computing twice (5-40 multiplications)
COSTLY = frozenset(
    ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "elu", "gelu", "softplus", "pow", "atan2"]
)


def template(value: Value) -> str:
    """The template of an elementwise value."""
    if value.op == "gelu" and value.attributes["approximate"] == "tanh":
        return SCALAR["gelu_tanh"]
    return SCALAR[value.op]
