"""The formula language: layers written as mathematics over node, edge and weight values.

In reading order: spaces (what a value has rows for), rules and operations (the closed table), values, weights,
functions, relation and relations (`g`), trace, program, interpret (NumPy).
"""

from pipeline.formula.functions import (
    atan2,
    batch_norm,
    clamp,
    concat,
    dot,
    elu,
    exp,
    flip,
    gelu,
    hypot,
    lane_log_softmax,
    lane_max,
    lane_mean,
    lane_min,
    lane_softmax,
    lane_sum,
    layer_norm,
    leaky_relu,
    linear,
    log,
    lookup,
    maximum,
    minimum,
    relu,
    sigmoid,
    silu,
    softplus,
    spread,
    sqrt,
    take,
    tanh,
    total_max,
    total_mean,
    total_min,
    total_product,
    total_sum,
    where,
)
from pipeline.formula.interpret import GraphArrays, interpret
from pipeline.formula.program import Input, Program
from pipeline.formula.relation import Relation
from pipeline.formula.relations import Relations
from pipeline.formula.trace import trace
from pipeline.formula.values import Value, apply, constant, edge_input, fill, node_input, weight
from pipeline.formula.weights import Weights

__all__ = [
    "GraphArrays", "Input", "Program", "Relation", "Relations", "Value", "Weights", "apply", "atan2", "batch_norm",
    "clamp", "concat", "constant", "dot", "edge_input", "elu", "exp", "fill", "flip", "gelu", "hypot", "interpret",
    "lane_log_softmax", "lane_max", "lane_mean", "lane_min", "lane_softmax", "lane_sum", "layer_norm", "leaky_relu",
    "linear", "log", "lookup", "maximum", "minimum", "node_input", "relu", "sigmoid", "silu", "softplus", "spread",
    "sqrt", "take", "tanh", "total_max", "total_mean", "total_min", "total_product", "total_sum", "trace", "weight",
    "where",
]  # fmt: skip
