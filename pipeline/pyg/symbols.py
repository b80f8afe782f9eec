"""What a recorded tensor stands for.

Comes in: nothing (these are records). Goes out: one of ten kinds of symbol, which the recorder keeps for each tensor
and the aten tables combine. A tensor that cannot be said in a formula is Opaque: an error only if something needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pipeline.errors import ModelError
from pipeline.formula.spaces import Edges, Nodes, WholeGraph
from pipeline.formula.values import Value, apply


class Refusal(Exception):
    """An operation that no formula expresses. The recorder adds where it happened and makes the result Opaque."""

    def __init__(
        self,
        problem: str,
        remedy: str = "write this layer as a formula (Model.from_formula)",
        unwritten: Rows | Learned | Joined | None = None,
    ):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.unwritten = unwritten


@dataclass(frozen=True)
class Rows:
    """A row per node or per edge: `value`, and where the tensor keeps its row axis.

    Mostly the first axis: a tensor (n, h, c) for a value of shape (h, c). PyTorch's own code also moves it, (h, n, c),
    and folds other axes into it, (n·h, c); the value stays the same. `axis` is the tensor's axis that holds the rows,
    `before` and `after` how many of the value's axes are folded into it, in front of the rows and behind them.

    A total over all rows is the one row of the whole graph (`is_whole`): its tensor is that row, without an axis for
    it. `axis` is then the one behind the tensor's last, which no operation can name.
    """

    value: Value
    axis: int = 0
    before: int = 0
    after: int = 0

    @property
    def rank(self) -> int:
        return len(self.value.shape) + (not self.is_whole) - self.before - self.after

    @property
    def is_whole(self) -> bool:
        return self.value.is_graph

    @property
    def tail(self) -> int:
        """Axes of the tensor behind the row axis."""
        return self.rank - 1 - self.axis

    @property
    def space(self) -> Nodes | Edges | WholeGraph:
        space = self.value.space
        assert isinstance(space, Nodes | Edges | WholeGraph)
        return space


class Learned:
    """The same for every row, computed by torch itself: a parameter, a buffer, a constant, or made from these alone."""

    def __init__(self, tensor: Tensor, make: Callable[[], Value]):
        self.tensor = tensor
        self._make = make
        self._value: Value | None = None

    @property
    def value(self) -> Value:
        """Made when it first meets a row: most of what torch computes from weights is never needed."""
        if self._value is None:
            self._value = self._make()
        return self._value


@dataclass(frozen=True)
class EdgeIndex:
    """`edge_index`, (2, edges), or the same for a part of the edges.

    Edge values belong to `edges`, whose direction is the table's; `reversed`: row 0 holds the dst, as after flip(0).
    `axis`: 1 if it is (edges, 2), as after t(). `mask`: a value per edge; forward goes on with the edges where it is 1.
    While recording they are all there, and the others are left out where they are reduced.
    """

    edges: Edges
    reversed: bool = False
    axis: int = 0
    mask: Value | None = None
    starts: tuple[int, int] = (0, 0)
    """What was added to row 0 and to row 1: where the rows of the types begin in a tensor that joins several."""

    def row(self, position: int, kept: bool = False) -> End:
        """Row 0 or 1; with `kept`, as a slice of one row."""
        which = ("src", "dst")[(position + self.reversed) % 2]
        return End(self.edges, which, 1 - self.axis if kept else 0, self.mask, self.starts[position % 2])

    def turned(self) -> EdgeIndex:
        """With its rows in each other's place."""
        return replace(self, reversed=not self.reversed, starts=self.starts[::-1])


@dataclass(frozen=True)
class End:
    """One end of each edge, "src" or "dst": a row of an edge index, perhaps broadcast over other axes than `axis`."""

    edges: Edges
    which: str
    axis: int = 0
    mask: Value | None = None
    """As in EdgeIndex."""
    start: int = 0
    """What was added to the numbers: as in EdgeIndex."""

    @property
    def nodes(self) -> Nodes:
        """The nodes that it numbers."""
        return self.edges.source if self.which == "src" else self.edges.target

    def facing(self, value: Value) -> Value:
        """An edge value as a reduction at this end takes it; twice is the value itself."""
        return value if self.which == "dst" else apply("flip", value)


@dataclass(frozen=True)
class Joined:
    """Tensors of several types one after the other, as torch.cat gives them: rows, or edge indices and their rows.

    All parts have their rows in the same axis, with the same lanes, and other axes folded into it alike.
    """

    parts: tuple[Rows | EdgeIndex | End, ...]

    @property
    def spaces(self) -> tuple[Nodes | Edges, ...]:
        """What each part has one row per."""
        return tuple(space_of(part) for part in self.parts)


def space_of(symbol: Rows | EdgeIndex | End) -> Nodes | Edges:
    """What a symbol has one row per."""
    if isinstance(symbol, Rows):
        assert not isinstance(symbol.space, WholeGraph)
        return symbol.space
    return symbol.edges


@dataclass(frozen=True)
class NodeNumbers:
    """0, 1, … n - 1, or those of chosen nodes; with `twice`, (2, n): the index of one self-loop per node."""

    nodes: Nodes
    twice: bool = False


@dataclass(frozen=True)
class SparseMatrix:
    """A matrix of nodes by nodes that has an entry for each edge: `index` is its rows and columns."""

    index: EdgeIndex
    value: Value
    """() per edge"""
    others: tuple[SparseMatrix, ...] = ()
    """Of other edges, perhaps: they are added to it."""

    @property
    def terms(self) -> tuple[SparseMatrix, ...]:
        """Those that add up to it, of one set of edges each."""
        return (replace(self, others=()), *self.others)


def added(matrices: Sequence[SparseMatrix]) -> SparseMatrix:
    """Their sum; they are all of the same nodes."""
    first, *others = [term for matrix in matrices for term in matrix.terms]
    return replace(first, others=tuple(others))


@dataclass(frozen=True)
class Pointers:
    """Where the entries of each row of a sparse matrix begin; of each column if it is compressed that way."""

    end: End
    """The end of the edges that numbers those rows."""


@dataclass(frozen=True)
class PartMask:
    """Which of some edges are of a part: `src != dst` (proper) or `src == dst` (loops)."""

    edges: Edges
    part: str


@dataclass(frozen=True)
class Opaque:
    """Cannot be said in a formula; `error` is raised when an output, or Python, needs it."""

    error: ModelError
    unwritten: Rows | Learned | Joined | None = None
    """New memory, for an operation that writes rows of it: NaN in those that are never written."""


Symbol = Rows | Learned | EdgeIndex | End | Joined | NodeNumbers | SparseMatrix | Pointers | PartMask | Opaque
Operand = Symbol | float | int | bool | None
