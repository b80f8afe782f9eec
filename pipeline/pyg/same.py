"""When two arrays of numbers are the same but for rounding. Knows nothing of who has made them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TOLERANCE = 1e-9  # of the largest number, in float64: sums of some thousand terms in another order differ by 1e-13


def same(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> bool:
    """Equal within TOLERANCE of the largest number, NaN and infinity in the same places."""
    if found.shape != expected.shape:
        return False
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    return bool(np.allclose(found, expected, rtol=0, atol=TOLERANCE * scale, equal_nan=True))
