"""Running a module's own forward, on a copy: the user's module is never touched.

Comes in: a module, an example graph. Goes out: its outputs by name. Knows nothing of recording.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.parameter import UninitializedParameter
from torch_geometric.loader.neighbor_sampler import EdgeIndex as SampledEdges

from pipeline import shown
from pipeline.errors import ModelError
from pipeline.formula.spaces import Nodes
from pipeline.pyg.arguments import Signature
from pipeline.pyg.asked import Attributes, GivenData
from pipeline.pyg.called import FORWARD, Called
from pipeline.pyg.example import Example
from pipeline.pyg.matrix import matrix_of
from pipeline.pyg.outputs import named_outputs
from pipeline.pyg.typed_forward import arguments_of, lost_types, named_by_type
from pipeline.pyg.untold import BATCHES


class ForwardFailed(ModelError):
    """The module's own forward raised an error."""


def check_ready(net: Any) -> None:
    """ModelError for what can be said without running the module."""
    if not isinstance(net, torch.nn.Module):
        hint = ""
        if isinstance(net, type):
            hint = f"; {net.__name__} is a class: make one, with its trained weights"
        elif isinstance(net, Mapping):
            hint = "; if these are weights, make the module and load them: net.load_state_dict(…)"
        elif isinstance(net, str | os.PathLike):
            hint = "; of a checkpoint make the module and load it, or use graphsweep export MODULE:FACTORY --checkpoint"
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


def run_forward(net: torch.nn.Module, signature: Signature, example: Example) -> dict[str, Tensor]:
    """The outputs of one forward, by name. Unanswered if it takes `data` and asks it for what nobody told."""
    if signature.by_type:
        return run_typed(net, signature, example)
    return named_outputs(run_whole(net, signature, example), signature.outputs)


def run_whole(net: torch.nn.Module, signature: Signature, example: Example) -> Any:
    """What one forward returns."""
    arguments: dict[str, Any] = given_to(signature, example)
    for name in signature.tables:
        _put(net, name, arguments.pop(name))
    attributes: Attributes | None = None
    if signature.as_data:
        nodes = example.sizes.counts[signature.nodes]
        rows = next((arguments[a.name] for a in example.arguments if isinstance(a.space, Nodes)), nodes)
        own = {name: arguments.pop(name) for name in arguments.keys() & signature.called.named.keys()}
        attributes = Attributes(arguments, signature.none, rows, signature.as_data)
        arguments = {signature.as_data: GivenData.of(attributes), **own}
    else:
        arguments |= dict.fromkeys(signature.none)
    try:
        result = _call(net, signature.called, arguments)
    except ModelError:
        raise
    except Exception as error:
        if attributes is not None:
            attributes.check(error)  # what is not there is why
        raise ForwardFailed(_failed(net, signature, error)) from error
    if attributes is not None:
        attributes.check()
    return result


def given_to(signature: Signature, example: Example) -> dict[str, Any]:
    """Parameter, or attribute of data → what it is given."""
    nodes = example.sizes.counts[signature.nodes]
    given: dict[str, Any] = dict(example.columns)
    for matrix in signature.matrices:
        column = given.pop(matrix.name, None)
        given[matrix.name] = matrix_of(matrix, example.edge_index, column, nodes)
    if signature.indices:
        given |= dict.fromkeys(signature.indices, example.edge_index)
    given |= {name: example.edge_indices[edge_type] for name, edge_type in signature.edge_sets}
    given |= dict(signature.constants) | dict.fromkeys(signature.counts, nodes)
    for name, layers in signature.adjs:
        edges = torch.arange(example.edge_index.size(1))
        given[name] = [SampledEdges(example.edge_index, edges, (nodes, nodes)) for _ in range(layers)]
    return given


def _put(net: torch.nn.Module, name: str, rows: Tensor) -> None:
    """Rows in the place of a parameter."""
    path, _, own = name.rpartition(".")
    owner = net.get_submodule(path)
    owner._parameters.pop(own, None)
    setattr(owner, own, rows)


def _call(net: torch.nn.Module, called: Called, arguments: Mapping[str, Any]) -> Any:
    method = net if called.method == FORWARD else getattr(net, called.method)
    if called.by_position:
        return method(*(arguments[name] for name in called.parameters if name in arguments))
    return method(**arguments)


def _failed(net: torch.nn.Module, signature: Signature, error: Exception) -> str:
    shapes = {argument.name: argument.shape for argument in signature.arguments}
    return (
        _needs_batch(net, signature, error)
        + f"forward of {type(net).__name__} failed on an example graph with rows of {shapes}: "
        f"{type(error).__name__}: {error}"
        + (f"; it was not given {', '.join(signature.left_out)}" if signature.left_out else "")
        + _if_data(signature, error)
        + "".join(_sampled(name) for name, _ in signature.adjs)
    )


def _needs_batch(net: torch.nn.Module, signature: Signature, error: Exception) -> str:
    """The reason, where forward takes a batch that is None for a tensor."""
    batch = next((name for name in signature.none if name in BATCHES), None)
    if batch is None or not isinstance(error, AttributeError | TypeError) or "NoneType" not in str(error):
        return ""
    return (
        f"{type(net).__name__} does not take None for {batch}, the number of each node's graph: it sorts or counts the "
        "nodes by their graph, which a formula cannot; import a module that takes all nodes for one graph; "
    )


def _sampled(name: str) -> str:
    return (
        f"; {name} is given (edge_index, e_id, size) for each layer, as PyG's NeighborSampler does: if forward takes "
        "matrices, import a module whose forward(x, edge_index) gives its layers edge_index in their place"
    )


def _if_data(signature: Signature, error: Exception) -> str:
    """A remedy, where forward takes a tensor for an object with attributes."""
    names = [argument.name for argument in signature.arguments if argument.name in signature.called.named]
    if not isinstance(error, AttributeError) or not isinstance(error.obj, Tensor) or len(names) != 1:
        return ""
    return f"; if {names[0]!r} is a Data object, give inputs={{{names[0]!r}: 'data'}}"


def run_typed(net: torch.nn.Module, signature: Signature, example: Example) -> dict[str, Tensor]:
    """The same of a module with several types."""
    arguments = arguments_of(signature, example)
    for name in signature.tables:
        _put(net, name, example.columns[name])
    lost: dict[str, str] = {}
    try:
        with lost_types(net, signature.types.nodes, lost):
            result = _call(net, signature.called, arguments)
    except ModelError:
        raise
    except Exception as error:
        why = "".join(
            f"; {part} gives nothing of node type {name!r}, which later parts lack" for name, part in lost.items()
        )
        raise ForwardFailed(_failed(net, signature, error) + why) from error
    return named_by_type(result, signature.types, signature.outputs)


def some(names: Sequence[str]) -> str:
    """The first few of some names."""
    return shown.some(names, 5)
