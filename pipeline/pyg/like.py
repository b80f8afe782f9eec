"""`like=` of an import: a HeteroData, or a graph of ours as one without rows.

Comes in: what the user gives. Goes out: a HeteroData that has the types and columns; a column whose width is known is a
tensor. Knows nothing of tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch_geometric.data import HeteroData

from pipeline.errors import ModelError
from pipeline.pyg.types import triple
from pipeline.schema import EDGE, NODE, EdgeType

UNKNOWN = "width not known"


def data_like(like: Any) -> HeteroData:
    """ModelError for anything else, and for a graph without types."""
    if isinstance(like, HeteroData):
        return like
    widths = getattr(like, "widths", None)
    if not isinstance(widths, Mapping):
        raise ModelError(f"like is {type(like).__name__}; a HeteroData, a Graph or a prepared graph is expected")
    if set(widths) == {NODE, EDGE}:
        raise ModelError("like is a graph without types; it tells nothing of a module with several types")
    data = HeteroData()
    for kind, columns in widths.items():
        store = data[triple(kind) if isinstance(kind, EdgeType) else kind]
        if isinstance(kind, EdgeType):
            store["edge_index"] = torch.empty((2, 0), dtype=torch.int64)
        else:
            store["num_nodes"] = 0
        for name, width in columns.items():
            # one number in a row is (rows,) for some modules and (rows, 1) for others: that is found by trying
            store[name] = torch.empty((0, width)) if width is not None and width > 1 else UNKNOWN
    return data
