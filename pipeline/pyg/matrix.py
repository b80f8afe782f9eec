"""The edges as a sparse matrix: what a forward is given whose argument is PyG's `adj_t`.

Comes in: the edges of an example, and what the values are. Goes out: a torch.sparse_csr matrix whose rows are the dst
and whose columns are the src of edges, as PyG's ToSparseTensor makes it. Parallel edges are entries of their own.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from pipeline.pyg.arguments import GCN_NORM, Matrix


def matrix_of(matrix: Matrix, edge_index: Tensor, column: Tensor | None, nodes: int) -> Tensor:
    """(nodes, nodes): an argument of forward. `column`: (edges,), if the values are those of a column."""
    if matrix.values == GCN_NORM:
        edge_index, column = gcn_norm(edge_index, None, nodes, dtype=torch.get_default_dtype())
    if column is None:
        column = torch.ones(edge_index.size(1), dtype=torch.get_default_dtype())
    return csr(edge_index, column, nodes)


def csr(edge_index: Tensor, values: Tensor, nodes: int) -> Tensor:
    """The matrix of (2, edges) src and dst, with a value each. A recording knows this function as a whole."""
    src, dst = edge_index
    order = torch.argsort(dst * nodes + src, stable=True)
    rows = torch.zeros(nodes + 1, dtype=torch.int64).index_add(0, dst + 1, torch.ones_like(dst)).cumsum(0)
    return compressed(rows, src[order], values[order], nodes)


def compressed(rows: Tensor, columns: Tensor, values: Tensor, nodes: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(rows, columns, values, (nodes, nodes), check_invariants=False)
