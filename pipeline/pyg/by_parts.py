"""Operations on tensors that hold several types one after the other (joined.py), part by part.

Comes in: an operation on such tensors. Goes out: what it gives for each part, joined again. So a module that puts all
types into one tensor (HGTConv does) is recorded like one that takes them one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pipeline.formula.values import fill
from pipeline.pyg.call import Call, Handler, Sizes
from pipeline.pyg.joined import (
    ONE_BY_ONE,
    WHERE_TYPES_MEET,
    cut,
    folded,
    is_constant,
    joined,
    part_at,
    parts_of,
    places_of,
    row_axis,
)
from pipeline.pyg.layout import tensor_shape
from pipeline.pyg.symbols import EdgeIndex, End, Joined, Refusal, Rows, Symbol

SPLITS = ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk")
ROWS_BY_INDEX = {"index": "indices", "_unsafe_index": "indices", "index_select": "index", "gather": "index"}
TOGETHER = frozenset(["scatter_add", "scatter_reduce", "scatter", "index_add", "index_reduce", "index_put"])
"""Operations whose handlers know tensors of several types."""
LANES_BY_INDEX = frozenset(["scatter", "gather"])
"""Of which the index may name a lane of each row, as for a one-hot row."""
WRITES_BY_INDEX = frozenset(["index_put", "_index_put_impl"])


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


def _cuts(symbol: Any, tensor: Any, parts: int, sizes: Sizes) -> list[Any]:
    """Of each part its tensor, or a list of these where the argument is one."""
    if isinstance(symbol, list | tuple):
        each = [_cuts(one, own, parts, sizes) for one, own in zip(symbol, tensor, strict=True)]
        return [[own[number] for own in each] for number in range(parts)]
    return cut(symbol, tensor, sizes) if isinstance(symbol, Joined) else [tensor] * parts


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
    front, behind = folded(source.parts[0])
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
        and places_of(rows) == places_of(source.parts[number])
        for rows, number in zip(new, chosen, strict=True)
    )
    if not same or call["accumulate"]:
        raise Refusal("writes to the rows of some types what is not a row for each of them", ONE_BY_ONE)
    parts = dict(enumerate(source.parts)) | dict(zip(chosen, new, strict=True))
    return joined([parts[number] for number in range(len(parts))], call.sizes)
