"""Everything that is run here is run in float64, whatever the module asks for.

The program is compared with the module on random graphs: in float64 that needs no allowance for rounding, so a wrong
program cannot hide behind a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map


def widened(arguments: Any) -> Any:
    """float32 → float64, among the arguments of an operation: dtypes, and tensors such as a module's plain attributes.

    Half precision is left alone: a cast to it changes the numbers on purpose.
    """

    return tree_map(_widen, arguments) if _is_narrow(arguments) else arguments


def _widen(item: Any) -> Any:
    if item is torch.float32:
        return torch.float64
    if isinstance(item, Tensor) and item.dtype is torch.float32:
        return item.double()
    return item


def _is_narrow(item: Any) -> bool:
    """Whether something may have to be widened. Mostly nothing has, and tree_map takes ten times as long."""
    if isinstance(item, Tensor):
        return item.dtype is torch.float32
    if isinstance(item, tuple | list):
        return any(map(_is_narrow, item))
    if isinstance(item, dict):
        return any(map(_is_narrow, item.values()))
    return item is torch.float32


class _Widen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return func(*widened(args), **widened(dict(kwargs or {})))


@contextmanager
def float64_factories() -> Iterator[None]:
    """Tensors made without a dtype are float64, and nothing is kept for gradients."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def in_float64() -> Iterator[None]:
    """A module's own forward, in float64 throughout."""
    with float64_factories(), _Widen():  # type: ignore[no-untyped-call]
        yield
