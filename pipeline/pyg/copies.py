"""Copies of a module: everything is run on copies, and the user's module is never touched.

Comes in: a module as its owner left it. Goes out: one that shares no parameter, buffer, hook or other module with it.
Python's deepcopy refuses what a net that was just trained often holds: tensors with a history (the attention that a
layer keeps, the weight that spectral_norm computed), locks, loggers, iterators. The first are copied without their
history, the others are shared: no number of a forward is in them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType, TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch_geometric.nn import DataParallel as PyGDataParallel

from pipeline.errors import ModelError

WRAPPERS = (DataParallel, DistributedDataParallel, PyGDataParallel, AveragedModel)  # what they hold is the model
MOST_SHARED = 1000  # attributes that cannot be copied: each costs another copy of what comes before it


def unwrapped(net: Any) -> Any:
    """What torch.compile, DataParallel and the like were given; other modules as they are."""
    while True:
        inner = getattr(net, "_orig_mod", None)
        if inner is None and isinstance(net, WRAPPERS):
            inner = net.module
        if inner is None:
            return net
        net = inner


def copy_of(net: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64 on the CPU, without what convolutions with cached=True remember of another graph."""
    return copied(net).double()


def copied(net: torch.nn.Module) -> torch.nn.Module:
    """The same, in the module's own precision."""
    shared: list[Any] = []
    while True:
        try:
            return _copied(net, shared).to("cpu")
        except MemoryError:
            raise
        except Exception as error:  # deepcopy runs methods of any class that the module holds
            item = _refused(error.__traceback__)
            known = any(item is each for each in shared)
            if item is None or isinstance(item, torch.nn.Module) or known or len(shared) == MOST_SHARED:
                what = type(net if item is None else item).__name__
                raise ModelError(
                    f"the module cannot be copied: {what} raises {type(error).__name__}: {error}; "
                    "import a module without it, made anew and given the weights by load_state_dict"
                ) from error
            shared.append(item)


def _copied(net: torch.nn.Module, shared: Iterable[Any]) -> torch.nn.Module:
    """`memory` is deepcopy's own: id → what it takes for the copy."""
    memory: dict[int, Any] = {id(item): _without_history(item) for item in shared}
    closures: dict[int, FunctionType] = {}
    for module in net.modules():
        for name, item in vars(module).items():
            if name.startswith("_cached") and item is not None:
                memory[id(item)] = None
            closures |= {id(each): each for each in _functions(item) if each.__closure__}
    # deepcopy shares functions: a lambda or a hook that names a part of the net would run the user's own
    made = {number: _reclosed(function) for number, function in closures.items()}
    memory |= made
    found = copy.deepcopy(net, memory)
    for number, function in closures.items():
        for cell, other in zip(function.__closure__ or (), made[number].__closure__ or (), strict=True):
            if cell != CellType():
                other.cell_contents = copy.deepcopy(cell.cell_contents, memory)
    return found


def _functions(item: Any) -> Iterator[FunctionType]:
    """An attribute that is a function, or holds some: a hook, a list of activations."""
    held = item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else (item,)
    return (each for each in held if isinstance(each, FunctionType))


def _reclosed(function: FunctionType) -> FunctionType:
    """The same function over empty cells."""
    cells = tuple(CellType() for _ in function.__closure__ or ())
    found = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    found.__kwdefaults__ = function.__kwdefaults__
    vars(found).update(vars(function))
    return found


def _without_history(item: Any) -> Any:
    return item.detach().clone() if isinstance(item, Tensor) else item


def _refused(trace: TracebackType | None) -> Any:
    """The innermost object that deepcopy was at when it failed."""
    found = None
    while trace is not None:
        if trace.tb_frame.f_code is copy.deepcopy.__code__:
            found = trace.tb_frame.f_locals.get("x")
        trace = trace.tb_next
    return found
