"""aten operations that act on each number by itself → elementwise operations of a formula."""

from __future__ import annotations

import math
from typing import Any

import torch

from pipeline.formula.values import Value, apply
from pipeline.pyg.call import Call, Handler, need_operand
from pipeline.pyg.edge_parts import loops_written
from pipeline.pyg.joined import shifted
from pipeline.pyg.layout import elementwise, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, PartMask, Refusal, Rows, Symbol

SAME_NAME = (
    "neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tanh", "erf",
    "floor", "ceil", "round", "sigmoid", "relu", "isinf", "isnan",
)  # fmt: skip
COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _unary(op: str) -> Handler:
    return lambda call: elementwise(op, [call.rows("self")])


def _formula(function: Any) -> Handler:
    """An operation of one input, written as a function from Value and arguments to Value."""

    def handler(call: Call) -> Symbol:
        rows = call.rows("self")
        return with_value(rows, function(rows.value, call))

    return handler


def _binary(op: str) -> Handler:
    return lambda call: elementwise(op, [call.operand("self"), call.operand("other")])


def _scaled(call: Call, name: str) -> Any:
    """`alpha * other`, as add and sub have it."""
    other, alpha = call.operand(name), call.get("alpha")
    if alpha in (None, 1):
        return other
    if isinstance(other, Rows):
        return elementwise("mul", [other, float(alpha)])
    if isinstance(other, Learned):
        return call.learned(other.tensor, lambda: apply("mul", other.value, float(alpha)))
    return other * alpha


def _add(call: Call) -> Symbol:
    if isinstance(call["self"], End | EdgeIndex):
        return shifted(call["self"], call.tensors["other"], call["other"], call["alpha"])
    if isinstance(call["other"], End | EdgeIndex) and call["alpha"] == 1:
        return shifted(call["other"], call.tensors["self"], call["self"], 1)
    return elementwise("add", [call.operand("self"), _scaled(call, "other")])


def _sub(call: Call) -> Symbol:
    if isinstance(call["self"], End | EdgeIndex):
        return shifted(call["self"], call.tensors["other"], call["other"], -call["alpha"])
    return elementwise("sub", [call.operand("self"), _scaled(call, "other")])


def _rsub(call: Call) -> Symbol:
    return elementwise("sub", [call.operand("other"), _scaled(call, "self")])


def _div(call: Call) -> Symbol:
    quotient = elementwise("div", [call.operand("self"), call.operand("other")])
    mode = call.get("rounding_mode")
    if mode == "floor":
        return elementwise("floor", [quotient])
    if mode is not None:
        raise Refusal(f"rounds its quotient by {mode!r}")
    return quotient


def _pow(call: Call) -> Symbol:
    return elementwise("pow", [call.operand("self"), call.operand("exponent")])


def _compare(op: str) -> Handler:
    def handler(call: Call) -> Symbol:
        ends = [call["self"], call["other"]]
        if op in ("equal", "not_equal") and all(isinstance(end, End) for end in ends):
            return _loops(ends[0], ends[1], op)
        return elementwise(op, [call.operand("self"), call.operand("other")])

    return handler


def _loops(a: End, b: End, op: str) -> Symbol:
    """src == dst, src != dst: which edges are self-loops."""
    if a.mask is not None or b.mask is not None:
        raise Refusal("looks for self-loops among some of the edges", "do that before the mask is applied")
    if a.edges != b.edges or {a.which, b.which} != {"src", "dst"} or a.start != b.start:
        raise Refusal("compares rows of different edge indices")
    return PartMask(a.edges, "loops" if op == "equal" else "proper")


def _where(call: Call) -> Symbol:
    return elementwise("where", [call.operand("condition"), call.operand("self"), call.operand("other")])


def _masked_fill(call: Call) -> Symbol:
    if isinstance(call["mask"], PartMask):
        return loops_written(call.rows("self"), call["mask"], call.operand("value"))
    return elementwise("where", [call.operand("mask"), call.operand("value"), call.operand("self")])


