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
            low, high = matrix.min(axis=0).tolist(), matrix.max(axis=0).tolist()
            found[name] = [Range(*lane) for lane in zip(low, high, _whole(matrix), strict=True)]
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
