"""A PyTorch Geometric module becomes a program, by being run once.

Comes in: an unmodified module. Goes out: program, weights, and which column each input is. No layer is known by name:
what its forward does to the tensors of a small random graph is recorded, said as a formula, and checked on others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ModelError
from pipeline.formula.program import Program
from pipeline.formula.spaces import Nodes
from pipeline.pyg.arguments import Features, Signature, signature, with_widths
from pipeline.pyg.check import check
from pipeline.pyg.example import examples, tiny_example
from pipeline.pyg.forward import check_ready, check_weights, copy_of, run_forward, uncompiled
from pipeline.pyg.precision import in_float64
from pipeline.pyg.recording import record


def import_module(
    net: torch.nn.Module, inputs: Mapping[str, str] | None = None, features: Features = None, seed: int = 0
) -> tuple[Program, dict[str, npt.NDArray[np.float64]], dict[str, str]]:
    """The program that a module computes, its weights in float64, and program input → table column.

    Parameters
    ----------
    net
        In evaluation mode. It is not changed: everything runs on copies, in float64.
    inputs
        Argument of forward → column, for optional arguments and other names:
        `{"edge_weight": "edges.weight", "pos": "nodes.pos"}`. Required x, edge_index, edge_weight and edge_attr need
        no mention. A forward that takes `data` gets its attributes the same way.
    features
        The width of x, or argument → width, or shape of a row, or range(K) for one integer from 0 to K - 1 in each
        row, such as a category: `{"x": 64, "kind": range(10)}`; several in a row are `(9, range(10))`; bool for a mask,
        which is true where the column is not 0. What is left out is found by trying.
    seed
        Of the random graphs.

    Raises
    ------
    ModelError
        Naming the module, the line and the operation, where the model cannot be said in a formula.
    """
    net = uncompiled(net)
    check_ready(net)
    found = _with_widths(net, signature(net, inputs), features)
    widths = {size for tensor in net.state_dict().values() for size in tensor.shape}
    widths |= {size for argument in found.arguments for size in argument.shape}
    recorded, *others = examples(found.arguments, widths, seed)
    recording = record(net, found, recorded)
    check_weights(recording.weights)
    for other in others:
        check(net, found, recording, other)
    columns = {f"{argument.table}.{argument.name}": argument.column for argument in found.arguments}
    read = {str(column) for column in recording.program.inputs}
    return recording.program, recording.weights, {name: columns[name] for name in columns if name in read}


def _with_widths(net: torch.nn.Module, found: Signature, features: Features) -> Signature:
    widths = {size for tensor in net.state_dict().values() for size in tensor.shape}

    def run(candidate: Signature) -> None:
        shapes = {size for argument in candidate.arguments for size in argument.shape}
        tiny, copied = tiny_example(candidate.arguments, widths | shapes), copy_of(net)
        with in_float64():
            outputs = run_forward(copied, candidate, tiny)
        for name, tensor in outputs.items():
            if tensor.shape[:1] != (tiny.sizes.counts[Nodes()],):
                raise ModelError(f"output {name!r} of the module has shape {tuple(tensor.shape)}, not a row per node")

    return with_widths(net, found, features, run)
