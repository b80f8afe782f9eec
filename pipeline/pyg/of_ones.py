"""A matrix of ones that was taken as edge_index: a sentence where the matrix itself would give other numbers.

Comes in: a module that was imported with edge_index in place of a matrix. Goes out: notes. PyG's layers take both. But
where a node has an edge to itself, they add a second one if they normalise a torch.sparse matrix, and none if they
normalise edge_index or a torch_sparse.SparseTensor, which is what OGB's scripts were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.pyg.arguments import Matrix, Signature
from pipeline.pyg.copies import copy_of
from pipeline.pyg.example import Example
from pipeline.pyg.forward import run_forward
from pipeline.pyg.precision import in_float64
from pipeline.pyg.same import same


def ones_notes(net: torch.nn.Module, found: Signature, ones: Sequence[Matrix], example: Example) -> list[str]:
    """`found`: in which edge_index stands for the matrices `ones`. `example`: without parallel edges, of which a matrix
    may have one entry."""
    names = [matrix.name for matrix in ones]
    indices = tuple(name for name in found.indices if name not in names)
    try:
        as_edges = _outputs(net, found, example)
        as_matrix = _outputs(net, replace(found, indices=indices, matrices=(*found.matrices, *ones)), example)
    except ModelError:
        return []  # it does not run on a torch.sparse matrix: nobody has trained it with one
    if all(same(as_edges[key].double().numpy(), as_matrix[key].double().numpy()) for key in as_edges):
        return []
    return [
        f"{' and '.join(names)} was taken as edge_index, or a torch_sparse.SparseTensor of it: of a torch.sparse "
        "matrix the module gives other numbers (PyG's layers then add a second self-loop to a node that has one); if "
        "yours is a torch.sparse matrix, give ('edge_index', 'edges.COLUMN') with a column of 1"
    ]


def _outputs(net: torch.nn.Module, signature: Signature, example: Example) -> dict[str, Tensor]:
    copied = copy_of(net)
    with in_float64():
        return run_forward(copied, signature, example.fresh())
