"""How numbers are distributed, in room that does not grow with them.

Comes in: float32 numbers, a part at a time. Goes out: counts, extremes, mean, and what share lies below. Knows nothing
of tables.

Numbers are counted by the first 16 bits of their float32: sign, exponent and 7 bits of the fraction, so that a quantile
is known to 0.4 %. Counts are whole numbers: their sum does not depend on its order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

KINDS = 1 << 16
SHOWN = (0.001, 0.999)
"""Shares of the numbers between which a histogram shows them: a single large one would leave a single bar."""
BARS = 40


class Sketch:
    """Of one column."""

    def __init__(self) -> None:
        self._counts = np.zeros(KINDS, np.int64)
        self.nan = self.infinite = self.finite = 0
        self.least, self.largest = np.inf, -np.inf
        self._sum = 0.0

    def add(self, numbers: npt.NDArray[np.float32]) -> None:
        """`numbers`: (n,) float32, any."""
        usual = numbers[np.isfinite(numbers)]
        nan = int(np.isnan(numbers).sum())
        self.nan += nan
        self.infinite += len(numbers) - len(usual) - nan
        if not len(usual):
            return
        self.finite += len(usual)
        self.least = min(self.least, float(usual.min()))
        self.largest = max(self.largest, float(usual.max()))
        self._sum += float(usual.sum(dtype=np.float64))
        self._counts += np.bincount(np.ascontiguousarray(usual).view(np.uint32) >> 16, minlength=KINDS)

    @property
    def mean(self) -> float | None:
        return self._sum / self.finite if self.finite else None

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """The numbers below which these shares of the finite ones lie, to 0.4 %; none if there are none."""
        if not self.finite:
            return []
        below = np.cumsum(self._counts[_ASCENDING])
        at = np.searchsorted(below, np.ceil(np.array(shares) * self.finite).clip(1), side="left")
        return [float(number) for number in _MIDDLES[_ASCENDING][at].clip(self.least, self.largest)]

    def range(self) -> tuple[float, float]:
        """From where to where a histogram shows the numbers."""
        low, high = self.quantiles(SHOWN)
        # near the ends nothing is gained by leaving out; all that lies within twice the range is shown
        wide = high - low + (abs(low) + abs(high)) / 128  # which is as far as a quantile may be off
        low = self.least if self.least >= low - wide else low
        high = self.largest if self.largest <= high + wide else high
        return low, high


class Histogram:
    """Bars of equal width over a range; what lies outside is counted apart. float32 numbers, as for Sketch."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.counts = np.zeros(BARS, np.int64)
        self.below = self.above = 0

    def add(self, numbers: npt.NDArray[np.float32]) -> None:
        usual = numbers[np.isfinite(numbers)].astype(np.float64)
        self.below += int((usual < self.low).sum())
        self.above += int((usual > self.high).sum())
        within = usual[(usual >= self.low) & (usual <= self.high)]
        width = self.high - self.low
        at = (within - self.low) / width * BARS if width > 0 else np.zeros(len(within))
        self.counts += np.bincount(at.astype(np.int64).clip(0, BARS - 1), minlength=BARS)


def _middles() -> npt.NDArray[np.float64]:
    """Of each kind the number in the middle."""
    first = (np.arange(KINDS, dtype=np.uint32) << 16).view(np.float32)
    last = ((np.arange(KINDS, dtype=np.uint32) << 16) | 0xFFFF).view(np.float32)
    with np.errstate(invalid="ignore"):
        middles = (first.astype(np.float64) + last.astype(np.float64)) / 2
    return np.where(np.isfinite(middles), middles, 0.0)


_MIDDLES = _middles()
# negative numbers by falling bits, then the others by rising ones
_ASCENDING = np.concatenate([np.arange(KINDS - 1, KINDS // 2 - 1, -1), np.arange(KINDS // 2)])
