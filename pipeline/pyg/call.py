"""One call of an aten operation, with symbols in the places of its tensors.

Comes in: what the dispatcher hands over. Goes out: arguments by their names in aten's own schema, so that the tables
of operations read like aten's documentation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.formula.spaces import Edges, Nodes, WholeGraph
from pipeline.formula.values import Value
from pipeline.pyg.chosen import Chosen, same_formula
from pipeline.pyg.symbols import Learned, Opaque, Operand, Refusal, Rows, Symbol
from pipeline.pyg.totals import number_of, whole


@dataclass(frozen=True)
class Sizes:
    """How many rows each space of the example has; all of them different, and unlike any width in the model."""

    counts: dict[Nodes | Edges, int]
    widths: frozenset[int] = frozenset()
    joins: dict[int, tuple[Nodes | Edges, ...]] = field(default_factory=dict)
    """How many rows types that were joined have together, and which they are."""
    _spaces: dict[int, Nodes | Edges] = field(init=False, default_factory=dict, compare=False, repr=False)
    """The other way round: asked of every number that a forward computes with."""

    def __post_init__(self) -> None:
        for space, count in self.counts.items():
            self._spaces.setdefault(count, space)

    def copy(self) -> Sizes:
        """For one recording, which adds the nodes that it chooses and the types that it joins."""
        return replace(self, counts=dict(self.counts), joins=dict(self.joins))

    def joined(self, spaces: Sequence[Nodes | Edges]) -> int:
        """How many rows these have together, which is known from now on."""
        total = sum(self.counts[space] for space in spaces)
        self.joins.setdefault(total, tuple(spaces))
        return total

    def choose(self, mask: Value, line: str) -> Chosen:
        """The nodes of a mask; they are given a number of rows of their own, which says nothing about the mask."""
        for space in self.counts:
            if isinstance(space, Chosen) and same_formula(space.mask, mask):
                return space
        space = Chosen(mask=mask, line=line)
        # in steps of 10, so that no number is another one and a little more
        self.counts[space] = next(
            n for n in itertools.count(max(self.counts.values()) + 10, 10) if n not in self.widths
        )
        self._spaces[self.counts[space]] = space
        return space

    @property
    def any_chosen(self) -> bool:
        return any(isinstance(space, Chosen) for space in self.counts)

    def count(self, space: Nodes | Edges | WholeGraph) -> int:
        """How many rows a space has."""
        return 1 if isinstance(space, WholeGraph) else self.counts[space]

    def space(self, size: Any) -> Nodes | Edges | None:
        """The space that has this many rows."""
        if isinstance(size, bool) or not isinstance(size, int | float):
            return None
        return self._spaces.get(size)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Call:
    """`arguments`: name → number, string, None, symbol, or a list of these. `tensors`: the same with the tensors."""

    operation: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, Any]
    outputs: Sequence[Tensor]
    sizes: Sizes
    learned: Callable[[Tensor, Any], Learned]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    def rows(self, name: str) -> Rows:
        """An argument that must be rows."""
        return need_rows(self.arguments[name])

    def count(self, rows: Rows) -> int:
        return self.sizes.count(rows.space)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first output."""
        return tuple(self.outputs[0].shape)

    def operand(self, name: str) -> Rows | Learned | float:
        """An argument of elementwise arithmetic."""
        return need_operand(self.arguments[name], self.sizes)


Handler = Callable[[Call], "Symbol | tuple[Symbol | Refusal, ...]"]
"""Of several results each may be refused by itself: an error only if it is needed."""


def need_rows(symbol: Operand) -> Rows:
    if isinstance(symbol, Opaque):
        raise symbol.error
    if not isinstance(symbol, Rows):
        raise Refusal(f"needs a value per node or edge; this is {describe(symbol)}")
    return symbol


def need_operand(symbol: Operand, sizes: Sizes) -> Rows | Learned | float:
    if isinstance(symbol, Opaque):
        raise symbol.error
    if isinstance(symbol, Rows | Learned):
        return symbol
    if isinstance(symbol, bool | int | float):
        space = sizes.space(symbol)
        return float(symbol) if space is None else whole(number_of(space))
    raise Refusal(f"computes with {describe(symbol)} as if it were a value")


def describe(symbol: Operand) -> str:
    """What a symbol is, for messages."""
    kind = type(symbol).__name__
    return {
        "Rows": "a value per row",
        "Learned": "a weight",
        "EdgeIndex": "edge_index",
        "End": "a row of edge_index",
        "Joined": "a tensor of several types",
        "NodeNumbers": f"the numbers of the {getattr(symbol, 'nodes', '')}",
        "PartMask": "a mask over the edges",
        "SparseMatrix": "a sparse matrix",
        "Pointers": "the row pointers of a sparse matrix",
    }.get(kind, repr(symbol))


def bind(func: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults filled in."""
    bound = {}
    for position, argument in enumerate(func._schema.arguments):
        if position < len(args) and not argument.kwarg_only:
            bound[argument.name] = args[position]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value if argument.has_default_value() else None
    return bound
