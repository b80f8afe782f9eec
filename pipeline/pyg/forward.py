"""Running a module's own forward, on a copy: the user's module is never touched.

Comes in: a module, an example graph. Goes out: its outputs by name. Knows nothing of recording.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.parameter import UninitializedParameter

from pipeline.errors import ModelError
from pipeline.formula.spaces import Nodes
from pipeline.pyg.arguments import Signature
from pipeline.pyg.asked import Attributes, GivenData
from pipeline.pyg.example import Example
from pipeline.pyg.matrix import matrix_of
from pipeline.pyg.typed_forward import arguments_of, lost_types, named_by_type


class ForwardFailed(ModelError):
    """The module's own forward raised an error."""


def check_ready(net: Any) -> None:
    """ModelError for what can be said without running the module."""
    if not isinstance(net, torch.nn.Module):
        hint = f"; {net.__name__} is a class: make one, with its trained weights" if isinstance(net, type) else ""
        raise ModelError(f"a torch.nn.Module is expected, not {type(net).__name__}{hint}")
    if isinstance(net, torch.jit.ScriptModule):
        raise ModelError("a TorchScript module hides its operations: import the module that it was made from")
    training = [name or type(net).__name__ for name, module in net.named_modules() if module.training]
    if training:
        raise ModelError(f"the module is in training mode ({some(training)}): call net.eval() first")
    empty = [name for name, tensor in [*net.named_parameters(), *net.named_buffers()] if tensor.is_meta]
    if empty:
        raise ModelError(f"weights on the device meta, which hold no numbers ({some(empty)}): load them first")
    lazy = [name for name, tensor in net.named_parameters() if isinstance(tensor, UninitializedParameter)]
    if lazy:
        raise ModelError(f"weights without a shape yet ({some(lazy)}): run the module once, or load its weights")


def check_weights(weights: Mapping[str, npt.NDArray[np.float64]]) -> None:
    """ModelError for NaN among the weights that a program reads. Others may hold anything: PyG's RGATConv leaves one
    that it does not use as the memory was."""
    bad = [name for name, array in weights.items() if not np.isfinite(array).all()]
    if bad:
        raise ModelError(f"weights that hold NaN or infinity: {some(bad)}")


def uncompiled(net: Any) -> Any:
    """What torch.compile was given; other modules as they are."""
    return getattr(net, "_orig_mod", net)


def copy_of(net: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64 on the CPU, without what convolutions with cached=True remember of another graph."""
    return copied(net).double()


def copied(net: torch.nn.Module) -> torch.nn.Module:
    """The same, in the module's own precision."""
    memory: dict[int, Any] = {}
    for module in net.modules():
        for name, item in vars(module).items():
            if name.startswith("_cached") and item is not None:
                memory[id(item)] = None  # deepcopy takes this for its copy
    try:
        return copy.deepcopy(net, memory).to("cpu")
    except (TypeError, RuntimeError) as error:
        raise ModelError(f"the module cannot be copied: {error}") from error


def run_forward(net: torch.nn.Module, signature: Signature, example: Example) -> dict[str, Tensor]:
    """The outputs of one forward, by name. Unanswered if it takes `data` and asks it for what nobody told."""
    if signature.types.is_typed:
        return run_typed(net, signature, example)
    nodes = example.sizes.counts[Nodes()]
    arguments: dict[str, Any] = dict(example.columns)
    for matrix in signature.matrices:
        column = arguments.pop(matrix.name, None)
        arguments[matrix.name] = matrix_of(matrix, example.edge_index, column, nodes)
    arguments |= dict.fromkeys(signature.indices, example.edge_index)
    attributes: Attributes | None = None
    if signature.as_data:
        rows = next((arguments[a.name] for a in example.arguments if isinstance(a.space, Nodes)), nodes)
        attributes = Attributes(arguments, signature.none, rows, signature.as_data)
        arguments = {signature.as_data: GivenData.of(attributes)}
    else:
        arguments |= dict.fromkeys(signature.none)
    try:
        result = net(**arguments)
    except ModelError:
        raise
    except Exception as error:
        if attributes is not None:
            attributes.check()  # what is not there is why
        shapes = {argument.name: argument.shape for argument in signature.arguments}
        raise ForwardFailed(
            f"forward of {type(net).__name__} failed on an example graph with rows of {shapes}: "
            f"{type(error).__name__}: {error}"
            + (f"; it was not given {', '.join(signature.left_out)}" if signature.left_out else "")
        ) from error
    if attributes is not None:
        attributes.check()
    return named_outputs(result)


def run_typed(net: torch.nn.Module, signature: Signature, example: Example) -> dict[str, Tensor]:
    """The same of a module with several types."""
    arguments = arguments_of(signature, example)
    lost: dict[str, str] = {}
    try:
        with lost_types(net, signature.types.nodes, lost):
            result = net(**arguments)
    except ModelError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        why = "".join(
            f"; {part} gives nothing of node type {name!r}, which later parts lack" for name, part in lost.items()
        )
        shapes = {argument.name: argument.shape for argument in signature.arguments}
        raise ForwardFailed(
            f"forward of {type(net).__name__} failed on an example graph with rows of {shapes}: {said}{why}"
            + (f"; it was not given {', '.join(signature.left_out)}" if signature.left_out else "")
        ) from error
    return named_by_type(result, signature.types.nodes)


def named_outputs(result: Any) -> dict[str, Tensor]:
    """One tensor is "embedding"; several go by their keys, fields or positions."""
    if isinstance(result, Tensor):
        return {"embedding": result}
    if isinstance(result, Mapping):
        named = {str(key): item for key, item in result.items()}
    elif isinstance(result, tuple) and hasattr(result, "_fields"):
        named = dict(zip(result._fields, result, strict=True))
    elif isinstance(result, tuple | list):
        named = {f"output_{position}": item for position, item in enumerate(result)}
    else:
        raise ModelError(f"forward returned {type(result).__name__}; a tensor, or several by name, is expected")
    for name, item in named.items():
        if not isinstance(item, Tensor):
            raise ModelError(f"output {name!r} of forward is {type(item).__name__}, not a tensor")
    if not named:
        raise ModelError("forward returned nothing")
    return named


def some(names: Sequence[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
