"""Quotes in CSV: whether every field that begins with one ends with one, as RFC 4180 wants it.

Comes in: the bytes of a file, stretch by stretch. Goes out: the state that the next stretch begins in. A quote that is
never closed takes all lines after it into one field, and no reader says a word about it. Knows nothing of files.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

# states between two bytes
START, PLAIN, QUOTED, CLOSED = 0, 1, 2, 3
BROKEN = 4  # something other than a separator or the end of the line came after a closing quote

QUOTE, NEWLINE, RETURN = 34, 10, 13


@jit
def follow_quotes(data: npt.NDArray[np.uint8], separator: int, state: int) -> int:
    """The state after (n,) bytes. It stays BROKEN."""
    for at in range(data.shape[0]):
        byte = data[at]
        if state == QUOTED:
            if byte == QUOTE:
                state = CLOSED
        elif byte in (separator, NEWLINE, RETURN):
            state = START
        elif state == CLOSED:
            if byte != QUOTE:
                return BROKEN
            state = QUOTED
        elif state == START:
            state = QUOTED if byte == QUOTE else PLAIN
    return state