def _clamp(call: Call) -> Symbol:
    rows = call.rows("self")
    for name, op in (("min", "maximum"), ("max", "minimum")):
        bound = call.get(name)
        if bound is not None and not isinstance(bound, int | float):
            rows = elementwise(op, [rows, need_operand(bound, call.sizes)])
    low, high = (call.get(name) for name in ("min", "max"))
    low = float(low) if isinstance(low, int | float) else -math.inf
    high = float(high) if isinstance(high, int | float) else math.inf
    return rows if (low, high) == (-math.inf, math.inf) else elementwise("clamp", [rows], low=low, high=high)


def _hardtanh(call: Call) -> Symbol:
    return elementwise("clamp", [call.rows("self")], low=float(call["min_val"]), high=float(call["max_val"]))


def _elu(x: Value, call: Call) -> Value:
    scales = {name: float(call[name]) for name in ("alpha", "scale", "input_scale")}
    return apply("elu", x, **scales)


def _celu(x: Value, call: Call) -> Value:
    alpha = float(call["alpha"])
    return apply("elu", x, alpha=alpha, scale=1.0, input_scale=1 / alpha)


def _softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    return apply("softplus", x, beta=float(beta), threshold=float(threshold))


def _log_sigmoid(call: Call) -> tuple[Symbol, ...]:
    x = call.rows("self")
    positive = apply("minimum", x.value, 0.0)
    y = with_value(x, positive - apply("log1p", apply("exp", -apply("abs", x.value))))
    return (y, y)  # the second output is a scratch buffer that only the gradient reads


def _relu6(x: Value) -> Value:
    return apply("clamp", x, low=0.0, high=6.0)


def _prelu(call: Call) -> Symbol:
    x = call.operand("self")
    negative = elementwise("mul", [x, call.operand("weight")])
    return elementwise("where", [elementwise("greater", [x, 0.0]), x, negative])


def _threshold(call: Call) -> Symbol:
    x = call.rows("self")
    return elementwise("where", [elementwise("greater", [x, float(call["threshold"])]), x, float(call["value"])])


def _lerp(call: Call) -> Symbol:
    a, b, share = call.operand("self"), call.operand("end"), call.operand("weight")
    return elementwise("add", [a, elementwise("mul", [share, elementwise("sub", [b, a])])])


def _fused(op: str) -> Handler:
    """addcmul, addcdiv: self + value * tensor1 (op) tensor2."""

    def handler(call: Call) -> Symbol:
        both = elementwise(op, [call.operand("tensor1"), call.operand("tensor2")])
        return elementwise("add", [call.operand("self"), elementwise("mul", [both, float(call["value"])])])

    return handler


def _truth(name: str, op: str) -> Handler:
    """Logic on truth values, which a formula keeps as 1 and 0."""

    def handler(call: Call) -> Symbol:
        for tensor in (call.tensors["self"], call.tensors["other"]):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype is not torch.bool:
                raise Refusal(f"({name}) works on the bits of numbers")
        return elementwise(op, [call.operand("self"), call.operand("other")])

    return handler


def _not(call: Call) -> Symbol:
    if call.operation == "bitwise_not" and call.tensors["self"].dtype is not torch.bool:
        raise Refusal("works on the bits of numbers")
    mask = call["self"]
    if isinstance(mask, PartMask):
        return PartMask(mask.edges, "loops" if mask.part == "proper" else "proper")
    return elementwise("logical_not", [call.rows("self")])


COUNTS = (
    "fill",
    "constant",
    "sum",
    "src",
    "dst",
    "flip",
    "add",
    "sub",
    "mul",
    "maximum",
    "minimum",
    "clamp",
    "reshape",
)


