"""What numbers the columns of a graph hold: smallest, largest, whole or not, for each lane.

Comes in: the columns of a block. Goes out: ranges, merged over blocks, as the manifest keeps them. A model that looks
up a learned table by a column of integers is refused by them before any job starts. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

# Wider columns are no categories, and their ranges would be most of the manifest.
MOST_LANES = 256
WIDE = 4096  # lanes that NumPy goes over at once
SOME = 1024  # rows that are looked at first: most lanes show a fraction there


class Range(NamedTuple):
    """Of one lane."""

    low: float
    high: float
    whole: bool
    """Whether all numbers are integers."""


Ranges = Mapping[str, Sequence[Range]]
""""nodes.kind" → a range for each lane. Columns without rows, and very wide ones, are not there."""


def ranges_of(columns: Mapping[str, npt.NDArray[Any]]) -> dict[str, list[Range]]:
    """Column → the ranges of its lanes; columns are (n, width)."""
    found = {}
    for name, matrix in columns.items():
        if len(matrix) and matrix.shape[1] <= MOST_LANES:
            low, high = _each_lane(np.minimum, matrix), _each_lane(np.maximum, matrix)
            found[name] = [Range(*lane) for lane in zip(low, high, _whole(matrix), strict=True)]
    return found


def _each_lane(pick: np.ufunc, matrix: npt.NDArray[Any]) -> list[float]:
    """The smallest or largest number of each lane. Many rows are taken as one: of eight lanes NumPy needs 4 ns a number
    otherwise, of a thousand 0.2."""
    rows, lanes = matrix.shape
    together = max(1, WIDE // max(1, lanes))
    if rows > together:
        whole = rows - rows % together
        wide = pick.reduce(matrix[:whole].reshape(whole // together, together * lanes), axis=0)
        matrix = np.concatenate([wide.reshape(together, lanes), matrix[whole:]])
    found: list[float] = pick.reduce(matrix, axis=0).tolist()
    return found


def _whole(matrix: npt.NDArray[Any]) -> list[bool]:
    start = matrix[:SOME]
    whole = (start == np.rint(start)).all(axis=0)
    for lane in np.flatnonzero(whole):
        whole[lane] = (matrix[:, lane] == np.rint(matrix[:, lane])).all()
    return [bool(lane) for lane in whole]


def merge_ranges(parts: Iterable[Ranges]) -> dict[str, list[Range]]:
    """The ranges of columns that come in several parts."""
    merged: dict[str, list[Range]] = {}
    for part in parts:
        for name, lanes in part.items():
            lanes = [Range(*lane) for lane in lanes]
            before = merged.get(name, lanes)
            merged[name] = [
                Range(min(a.low, b.low), max(a.high, b.high), a.whole and b.whole)
                for a, b in zip(before, lanes, strict=True)
            ]
    return merged
