"""The totals over all nodes of a type, into one row for the whole graph: one record each, the closed table.

A total is its meaning in NumPy, and how the rows that two blocks have become one. Without nodes a sum is 0, a maximum
-inf and a minimum inf, which no output can show: outputs have a row per node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula import rules
from pipeline.formula.rules import Attributes, Shape

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TotalOperation:
    """One total over all nodes."""

    name: str
    meaning: Callable[..., Array]
    """meaning(*rows), (n, …) of each input → (1, …)."""
    merge: np.ufunc
    """Two rows become one."""
    start: float
    """What a block without nodes has."""
    inputs: int = 1
    shape: Callable[[Sequence[Shape], Attributes], Shape] = rules.first
    is_exact: bool = False
    """Nothing is rounded."""
    products: bool = False
    """Whether each lane of the result takes a multiplication per node."""


def _largest(rows: Array) -> Array:
    return rows.max(axis=0, keepdims=True, initial=-np.inf)


def _smallest(rows: Array) -> Array:
    return rows.min(axis=0, keepdims=True, initial=np.inf)


def _sum(rows: Array) -> Array:
    return rows.sum(axis=0, keepdims=True)


def _outer(rows: Array, others: Array) -> Array:
    """Sum of x ⊗ y: (n, …, m), (n, …, d) → (1, …, m, d)."""
    return np.einsum("n...i,n...j->...ij", rows, others)[None]


TOTALS = {
    record.name: record
    for record in (
        TotalOperation("total_sum", _sum, np.add, 0.0),
        TotalOperation("total_max", _largest, np.maximum, -np.inf, is_exact=True),
        TotalOperation("total_min", _smallest, np.minimum, np.inf, is_exact=True),
        TotalOperation("total_product", _outer, np.add, 0.0, inputs=2, shape=rules.outer, products=True),
    )
}
