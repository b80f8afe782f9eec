"""last: the message of a node's last self-loop; its own input where there is none, else 0.

What add_remaining_self_loops writes: PyG takes the last of a node's loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.formula import rules
from pipeline.formula.reductions.record import Array, Reduction, States

if TYPE_CHECKING:
    from pipeline.formula.values import Value


def scatter_last(messages: Array, dst: Array, count: int) -> Array:
    """(count, …): the last message of each dst; 0 where there is none."""
    result = np.zeros((count, *messages.shape[1:]), messages.dtype)
    result[dst] = messages  # the last assignment to a repeated index wins
    return result


def _start_own(states: States, own: Sequence[Array], value: Value) -> None:
    nodes = len(states["out"])
    states["out"][:] = np.broadcast_to(own[0], (nodes, *value.shape)).reshape(nodes, value.width)


LAST = Reduction(
    "last",
    scatter_last,
    step="{out} = {message}",
    start_own=_start_own,
    space=rules.loops_only,
    shape=rules.with_own,
    is_exact=True,
)
