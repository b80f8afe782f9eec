"""prod: Π m over the edges into a node; 1 where there are none, as in PyG."""

from __future__ import annotations

import numpy as np

from pipeline.formula.reductions.record import Array, Reduction, State


def scatter_prod(messages: Array, dst: Array, count: int) -> Array:
    """(count, …): the product of the messages of each dst."""
    product = np.ones((count, *messages.shape[1:]), messages.dtype)
    np.multiply.at(product, dst, messages)
    return product


PROD = Reduction(
    "prod",
    scatter_prod,
    state=(State("out", 1.0),),
    step="{out} = {out} * {message}",
    merge=("{out} *= {partial}",),
    own="mul",
)
