"""Operations of torch by simpler ones, where torch itself has no such definition. Added to torch's own table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table


def _trilinear(
    i1: Tensor,
    i2: Tensor,
    i3: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    """The product of three tensors after new axes at `expand`, summed over `sumdim`: what nn.Bilinear is made of."""
    product: Tensor | None = None
    for tensor, axes in ((i1, expand1), (i2, expand2), (i3, expand3)):
        for axis in sorted(axes):
            tensor = tensor.unsqueeze(axis)
        product = tensor if product is None else product * tensor
    assert product is not None
    return product.sum(list(sumdim))


DEFINITIONS: dict[Any, Callable[..., Any]] = {**decomposition_table, torch.ops.aten._trilinear.default: _trilinear}
