"""PyG's HeteroLinear, recorded as one operation: each row times the matrix of its type.

Comes in: a recorder. Goes out: a block in which its forward records itself. PyG's own cuts the rows where the type
changes, at places that it reads into Python; sorted first, where they are not in the order of the types.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch_geometric.nn import HeteroLinear

from pipeline.formula.values import Value, apply
from pipeline.pyg.call import describe
from pipeline.pyg.joined import cut, is_constant, joined, parts_of
from pipeline.pyg.layout import reshape, with_value
from pipeline.pyg.recorder import Recorder
from pipeline.pyg.symbols import Joined, Learned, Opaque, Refusal, Rows, Symbol

MOST_TYPES = 64  # of a column: each row is multiplied by the matrix of every type


@contextmanager
def hetero_linear(recorder: Recorder) -> Iterator[None]:
    """While the block runs, HeteroLinear records itself. Not for several threads."""
    original = HeteroLinear.forward
    HeteroLinear.forward = _recording(original, recorder)
    try:
        yield
    finally:
        HeteroLinear.forward = original


def _recording(original: Callable[..., Tensor], recorder: Recorder) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def forward(self: Any, x: Tensor, type_vec: Tensor) -> Tensor:
        rows, types = recorder.symbol(x), recorder.symbol(type_vec)
        if isinstance(rows, Learned) and isinstance(types, Learned):
            return original(self, x, type_vec)
        with recorder.paused():
            result = original(self, x, type_vec)
        recorder.say(result, "forward", lambda: _of(self, recorder, rows, types, type_vec))
        return result

    return forward


def _of(module: Any, recorder: Recorder, rows: Symbol, types: Symbol, type_vec: Tensor) -> Symbol:
    for symbol in (rows, types):
        if isinstance(symbol, Opaque):
            raise symbol.error
        if not isinstance(symbol, Rows | Joined):
            raise Refusal(f"needs a value per node or edge; this is {describe(symbol)}")
    weight, bias = _weight(recorder, module.weight), None
    if module.bias is not None:
        bias = _weight(recorder, module.bias)
    parts, kinds = parts_of(rows), parts_of(types)
    if [part.space for part in parts] != [kind.space for kind in kinds]:
        raise Refusal("takes rows of other nodes than their types")
    if any(
        part.axis or kind.axis or (part.before, part.after) != (kind.before, 0) for part, kind in _both(parts, kinds)
    ):
        raise Refusal("needs the rows as the first axis")
    found = []
    with recorder.paused():
        tensors = cut(types, type_vec, recorder.sizes) if isinstance(types, Joined) else [type_vec]
    for own, (part, kind) in zip(tensors, _both(parts, kinds), strict=True):
        if is_constant(kind):
            with recorder.paused():
                # one number for each lane that is folded into the rows, in front of them: heads
                each = list(map(int, own.reshape(math.prod(kind.value.shape), -1)[:, 0]))
            value = _by_constants(part.value, kind.value.shape, each, weight, bias)
        else:
            value = _by_column(part.value, kind.value, module.num_types, weight, bias)
        found.append(with_value(part, value))
    return joined(found, recorder.sizes) if isinstance(rows, Joined) else found[0]


def _weight(recorder: Recorder, tensor: Tensor) -> Value:
    symbol = recorder.symbol(tensor)
    assert isinstance(symbol, Learned)
    return symbol.value


def _both(parts: Any, kinds: Any) -> Any:
    return zip(parts, kinds, strict=True)


def _by_constants(x: Value, lanes: tuple[int, ...], kinds: list[int], weight: Value, bias: Value | None) -> Value:
    """(*lanes, in) → (*lanes, out): each lane by the matrix whose number is the same in every row."""
    _, wide, out = weight.shape
    if x.shape != (*lanes, wide):
        raise Refusal(f"multiplies rows of {x.shape} by matrices of {wide} → {out}, one for each of {lanes}")
    several = apply("take", weight, axis=0, indices=tuple(kinds))
    if len(kinds) == 1:
        y = apply("matmul", reshape(x, (wide,)), reshape(several, (wide, out)))
    else:
        y = apply("matmul", reshape(x, (len(kinds), 1, wide)), several)
    y = reshape(y, (*lanes, out))
    if bias is None:
        return y
    return y + reshape(apply("take", bias, axis=0, indices=tuple(kinds)), (*lanes, out))


def _by_column(x: Value, kind: Value, count: int, weight: Value, bias: Value | None) -> Value:
    """(in,) → (out,), by the matrix that a column names; NaN where it names none, as a lookup gives."""
    if count > MOST_TYPES:
        raise Refusal(f"multiplies each row by one of {count} matrices; up to {MOST_TYPES} are supported")
    if kind.shape != () or len(x.shape) != 1:
        raise Refusal("takes several types for a row")
    one = reshape(kind, (1,))
    found: Value | None = None
    for number in range(count):
        y = _by_constants(x, (), [number], weight, bias)
        found = y if found is None else apply("where", apply("equal", one, float(number)), y, found)
    assert found is not None
    zeros = apply("mul", apply("slice", reshape(weight, (weight.width,)), axis=0, start=0, stop=count, step=1), 0.0)
    return found + reshape(apply("lookup", zeros, kind), (1,))
