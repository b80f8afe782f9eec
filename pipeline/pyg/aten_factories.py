"""aten operations that make a tensor from a size → `fill`, where that size is a number of nodes or edges."""

from __future__ import annotations

import math
from typing import Any

from pipeline.formula.spaces import Nodes
from pipeline.formula.values import fill
from pipeline.pyg.call import Call, Handler, need_operand
from pipeline.pyg.layout import with_value
from pipeline.pyg.symbols import Joined, Learned, NodeNumbers, Refusal, Rows, Symbol

DENSE = "use edge_index: messages along edges, reduced at each node"


def _filled(call: Call, number: Any) -> Rows | Learned | Joined:
    """A tensor of the output's shape, the same number everywhere."""
    like = call.get("self")
    if isinstance(like, Rows) and tuple(call.tensors["self"].shape) == call.shape:
        return with_value(like, fill(_plain(call, number), like.space, like.value.shape))
    rows = [(axis, space) for axis, size in enumerate(call.shape) if (space := call.sizes.space(size)) is not None]
    if not rows:
        return _together(call, number) or call.learned(call.outputs[0], None)
    (axis, space), *more = rows
    if more:
        raise Refusal(f"makes a dense array of {space} by {more[0][1]}", DENSE)
    return Rows(fill(_plain(call, number), space, (*call.shape[:axis], *call.shape[axis + 1 :])), axis)


def _together(call: Call, number: Any) -> Joined | None:
    """The same for the rows of several types, as many as were joined before."""
    known = [(axis, call.sizes.joins[size]) for axis, size in enumerate(call.shape) if size in call.sizes.joins]
    if not known:
        return None
    (axis, spaces), *more = known
    if more:
        raise Refusal("makes a dense array of the rows of several types", DENSE)
    lanes = (*call.shape[:axis], *call.shape[axis + 1 :])
    return Joined(tuple(Rows(fill(_plain(call, number), space, lanes), axis) for space in spaces))


def _plain(call: Call, number: Any) -> float:
    operand = need_operand(number, call.sizes)
    if isinstance(operand, Learned) and operand.tensor.numel() == 1:
        return float(operand.tensor)
    if isinstance(operand, Rows | Learned):
        raise Refusal("fills a tensor with something else than one number")
    return operand


def _constant(number: float) -> Handler:
    return lambda call: _filled(call, number)


def _full(call: Call) -> Symbol:
    return _filled(call, call["fill_value"])


def _fill(call: Call) -> Symbol:
    return _filled(call, call["value"])


def _empty(call: Call) -> Symbol:
    filled = _filled(call, math.nan)
    if isinstance(filled, Learned):
        return filled
    raise Refusal("leaves memory as it was, and that is read later", unwritten=filled)


def _arange(call: Call) -> Symbol:
    space = call.sizes.space(call.shape[0])
    if space is None:
        return call.learned(call.outputs[0], None)
    if call.get("start", 0) not in (0, None) or call.get("step", 1) not in (1, None) or type(space) is not Nodes:
        raise Refusal(f"numbers the {space}", "a program may not depend on the order of nodes or edges")
    return NodeNumbers(space)


def _scalar(call: Call) -> Symbol:
    space = call.sizes.space(call["s"])
    if space is not None:
        raise Refusal(f"computes with the number of {space}", "give that number to the model as a constant")
    return call.learned(call.outputs[0], None)


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("zeros", "new_zeros", "zeros_like", "zero"), _constant(0.0)),
    **dict.fromkeys(("ones", "new_ones", "ones_like"), _constant(1.0)),
    **dict.fromkeys(("full", "new_full", "full_like"), _full),
    **dict.fromkeys(("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"), _empty),
    "fill": _fill,
    "arange": _arange,
    "scalar_tensor": _scalar,
}
FACTORIES = frozenset(HANDLERS)
