"""PyG's coalesce inside forward: edges of the same two nodes become one, and their values are added up, say.

Comes in: a recorder. Goes out: coalesce, which then leaves the edges as they are. A sum of values times rows is the
same, and so is a maximum over the neighbours; of any other use, the check of an import tells, on other graphs that have
parallel edges and parallel self-loops. Knows nothing of layers.
"""

from __future__ import annotations

import functools
from typing import Any

import torch_geometric.utils
from torch import Tensor

from pipeline.pyg.recorder import Recorder
from pipeline.pyg.replaced import Function
from pipeline.pyg.symbols import EdgeIndex, Refusal

PARALLEL = Refusal(
    "joins edges of the same two nodes to one, where graphsweep has an edge for each row of the table, and what is "
    "computed of them differs",
    "leave it out of forward, and join the rows of the table of edges before",
)


def merged_edges(recorder: Recorder) -> dict[Function, Function]:
    """The function, and what stands in its place."""
    original = torch_geometric.utils.coalesce

    @functools.wraps(original)
    def coalesce(edge_index: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(edge_index, Tensor) or not isinstance(recorder.symbol(edge_index), EdgeIndex):
            return original(edge_index, *args, **options)
        recorder.unconfirmed = recorder.place("coalesce").error(PARALLEL)
        recorder.merges = True
        given = args[:1] or [options[name] for name in ("edge_attr",) if name in options]
        return (edge_index, *given) if given and not isinstance(given[0], str) else edge_index

    return {original: coalesce}
