"""Reductions inside a row: as a loop over lanes, or, for sums over many lanes, in vectors.

Floats are added in the order that is written, so a loop `total = total + lane` is a chain of scalar additions. Sums
over 16, 24, 32 … lanes that lie side by side go by 8 partial sums that are one vector, added up in pairs at the end:
64 lanes take 0.36 of the time of the loop, 4 times 16 lanes 0.68; 4 partial sums in scalars gain nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.compiler.index import ZERO_INDEX, Index, join
from pipeline.compiler.scope import Writer
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import Value

if TYPE_CHECKING:
    from pipeline.compiler.expression import Expression

FOLD = 8  # float32 lanes of a vector (AVX)
FOLDED = 16  # vectors that are added up in written-out code: 32 and 64 are no faster, and take longer to compile


def reduce_lanes(expression: Expression, value: Value, axes: list[Index]) -> str:
    """Writes loops over the reduced axes; `axes`: the position along each axis of the result."""
    writer, operand = expression.writer, value.inputs[0]
    kept = iter(axes)
    places: list[Index] = []
    loops = []
    for axis, size in enumerate(operand.shape):
        if axis not in value.attributes["axes"]:
            places.append(next(kept))
            continue
        if value.attributes["keepdims"]:
            next(kept)
        places.append(ZERO_INDEX)
        if size != 1:
            loops.append((axis, size))
    fold = OPERATIONS[value.op].fold
    assert fold is not None, value.op
    start, add = fold
    total = writer.fresh("t")
    writer.line(f"{total} = {start}")

    def step(remaining: list[tuple[int, int]]) -> None:
        if not remaining:
            name = expression.write(operand, join(places, operand.shape))
            writer.line(f"{total} = {add.format(total, name)}")
            return
        (axis, size), *inner = remaining
        with _loop(writer, "r", 0, size) as places[axis]:
            step(inner)

    step(loops)
    return _mean(expression, value, total)


def folds(value: Value) -> bool:
    """Whether a lane reduction is a sum over 16, 24, 32 … lanes that lie side by side."""
    shape = value.inputs[0].shape
    axes = sorted(value.attributes["axes"])
    if value.op not in ("lane_sum", "lane_mean") or not axes or axes != list(range(axes[0], len(shape))):
        return False
    return shape[-1] % FOLD == 0 and value.inputs[0].width >= 2 * FOLD * value.width


def folded_sum(expression: Expression, value: Value, index: Index) -> str:
    """One lane of the result: the sum of its 8 partial sums, which are computed for all lanes together."""
    writer = expression.writer
    with writer.at(writer.depth([expression.program.levels[value.id]])) as scope:
        key = ("folded", value.id)
        if key not in scope.names:
            scope.names[key] = writer.array("m", FOLD * value.width)
            _fold(expression, value, scope.names[key])
        name = scope.names[key]
    parts = [f"{name}[{index * FOLD + part}]" for part in range(FOLD)]
    while len(parts) > 1:
        parts = [f"({a} + {b})" for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return _mean(expression, value, parts[0])


def _fold(expression: Expression, value: Value, name: str) -> None:
    """name[8 * head + part] = Σ_k operand[lanes * head + 8 * k + part]; in loops, if there are many heads or many k."""
    writer, operand = expression.writer, value.inputs[0]
    lanes = operand.width // value.width
    terms = lanes // FOLD

    def add(head: Index, part: Index, block: Index, count: int, before: bool = False) -> None:
        target = f"{name}[{head * FOLD + part}]"
        first = head * lanes + block * FOLD + part
        names = [expression.write(operand, first + FOLD * term) for term in range(count)]
        writer.line(f"{target} = {' + '.join([target] * before + names)}")

    if terms * value.width <= FOLDED:
        with _vector(writer) as part:
            for head in range(value.width):
                add(Index(head), part, ZERO_INDEX, terms)
        return
    step = max(count for count in range(1, FOLDED + 1) if terms % count == 0)
    with _loop(writer, "h", 0, value.width) as place:
        with _vector(writer) as part:
            add(place, part, ZERO_INDEX, step)
        if terms > step:
            with _loop(writer, "r", 1, terms // step) as block, _vector(writer) as part:
                add(place, part, block * step, step, before=True)


@contextmanager
def _loop(writer: Writer, prefix: str, start: int, stop: int) -> Iterator[Index]:
    variable = writer.fresh(prefix)
    with writer.block(f"for {variable} in range({start}, {stop}):", variable):
        yield Index.loop(variable, stop) if stop > 1 else ZERO_INDEX


@contextmanager
def _vector(writer: Writer) -> Iterator[Index]:
    variable = writer.fresh("c")
    with writer.block(f"for {variable} in range(unit * {FOLD}):", variable):
        yield Index.loop(variable, FOLD)


def _mean(expression: Expression, value: Value, total: str) -> str:
    if value.op != "lane_mean":
        return total
    return f"{total} / {expression.writer.constant(value.inputs[0].width / value.width)}"
