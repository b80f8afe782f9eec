"""Tensors that hold several types one after the other, with edge indices that count from where each type begins.

Comes in: an operation on such tensors. Goes out: what it gives for each part, joined again. So a module that puts all
types into one tensor (HGTConv does) is recorded like one that takes them one by one. Parts are found by where they
begin and end in the example; a graph of other sizes, in the check, tells whether that was meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import fill, topological
from pipeline.pyg.call import Call, Handler, Sizes, describe
from pipeline.pyg.layout import tensor_shape
from pipeline.pyg.symbols import EdgeIndex, End, Joined, Learned, Opaque, Refusal, Rows, Symbol, space_of

Part = Rows | EdgeIndex | End
SPLITS = ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk")
ROWS_BY_INDEX = {"index": "indices", "_unsafe_index": "indices", "index_select": "index", "gather": "index"}
TOGETHER = frozenset(["scatter_add", "scatter_reduce", "scatter", "index_add", "index_reduce", "index_put"])
"""Operations whose handlers know tensors of several types."""
LANES_BY_INDEX = frozenset(["scatter", "gather"])
"""Of which the index may name a lane of each row, as for a one-hot row."""
WRITES_BY_INDEX = frozenset(["index_put", "_index_put_impl"])
ONE_BY_ONE = "do it with each type's own tensor"
WHERE_TYPES_MEET = "cut the tensor where one type ends and the next one begins"


def by_parts(call: Call, handler: Handler, factories: Iterable[str]) -> Symbol | tuple[Symbol | Refusal, ...]:
    """What an operation gives of which an argument is Joined, or an edge index that counts from another start."""
    name, source = call.operation, call.get("self")
    if name in WRITES_BY_INDEX and isinstance(source, Joined) and (mask := _mask_of(call)) is not None:
        return _parts_written(call, source, mask)
    if name in LANES_BY_INDEX and _along_lanes(call):
        return _each(call, handler)
    if name in TOGETHER or name in factories or (name == "cat" and _along_rows(call)):
        return handler(call)
    if name in ROWS_BY_INDEX and (index := _index_of(call)) is not None:
        if any(isinstance(end, End) for end in parts_of(index)):
            return _rows_taken(call, handler, index)
        if isinstance(index, Joined) and isinstance(source, Joined) and all(map(is_constant, index.parts)):
            return _parts_taken(call, source, index)
    if isinstance(source, Joined) and row_axis(source.parts[0]) == _dim(call, source):
        if name == "slice":
            return _slice(call, source)
        if name in SPLITS:
            return _split(call, source)
    return _each(call, handler)


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
    if len({(type(part), *_places(part)) for part in flat}) != 1:
        raise Refusal("joins the rows of several types in different axes", ONE_BY_ONE)
    found = Joined(tuple(flat))
    sizes.joined(found.spaces)
    return found


def row_axis(part: Part) -> int:
    """The axis of the tensor that holds the rows, or the edges."""
    return 1 - part.axis if isinstance(part, EdgeIndex) else part.axis


def _places(part: Part) -> tuple[Any, ...]:
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
        if at == start and isinstance(part, Rows) and part.space == rows.space and _places(part) == _places(rows):
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


def _along_rows(call: Call) -> bool:
    part = next(parts_of(each)[0] for each in call["tensors"] if isinstance(each, Joined | End | EdgeIndex))
    return row_axis(part) == call["dim"] % call.tensors["tensors"][0].dim()


def _along_lanes(call: Call) -> bool:
    """Whether an operation takes or writes lanes by numbers that each row has, all rows of several types alike."""
    index = call["index"]
    if not isinstance(index, Joined) or not all(isinstance(part, Rows) for part in index.parts):
        return False
    return call["dim"] % call.tensors["self"].dim() != row_axis(index.parts[0])


# ---- each part by itself


def _each(call: Call, handler: Handler) -> Symbol | tuple[Symbol | Refusal, ...]:
    several = [item for item in tree_leaves(call.arguments) if isinstance(item, Joined)]
    if not several:
        return handler(call)
    spaces = next((each.spaces for each in several if not _is_filled(each)), several[0].spaces)
    arguments = {name: _recut(item, spaces, call.sizes) for name, item in call.arguments.items()}
    found, total = [], call.sizes.joined(spaces)
    pieces = {name: _cuts(arguments[name], item, len(spaces), call.sizes) for name, item in call.tensors.items()}
    for number, space in enumerate(spaces):
        shapes = [_resized(output, total, call.sizes.count(space)) for output in call.outputs]
        outputs = [output.new_empty(shape) for output, shape in zip(call.outputs, shapes, strict=True)]
        tensors = {name: parts[number] for name, parts in pieces.items()}
        own = {name: _part(item, number) for name, item in arguments.items()}
        found.append(_checked(handler(replace(call, arguments=own, tensors=tensors, outputs=outputs)), outputs, call))
    return _together(found, call.sizes)


def _together(found: Sequence[Any], sizes: Sizes) -> Symbol | tuple[Symbol | Refusal, ...]:
    """The results of all parts as those of the whole."""
    if not isinstance(found[0], tuple):
        return joined(found, sizes)
    several: list[Symbol | Refusal] = []
    for results in zip(*found, strict=True):
        refused = next((each for each in results if isinstance(each, Refusal)), None)
        several.append(refused or joined(results, sizes))
    return tuple(several)


def _checked(made: Any, outputs: Sequence[Tensor], call: Call) -> Any:
    """The symbols of one part, which must have the shapes of its tensors."""
    results = made if isinstance(made, tuple) else (made,)
    for symbol, tensor in zip(results, outputs, strict=True):
        if isinstance(symbol, Rows) and tensor_shape(symbol, call.sizes.count(symbol.space)) != tuple(tensor.shape):
            raise Refusal(f"works across the rows of several types, not within each {symbol.space}", ONE_BY_ONE)
    return made


def _part(item: Any, number: int) -> Any:
    if isinstance(item, Joined):
        return item.parts[number]
    return [_part(each, number) for each in item] if isinstance(item, list | tuple) else item


def cut(symbol: Joined, tensor: Tensor, sizes: Sizes) -> list[Tensor]:
    """The tensor of each part."""
    counts = [sizes.count(space) for space in symbol.spaces]
    axis, shape = row_axis(symbol.parts[0]), tuple(tensor.shape)
    front, behind = _folded(symbol.parts[0])
    open_ = tensor.reshape(*shape[:axis], front, sum(counts), behind, *shape[axis + 1 :])
    parts = zip(torch.split(open_, counts, axis + 1), counts, strict=True)
    return [own.reshape(*shape[:axis], front * count * behind, *shape[axis + 1 :]) for own, count in parts]


def _cuts(symbol: Any, tensor: Any, parts: int, sizes: Sizes) -> list[Any]:
    """Of each part its tensor, or a list of these where the argument is one."""
    if isinstance(symbol, list | tuple):
        each = [_cuts(one, own, parts, sizes) for one, own in zip(symbol, tensor, strict=True)]
        return [[own[number] for own in each] for number in range(parts)]
    return cut(symbol, tensor, sizes) if isinstance(symbol, Joined) else [tensor] * parts


def _folded(part: Part) -> tuple[int, int]:
    """How many rows of the tensor one row is, in front of the row axis and behind it."""
    if not isinstance(part, Rows):
        return 1, 1
    middle = part.axis + part.before
    return math.prod(part.value.shape[part.axis : middle]), math.prod(part.value.shape[middle : middle + part.after])


def _resized(output: Tensor, total: int, count: int) -> tuple[int, ...]:
    """The shape of one part's share of an output."""
    axes = [axis for axis, size in enumerate(output.shape) if size and not size % total]
    if len(axes) != 1:
        raise Refusal("works across the rows of several types", ONE_BY_ONE)
    return tuple(size // total * count if axis == axes[0] else size for axis, size in enumerate(output.shape))


def _is_filled(symbol: Joined) -> bool:
    """Whether all rows of all types hold the same number."""
    values = [part.value for part in symbol.parts if isinstance(part, Rows)]
    filled = len(values) == len(symbol.parts) and all(value.op == "fill" for value in values)
    return filled and len({value.attributes["value"] for value in values}) == 1


def _recut(item: Any, spaces: tuple[Any, ...], sizes: Sizes) -> Any:
    """An argument as parts of these spaces."""
    if isinstance(item, list | tuple):
        return [_recut(each, spaces, sizes) for each in item]
    if not isinstance(item, Joined) or item.spaces == spaces:
        return item
    if _is_filled(item) and sizes.joined(item.spaces) == sizes.joined(spaces):
        first = item.parts[0]
        assert isinstance(first, Rows)
        return Joined(tuple(replace(first, value=_filled_like(first, space)) for space in spaces))
    names = [" and ".join(map(str, each)) for each in (item.spaces, spaces)]
    raise Refusal(f"mixes rows of {names[0]} with rows of {names[1]}")


def _filled_like(rows: Rows, space: Any) -> Any:
    return fill(rows.value.attributes["value"], space, rows.value.shape)


# ---- some of the parts


def _dim(call: Call, source: Joined) -> int | None:
    dim = call.get("dim")
    return dim % call.tensors["self"].dim() if isinstance(dim, int) else None


def _between(call: Call, source: Joined, start: int, stop: int) -> Symbol:
    """The parts whose rows are those from start to stop."""
    front, behind = _folded(source.parts[0])
    limits = [0]
    for space in source.spaces:
        limits.append(limits[-1] + call.sizes.count(space))
    if (front, behind) != (1, 1) or start not in limits or stop not in limits or start >= stop:
        raise Refusal("takes some rows of several types by their position", WHERE_TYPES_MEET)
    chosen = source.parts[limits.index(start) : limits.index(stop)]
    return chosen[0] if len(chosen) == 1 else joined(chosen, call.sizes)


def _slice(call: Call, source: Joined) -> Symbol:
    size = call.tensors["self"].shape[call["dim"]]
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(size)
    if (start, stop, step) == (0, size, 1):
        return source
    if step != 1:
        raise Refusal("takes some rows of several types by their position", WHERE_TYPES_MEET)
    return _between(call, source, start, stop)


def _split(call: Call, source: Joined) -> tuple[Symbol | Refusal, ...]:
    found: list[Symbol | Refusal] = []
    start = 0
    for output in call.outputs:
        stop = start + output.shape[call["dim"]]
        try:
            found.append(_between(call, source, start, stop))
        except Refusal as refusal:
            found.append(refusal)
        start = stop
    return tuple(found)


# ---- rows by an index


def _index_of(call: Call) -> Any:
    """The one index of an operation that takes rows; None where there are several."""
    given = call[ROWS_BY_INDEX[call.operation]]
    if isinstance(given, list | tuple):
        several = [each for each in given if each is not None]
        return several[0] if len(several) == 1 else None
    return given


def _rows_taken(call: Call, handler: Handler, index: Any) -> Symbol:
    """x[src + offset], by one index or by those of several edge types: each type's edges from its own rows."""
    source = call["self"]
    if not isinstance(source, Rows | Joined) or not isinstance(parts_of(source)[0], Rows):
        return _each(call, handler)  # type: ignore[return-value]
    ends, name = parts_of(index), ROWS_BY_INDEX[call.operation]
    total = call.sizes.joined(index.spaces) if isinstance(index, Joined) else call.sizes.count(index.edges)
    sources = _cuts(source, call.tensors["self"], len(parts_of(source)), call.sizes)
    indices = _cuts(call[name], call.tensors[name], len(ends), call.sizes)
    found = []
    for number, end in enumerate(ends):
        at = part_at(source, end, call.sizes)
        own = replace(end, start=0)
        edges = call.sizes.count(end.edges)
        outputs = [each.new_empty(_resized(each, total, edges)) for each in call.outputs]
        inner = replace(
            call,
            arguments={**call.arguments, "self": parts_of(source)[at], name: _put(call[name], own)},
            tensors={
                **call.tensors,
                "self": sources[at],
                name: indices[number],
            },
            outputs=outputs,
        )
        found.append(_checked(handler(inner), outputs, call))
    return joined(found, call.sizes) if isinstance(index, Joined) else found[0]


def _put(given: Any, index: End) -> Any:
    """An index in the place of the one that was given."""
    return [each if each is None else index for each in given] if isinstance(given, list | tuple) else index


def _parts_taken(call: Call, source: Joined, mask: Joined) -> Symbol:
    """x[kind == 2], where the kind is the same for all rows of a type: the types of which all rows are meant."""
    tensor = next(each for each in tree_leaves(call.tensors[ROWS_BY_INDEX[call.operation]]) if each is not None)
    if tensor.dtype is not torch.bool or mask.spaces != source.spaces:
        raise Refusal("takes rows of several types by numbers that are no edge_index", WHERE_TYPES_MEET)
    chosen = [source.parts[number] for number in _meant(call, mask, tensor)]
    if not chosen:
        raise Refusal("takes the rows of none of the types", "leave this out")
    return chosen[0] if len(chosen) == 1 else joined(chosen, call.sizes)


def _meant(call: Call, mask: Joined, tensor: Tensor) -> list[int]:
    """The numbers of the parts that a mask chooses, which is the same for all rows of a part."""
    return [number for number, truth in enumerate(cut(mask, tensor, call.sizes)) if truth.all()]


def _mask_of(call: Call) -> Joined | None:
    """x[mask] = …: the mask, if it is one and the same for all rows of a type."""
    given = [(index, tensor) for index, tensor in zip(call["indices"], call.tensors["indices"], strict=True)]
    if len(given) != 1 or not isinstance(given[0][0], Joined) or given[0][1].dtype is not torch.bool:
        return None
    return given[0][0] if all(map(is_constant, given[0][0].parts)) else None


def _parts_written(call: Call, source: Joined, mask: Joined) -> Symbol:
    """x[kind == 2] = rows, where the kind is the same for all rows of a type: those of the types that are meant."""
    if mask.spaces != source.spaces:
        raise Refusal("writes rows of several types by numbers that are no edge_index", WHERE_TYPES_MEET)
    chosen = _meant(call, mask, call.tensors["indices"][0])
    new = parts_of(call["values"])
    same = len(new) == len(chosen) and all(
        isinstance(rows, Rows)
        and rows.space == source.spaces[number]
        and _places(rows) == _places(source.parts[number])
        for rows, number in zip(new, chosen, strict=True)
    )
    if not same or call["accumulate"]:
        raise Refusal("writes to the rows of some types what is not a row for each of them", ONE_BY_ONE)
    parts = dict(enumerate(source.parts)) | dict(zip(chosen, new, strict=True))
    return joined([parts[number] for number in range(len(parts))], call.sizes)
