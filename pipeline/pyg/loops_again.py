"""Self-loops that are added to edges which have added ones already, as BernNet and ChebNetII do: (1 + c) x at a node.

Comes in: a recorder. Goes out: PyG's add_self_loops, which then adds the value to that of the first loops, and no edge.
A sum over the edges, of messages that are their value times a row, is the same; of any other use, the check of an
import on other graphs tells. Knows nothing of layers.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch_geometric.utils
from torch import Tensor

from pipeline.formula.spaces import BASE_PART
from pipeline.pyg.aten_join import TWICE
from pipeline.pyg.recorder import Recorder
from pipeline.pyg.replaced import Function
from pipeline.pyg.symbols import EdgeIndex


def loops_again(recorder: Recorder) -> dict[Function, Function]:
    """The function, and what stands in its place."""
    original = torch_geometric.utils.add_self_loops

    @functools.wraps(original)
    def add_self_loops(
        edge_index: Tensor, edge_attr: Any = None, fill_value: Any = None, num_nodes: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        index = recorder.symbol(edge_index)
        value = 1.0 if fill_value is None else fill_value
        known = isinstance(num_nodes, int) and isinstance(value, int | float)
        again = isinstance(index, EdgeIndex) and index.edges.part in BASE_PART and index.axis == 0
        if not (known and again and isinstance(edge_attr, Tensor) and edge_attr.dim() == 1):
            result: tuple[Tensor, Tensor | None] = original(edge_index, edge_attr, fill_value, num_nodes)
            return result
        recorder.unconfirmed = recorder.place("add_self_loops").error(TWICE)
        none = edge_attr.new_zeros(edge_attr.size(0) - num_nodes)
        return edge_index, edge_attr + torch.cat([none, edge_attr.new_full((num_nodes,), float(value))])

    return {original: add_self_loops}
