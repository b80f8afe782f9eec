"""What a tensor is that holds several types one after the other, with edge indices that count from where each begins.

Comes in: the parts, and where they begin and end in the example. Goes out: the whole as a Joined, and its parts again,
found by where they are: a graph of other sizes, in the check, tells whether that was meant. What operations give of
such tensors: by_parts.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import topological
from pipeline.pyg.call import Sizes, describe
from pipeline.pyg.symbols import EdgeIndex, End, Joined, Learned, Opaque, Refusal, Rows, Symbol, space_of

Part = Rows | EdgeIndex | End
ONE_BY_ONE = "do it with each type's own tensor"
WHERE_TYPES_MEET = "cut the tensor where one type ends and the next one begins"


def parts_of(symbol: Any) -> tuple[Any, ...]:
    """Of a joined tensor its parts; anything else is one part."""
    return symbol.parts if isinstance(symbol, Joined) else (symbol,)


def joined(parts: Sequence[Any], sizes: Sizes) -> Joined:
    """Parts one after the other; a Refusal if they are not alike."""
    flat = [each for part in parts for each in parts_of(part)]
    error = next((part.error for part in flat if isinstance(part, Opaque)), None)
    if error is not None:
        raise error
    for part in flat:
        if not isinstance(part, Rows | EdgeIndex | End) or (isinstance(part, Rows) and part.is_whole):
            raise Refusal(f"works across the rows of several types ({describe(part)})", ONE_BY_ONE)
    if len({(type(part), *places_of(part)) for part in flat}) != 1:
        raise Refusal("joins the rows of several types in different axes", ONE_BY_ONE)
    found = Joined(tuple(flat))
    sizes.joined(found.spaces)
    return found


def row_axis(part: Part) -> int:
    """The axis of the tensor that holds the rows, or the edges."""
    return 1 - part.axis if isinstance(part, EdgeIndex) else part.axis


def places_of(part: Part) -> tuple[Any, ...]:
    if isinstance(part, Rows):
        return part.axis, part.before, part.after, part.value.shape
    return (part.axis,)


def starts_of(symbol: Joined | Rows, sizes: Sizes) -> list[tuple[int, Rows]]:
    """Each part, and the number of its first row."""
    found, start = [], 0
    for part in parts_of(symbol):
        assert isinstance(part, Rows)
        found.append((start, part))
        start += sizes.count(part.space)
    return found


def part_at(symbol: Joined | Rows, end: End, sizes: Sizes) -> int:
    """The number of the part whose rows an end of edges numbers."""
    for number, (start, part) in enumerate(starts_of(symbol, sizes)):
        if start == end.start and part.space == end.nodes:
            return number
    at = f", counted from {end.start:,} on" if end.start else ""
    raise Refusal(f"takes {end.nodes} by edge_index{at}, where no rows of {end.nodes} begin", WHERE_TYPES_MEET)


def shifted(index: End | EdgeIndex, tensor: Any, symbol: Any, times: int) -> Symbol:
    """edge_index + offset: where its numbers begin in a tensor that joins several types."""
    if isinstance(symbol, Learned):
        numbers = tensor.flatten().tolist() if tuple(tensor.shape) in ((), (1,), (2, 1), (1, 1)) else None
    else:
        numbers = [symbol] if isinstance(symbol, int) else None
    if numbers is None or any(number != int(number) for number in numbers) or type(times) is not int:
        raise Refusal(f"computes with {describe(index)} as if it were a value")
    first, second = (times * int(numbers[at]) for at in (0, -1))
    if isinstance(index, EdgeIndex) and (index.axis == 0 or first == second):
        return replace(index, starts=(index.starts[0] + first, index.starts[1] + second))
    if isinstance(index, EdgeIndex) or first != second:
        raise Refusal(f"adds several numbers to {describe(index)}")
    return replace(index, start=index.start + first)


def with_row(index: EdgeIndex, row: int, end: End) -> EdgeIndex | None:
    """An edge index of which a row was written; None if that is not the same row from another start."""
    if replace(end, start=0, axis=0) != replace(index.row(row), start=0):
        return None
    starts = (end.start, index.starts[1]) if row == 0 else (index.starts[0], end.start)
    return replace(index, starts=starts)


def with_part(before: Joined, start: int, rows: Rows, sizes: Sizes) -> Joined | None:
    """Joined rows of which those of one type were written, from row `start` on; None if they are not all of a type."""
    at = 0
    for number, part in enumerate(before.parts):
        if at == start and isinstance(part, Rows) and part.space == rows.space and places_of(part) == places_of(rows):
            return Joined((*before.parts[:number], rows, *before.parts[number + 1 :]))
        at += sizes.count(space_of(part))
    return None


def is_unwritten(symbol: Joined) -> bool:
    """Whether some of the rows are memory that nobody wrote."""
    values = [part.value for part in symbol.parts if isinstance(part, Rows)]
    return any(value.op == "fill" and math.isnan(value.attributes["value"]) for value in values)


def is_constant(part: Any) -> bool:
    """Whether every row holds the same numbers, in any graph."""
    if not isinstance(part, Rows) or part.is_whole:
        return False
    return all(
        OPERATIONS[value.op].kind in ("elementwise", "row", "leaf") and value.op != "input"
        for value in topological([part.value])
    )


def cut(symbol: Joined, tensor: Tensor, sizes: Sizes) -> list[Tensor]:
    """The tensor of each part."""
    counts = [sizes.count(space) for space in symbol.spaces]
    axis, shape = row_axis(symbol.parts[0]), tuple(tensor.shape)
    front, behind = folded(symbol.parts[0])
    open_ = tensor.reshape(*shape[:axis], front, sum(counts), behind, *shape[axis + 1 :])
    parts = zip(torch.split(open_, counts, axis + 1), counts, strict=True)
    return [own.reshape(*shape[:axis], front * count * behind, *shape[axis + 1 :]) for own, count in parts]


def folded(part: Part) -> tuple[int, int]:
    """How many rows of the tensor one row is, in front of the row axis and behind it."""
    if not isinstance(part, Rows):
        return 1, 1
    middle = part.axis + part.before
    return math.prod(part.value.shape[part.axis : middle]), math.prod(part.value.shape[middle : middle + part.after])
