"""Where in the user's model an operation is: the module's path, and the line of Python.

Comes in: a module while it runs. Goes out: a Place for each operation, and the error that names it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from pipeline.errors import ModelError
from pipeline.pyg.symbols import Refusal

CANNOT = "cannot import this model: "
# aten's inner names → what people call them
SPOKEN = {"_local_scalar_dense": "item", "_to_copy": "to", "_unsafe_view": "view", "_index_put_impl": "index_put"}
LIBRARIES = ("torch.", "torch_geometric.", "pipeline.pyg.", "contextlib")


@dataclass(frozen=True)
class Place:
    """One operation of a module: "conv1 (GCNConv)", "model.py:31", "scatter_add_"."""

    module: str
    line: str
    operation: str

    def __str__(self) -> str:
        return f"{self.module}, {self.line}, {self.operation}"

    def error(self, refusal: Refusal) -> ModelError:
        return ModelError(f"{CANNOT}{self} {refusal.problem}; {refusal.remedy}")


class ModuleStack:
    """The path of the module whose forward is running."""

    def __init__(self, net: torch.nn.Module):
        self._names = {id(module): name for name, module in net.named_modules()}
        self._running: list[str] = []
        self._kind = type(net).__name__

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Keeps the path up to date while the block runs."""

        def enter(module: torch.nn.Module, _: Any) -> None:
            name, kind = self._names.get(id(module)), type(module).__name__
            if name is None:  # made inside forward
                name = "(unnamed)"
            self._running.append(f"{name} ({kind})" if name else kind)

        def leave(module: torch.nn.Module, _: Any, __: Any) -> None:
            if self._running:  # with always_call, also for the modules that an error leaves
                self._running.pop()

        handles = (register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._running.clear()

    def place(self, operation: str) -> Place:
        """Where we are now."""
        spoken = SPOKEN.get(operation, operation.lstrip("_"))
        return Place(self._running[-1] if self._running else self._kind, _line(), spoken)


def _line() -> str:
    """The innermost line outside the libraries, within this import; else the innermost line of PyG, else of torch."""
    innermost: dict[str, FrameType] = {}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "") + "."
        if name == "pipeline.pyg.forward." and frame.f_code.co_name == "run_forward":
            break  # further out is the code that called the import, not the model
        if not name.startswith(LIBRARIES):
            return place_of(frame)
        innermost.setdefault(name.partition(".")[0], frame)
        frame = frame.f_back
    found = innermost.get("torch_geometric") or innermost.get("torch")
    return place_of(found) if found is not None else "(unknown line)"


def place_of(frame: FrameType) -> str:
    """Such as model.py:31"""
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