def is_counted(value: Value) -> bool:
    """Whether a value is a whole number in every row, because it is made of ones: a degree. Turned into an integer it
    is the same; of another number float32 could be on the other side of a whole one."""
    numbers = [each for each in value.attributes.values() if isinstance(each, float) and math.isfinite(each)]
    return (
        value.op in COUNTS
        and (bool(value.inputs) or value.op in ("fill", "constant"))
        and all(number == int(number) for number in numbers)
        and all(is_counted(each) for each in value.inputs)
    )


def cast(call: Call) -> Symbol:
    """Another dtype: float64 throughout, so only casts that change the numbers are operations."""
    name = "self" if "self" in call.arguments else "a"
    symbol, dtype, source = call[name], call.outputs[0].dtype, call.tensors[name].dtype
    if isinstance(symbol, Learned):
        return call.learned(call.outputs[0], None)
    if not isinstance(symbol, Rows):
        return symbol
    if dtype in (torch.float16, torch.bfloat16):
        raise Refusal(f"computes in {dtype}", "use the model in float32")
    if dtype is torch.bool and source is not torch.bool:
        return elementwise("not_equal", [symbol, 0.0])
    to_integers = source.is_floating_point and not dtype.is_floating_point and dtype is not torch.bool
    if to_integers and not is_counted(symbol.value):
        read = symbol.value.attributes.get("name") if symbol.value.op == "input" else None
        raise Refusal(
            f"turns numbers into {dtype}",
            f"if that column holds integers, say so: features={{{read!r}: range(K)}}, for 0 to K - 1"
            if read
            else "formulas compute in float32",
        )
    return symbol


HANDLERS: dict[str, Handler] = {
    **{name: _unary(name) for name in SAME_NAME},
    **{name: _compare(op) for name, op in COMPARISONS.items()},
    "add": _add,
    "sub": _sub,
    "rsub": _rsub,
    "mul": _binary("mul"),
    "div": _div,
    "pow": _pow,
    "square": _formula(lambda x, call: x * x),
    "log2": _formula(lambda x, call: apply("log", x) * (1 / math.log(2))),
    "log10": _formula(lambda x, call: apply("log", x) * (1 / math.log(10))),
    "exp2": _formula(lambda x, call: apply("exp", x * math.log(2))),
    "atan2": _binary("atan2"),
    "hypot": _binary("hypot"),
    "maximum": _binary("maximum"),
    "minimum": _binary("minimum"),
    "logical_and": _truth("and", "mul"),
    "bitwise_and": _truth("and", "mul"),
    "logical_or": _truth("or", "maximum"),
    "bitwise_or": _truth("or", "maximum"),
    "logical_not": _not,
    "bitwise_not": _not,
    "where": _where,
    "masked_fill": _masked_fill,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "hardtanh": _hardtanh,
    "leaky_relu": _formula(lambda x, call: apply("leaky_relu", x, slope=float(call["negative_slope"]))),
    "prelu": _prelu,
    "_prelu_kernel": _prelu,
    "elu": _formula(_elu),
    "celu": _formula(_celu),
    "selu": _formula(lambda x, call: apply("elu", x, alpha=SELU_ALPHA, scale=SELU_SCALE, input_scale=1.0)),
    "gelu": _formula(lambda x, call: apply("gelu", x, approximate=str(call["approximate"]))),
    "silu": _formula(lambda x, call: x * apply("sigmoid", x)),
    "mish": _formula(lambda x, call: x * apply("tanh", _softplus(x))),
    "softplus": _formula(lambda x, call: _softplus(x, call["beta"], call["threshold"])),
    "log_sigmoid_forward": _log_sigmoid,
    "hardswish": _formula(lambda x, call: x * _relu6(x + 3.0) * (1 / 6)),
    "hardsigmoid": _formula(lambda x, call: _relu6(x + 3.0) * (1 / 6)),
    "threshold": _threshold,
    "lerp": _lerp,
    "addcmul": _fused("mul"),
    "addcdiv": _fused("div"),
    "_to_copy": cast,
}
