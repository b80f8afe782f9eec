"""A checksum of an array of 32-bit words.

Comes in: words. Goes out: 64 sums of every 64th word, each multiplied on before the next is added. It tells damage, not
forgery: any one word that changes changes its sum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Words = npt.NDArray[np.uint32]

LANES = 64  # sums that do not wait for each other: eight vectors of eight
PRIME = np.uint32(2654435761)  # odd, so that multiplying by it loses nothing


@jit
def add_words(words: Words, sums: Words) -> None:
    """sums (64,): of words (n,), n a multiple of 64."""
    for start in range(0, len(words), LANES):
        part = words[start : start + LANES]
        for lane in range(LANES):
            sums[lane] = sums[lane] * PRIME + part[lane]
