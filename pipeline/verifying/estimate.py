"""A value as verification knows it: exactly, and as some float32 computations of it came out.

Comes in: arrays. Goes out: `Estimate`. Knows nothing of operations, nor of graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """Rows of a value; of a weight, its numbers."""

    exact: DoubleArray
    """(rows, *shape), in float64."""
    trials: FloatArray | None = None
    """(trials, rows, *shape): float32 computations, each with roundings of its own. None: float32 has it exactly."""
    squares: DoubleArray | None = None
    """(rows, *shape): the sum of the squares of the terms that it was added up from. None: it is one term."""

    def trial(self, number: int) -> FloatArray:
        """(rows, *shape)"""
        return self.exact.astype(np.float32) if self.trials is None else self.trials[number]

    @property
    def magnitude2(self) -> DoubleArray:
        """The square of how large its terms are together."""
        return np.square(self.exact) if self.squares is None else self.squares

    def take(self, rows: Any) -> Estimate:
        """Some of the rows: a slice, or their numbers."""
        return Estimate(
            self.exact[rows],
            None if self.trials is None else self.trials[:, rows],
            None if self.squares is None else self.squares[rows],
        )

    def map(self, change: Callable[[Array], Array]) -> Estimate:
        """The same change of every array, which moves or leaves out rows or lanes and computes nothing."""
        trials = self.trials
        return Estimate(
            change(self.exact),
            None if trials is None else np.stack([change(trial) for trial in trials]),
            None if self.squares is None else change(self.squares),
        )


def spread(estimate: Estimate) -> DoubleArray:
    """(rows, *shape): the standard deviation of the trials around what is exact; of those that are finite."""
    if estimate.trials is None:
        return np.zeros_like(estimate.exact)
    with np.errstate(invalid="ignore"):
        off = np.square(estimate.trials - estimate.exact)
    known = np.isfinite(off)
    return np.sqrt(np.sum(off, axis=0, where=known) / np.maximum(1, known.sum(axis=0)))
