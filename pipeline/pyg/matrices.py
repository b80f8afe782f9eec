"""Functions that make a sparse matrix of edges, or take one apart, recorded as one operation.

Comes in: a recorder. Goes out: functions that record themselves, in their places. Torch and PyG sort the entries
first; the order of edges means nothing, so a recording leaves them as they are.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch_geometric.index
import torch_geometric.utils
from torch import Tensor

from pipeline.formula.values import fill
from pipeline.pyg import matrix
from pipeline.pyg.aten_sparse import matrix_of
from pipeline.pyg.recorder import Recorder
from pipeline.pyg.replaced import Function
from pipeline.pyg.symbols import EdgeIndex, Pointers, Refusal, Rows


def matrices(recorder: Recorder) -> dict[Function, Function]:
    """Each of these functions, and what records itself in its place."""
    csr, ptr2index = matrix.csr, torch_geometric.index.ptr2index
    by_csr, by_coo = torch_geometric.utils.to_torch_csr_tensor, torch_geometric.utils.to_torch_coo_tensor
    return {
        csr: _csr(csr, recorder),
        ptr2index: _ptr2index(ptr2index, recorder),
        by_csr: _of_pyg(by_csr, csr, recorder, False),
        by_coo: _of_pyg(by_coo, csr, recorder, True),
        torch_geometric.utils.to_undirected: _refused(torch_geometric.utils.to_undirected, recorder, UNDIRECTED),
    }


UNDIRECTED = Refusal(
    "adds every edge against its direction to edge_index, and joins edges of the same two nodes to one",
    "leave it out of forward, join the rows of the table of edges before, and prepare the graph with undirected=True",
)
ONES = Refusal(
    "makes a matrix in which edges of the same two nodes are one entry of 1, where graphsweep has an edge for each row "
    "of the table",
    "if no two rows have the same nodes, write its values: (edge_index, torch.ones(edge_index.size(1)), size)",
)


def _refused(original: Function, recorder: Recorder, refusal: Refusal) -> Function:
    """A function of PyG that does to the edges what no formula says."""

    @functools.wraps(original)
    def refused(edge_index: Any, *args: Any, **options: Any) -> Any:
        if isinstance(edge_index, Tensor) and isinstance(recorder.symbol(edge_index), EdgeIndex):
            raise recorder.place(original.__name__).error(refusal)
        return original(edge_index, *args, **options)

    return refused


def _csr(original: Function, recorder: Recorder) -> Function:
    @functools.wraps(original)
    def csr(edge_index: Tensor, values: Tensor, nodes: int) -> Tensor:
        with recorder.paused():
            result: Tensor = original(edge_index, values, nodes)
        index = recorder.symbol(edge_index)
        assert isinstance(index, EdgeIndex)
        recorder.say(result, "adj_t", lambda: matrix_of(index.turned(), recorder.symbol(values)))
        return result

    return csr


def _of_pyg(original: Function, csr: Function, recorder: Recorder, coo: bool) -> Function:
    """PyG adds up the values of parallel edges. Here they stay entries of their own, which sums do not notice; of what
    does, the check on other graphs tells."""

    @functools.wraps(original)
    def to_torch_tensor(
        edge_index: Tensor, edge_attr: Tensor | None = None, size: Any = None, is_coalesced: bool = False
    ) -> Tensor:
        index = recorder.symbol(edge_index)
        if isinstance(index, EdgeIndex) and edge_attr is None and not is_coalesced:
            raise recorder.place(original.__name__).error(ONES)
        nodes = size[0] if isinstance(size, tuple | list) else size
        if not isinstance(index, EdgeIndex) or nodes is None:
            plain: Tensor = original(edge_index, edge_attr, size, is_coalesced)
            return plain
        with recorder.paused():
            values = torch.ones(edge_index.size(1)) if edge_attr is None else edge_attr
            made = csr(edge_index.flip(0), values, nodes)
            result: Tensor = made.to_sparse_coo() if coo else made
        known = Rows(fill(1.0, index.edges)) if edge_attr is None else recorder.symbol(edge_attr)
        recorder.say(result, str(original.__name__), lambda: matrix_of(index, known))
        return result

    return to_torch_tensor


def _ptr2index(original: Function, recorder: Recorder) -> Function:
    @functools.wraps(original)
    def ptr2index(ptr: Tensor, output_size: int | None = None) -> Tensor:
        pointers = recorder.symbol(ptr)
        if not isinstance(pointers, Pointers):
            plain: Tensor = original(ptr, output_size)
            return plain
        with recorder.paused():
            result: Tensor = original(ptr, output_size)
        recorder.say(result, "ptr2index", lambda: pointers.end)
        return result

    return ptr2index
