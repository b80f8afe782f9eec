"""The position of a lane inside a row, as a sum over loop variables: 3 + 16 * h + c.

Comes in: constants, loop variables with their extents, row shapes. Goes out: positions along each axis of a shape and
back. Rows lie row-major in memory, so a reshape changes no position, and most of a formula's shapes vanish here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """`stride * variable`, with the variable in 0 .. extent - 1."""

    stride: int
    variable: str
    extent: int


@dataclass(frozen=True)
class Index:
    """`constant + Σ stride * variable`; never negative, no variable twice."""

    constant: int = 0
    terms: tuple[Term, ...] = ()

    @staticmethod
    def loop(variable: str, extent: int) -> Index:
        return Index(0, (Term(1, variable, extent),))

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.constant + other, self.terms)
        strides = {term.variable: term for term in self.terms}
        for term in other.terms:
            stride = term.stride + (strides[term.variable].stride if term.variable in strides else 0)
            strides[term.variable] = Term(stride, term.variable, term.extent)
        terms = sorted(strides.values(), key=lambda term: (-term.stride, term.variable))
        return Index(self.constant + other.constant, tuple(terms))

    def __mul__(self, factor: int) -> Index:
        terms = tuple(Term(term.stride * factor, term.variable, term.extent) for term in self.terms)
        return Index(self.constant * factor, terms if factor else ())

    def __str__(self) -> str:
        parts = [
            term.variable if term.stride == 1 else f"{term.stride} * {term.variable}"
            for term in sorted(self.terms, key=lambda term: (-term.stride, term.variable))
        ]
        if self.constant or not parts:
            parts.insert(0, str(self.constant))
        return " + ".join(parts)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(term.variable for term in self.terms)


ZERO_INDEX = Index()


def strides(shape: Sequence[int]) -> list[int]:
    """Row-major strides of a row shape, in lanes."""
    steps = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        steps[axis] = steps[axis + 1] * shape[axis + 1]
    return steps


def split(index: Index, shape: Sequence[int]) -> list[Index] | None:
    """A position in a row → its positions along the axes; None if a loop variable runs across an axis boundary.

    >>> [str(axis) for axis in split(Index(3) + Index.loop("h", 4) * 16 , (4, 16))]
    ['h', '3']
    """
    axes = []
    for stride in strides(shape):
        high = tuple(term for term in index.terms if term.stride % stride == 0)
        low = tuple(term for term in index.terms if term.stride % stride)
        rest = index.constant % stride
        if rest + sum(term.stride * (term.extent - 1) for term in low) >= stride:
            return None
        axes.append(
            Index(index.constant // stride, tuple(Term(t.stride // stride, t.variable, t.extent) for t in high))
        )
        index = Index(rest, low)
    return axes


def join(axes: Sequence[Index], shape: Sequence[int]) -> Index:
    """Positions along the axes → the position in a row. Axes of size 1 contribute nothing: this is broadcasting."""
    index = ZERO_INDEX
    for axis, size, stride in zip(axes, shape, strides(shape), strict=True):
        if size != 1:
            index = index + axis * stride
    return index


def broadcast_index(index: Index, shape: Sequence[int], to: Sequence[int]) -> Index | None:
    """A position in a row of `shape` → that in a row of shape `to` which broadcasts to it; None as in `split`."""
    width, wanted = _width(shape), _width(to)
    if wanted == width:
        return index  # they differ by axes of size 1 only
    if wanted == 1:
        return ZERO_INDEX
    axes = split(index, shape)
    return None if axes is None else join(axes[len(shape) - len(to) :], to)


def _width(shape: Sequence[int]) -> int:
    width = 1
    for size in shape:
        width *= size
    return width
