"""Random numbers for roundings: the same for the same place, whatever is computed before.

Comes in: which trial, and how many are needed. Goes out: numbers of a normal distribution. Knows nothing of what they
are for.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from pipeline.verifying.estimate import FloatArray

SIZE = 1 << 18
# drawn once: a number of a table takes a tenth of the time of one that is drawn
TABLE = np.random.default_rng(14).standard_normal(2 * SIZE, dtype=np.float32)
_MIX = 0x9E3779B97F4A7C15


class Noise:
    """The noise of one operation on some rows."""

    def __init__(self, trials: int, *place: int) -> None:
        """`place`: whatever tells it from all others, such as the number of the operation and the first of the rows."""
        self.trials = trials
        self._key = 0
        for number in place:
            self._key = (self._key ^ (number + 1)) * _MIX % (1 << 64)
            self._key ^= self._key >> 29

    def draw(self, trial: int, shape: tuple[int, ...]) -> FloatArray:
        size = math.prod(shape)
        if size > SIZE:
            return np.concatenate([
                self.draw((trial + 1) * 1009 + at, (min(SIZE, size - start),))
                for at, start in enumerate(range(0, size, SIZE))
            ]).reshape(shape)  # fmt: skip
        start = ((self._key ^ (trial + 1)) * _MIX % (1 << 64) >> 20) % SIZE
        return TABLE[start : start + size].reshape(shape)

    def sides(self, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        """(trials, *shape): of each number half of the trials are True, in a pattern of its own. Its place among the
        rows and lanes decides which, so that x > 0 and x <= 0 of the same rows go together."""
        patterns = _patterns(self.trials)
        chosen = np.arange(math.prod(shape)) * 40503 % patterns.shape[1]
        return patterns[:, chosen].reshape(self.trials, *shape)


@functools.cache
def _patterns(trials: int) -> npt.NDArray[np.bool_]:
    rng = np.random.default_rng(trials)
    half = np.arange(trials) % 2 == 0
    return np.stack([rng.permutation(half) for _ in range(251)], axis=1)
