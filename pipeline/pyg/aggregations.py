"""PyG's aggregations that are not looked into: quantiles are recorded as one operation, others refused by name.

Comes in: a recorder. Goes out: a block in which their forward records itself. An aggregation that is not here is made
of scatters, which the tables know.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn import aggr

from pipeline.formula.values import apply
from pipeline.pyg.layout import tensor_shape, with_value
from pipeline.pyg.recorder import Recorder
from pipeline.pyg.symbols import End, Learned, Refusal, Rows, Symbol

ORDERED = "depends on the order of the edges, which a table does not have"
OTHERS = "use mean, max, std, softmax, median or quantile"
UNEXPRESSED = {
    aggr.LSTMAggregation: (f"runs an LSTM over the neighbours: it {ORDERED}", OTHERS),
    aggr.GRUAggregation: (f"runs a GRU over the neighbours: it {ORDERED}", OTHERS),
    aggr.MLPAggregation: (f"gives the n-th neighbour the n-th weights: it {ORDERED}", OTHERS),
    aggr.PatchTransformerAggregation: (f"cuts the neighbours into patches: it {ORDERED}", OTHERS),
    aggr.LCMAggregation: (f"combines the neighbours in pairs, by a GRU: it {ORDERED}", OTHERS),
    aggr.SortAggregation: ("keeps the k neighbours with the largest last number", OTHERS),
    aggr.SetTransformerAggregation: ("lets all neighbours of a node attend to each other", "use softmax or GATConv"),
    aggr.GraphMultisetTransformer: ("lets all neighbours of a node attend to each other", "use softmax or GATConv"),
    aggr.EquilibriumAggregation: ("solves for its output by gradient descent while it runs", OTHERS),
}


@contextmanager
def aggregations(recorder: Recorder) -> Iterator[None]:
    """Quantiles are recorded as one operation; what no formula expresses says why."""
    quantile = aggr.QuantileAggregation.forward
    replaced: dict[type[torch.nn.Module], Any] = {aggr.QuantileAggregation: _quantile(quantile, recorder)}
    for kind, (problem, remedy) in UNEXPRESSED.items():
        replaced[kind] = _refusing(kind.forward, recorder, Refusal(problem, remedy))
    originals = {kind: kind.forward for kind in replaced}
    for kind, forward in replaced.items():
        kind.forward = forward
    try:
        yield
    finally:
        for kind, forward in originals.items():
            kind.forward = forward


def _refusing(original: Callable[..., Tensor], recorder: Recorder, refusal: Refusal) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def forward(self: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        if isinstance(recorder.symbol(x), Learned):
            return original(self, x, *args, **options)
        raise recorder.stack.place(type(self).__name__).error(refusal)

    return forward


def _quantile(original: Callable[..., Tensor], recorder: Recorder) -> Callable[..., Tensor]:
    """PyG's own sorts over all edges."""

    @functools.wraps(original)
    def forward(
        self: Any, x: Tensor, index: Any = None, ptr: Any = None, dim_size: Any = None, dim: int = -2
    ) -> Tensor:
        rows = recorder.symbol(x)
        if not isinstance(rows, Rows) or not isinstance(index, Tensor):
            return original(self, x, index, ptr, dim_size, dim)
        with recorder.paused():
            result = original(self, x, index, ptr, dim_size, dim)
        recorder.say(result, "quantile", lambda: _quantile_of(self, recorder, rows, index, dim, result))
        return result

    return forward


def _quantile_of(module: Any, recorder: Recorder, rows: Rows, index: Tensor, dim: int, result: Tensor) -> Rows:
    end = need_end(rows, recorder.symbol(index), dim)
    if end.mask is not None:
        raise Refusal("sorts the messages of some edges", "use mean, max or sum for a part of the edges")
    if module.interpolation == "nearest":
        raise Refusal(
            "rounds, between two neighbours, by their place among all edges", "use lower, higher, linear or midpoint"
        )
    q = tuple(map(float, module.q.flatten().tolist()))
    value = apply(
        "quantile", end.facing(rows.value), q=q, interpolation=module.interpolation, empty=float(module.fill_value)
    )
    made = with_value(rows, value)
    if tensor_shape(made, recorder.sizes.count(end.nodes)) != tuple(result.shape):
        raise Refusal("does not give one row per node", "give dim_size=x.size(0)")
    return made


def need_end(rows: Symbol, index: Symbol, dim: int) -> End:
    """The row of edge_index that edge values are grouped by, or a Refusal."""
    if not isinstance(index, End) or not isinstance(rows, Rows):
        raise Refusal("groups rows by something else than a row of edge_index")
    if rows.space != index.edges or dim % rows.rank != rows.axis or rows.before or rows.after:
        raise Refusal(f"groups {rows.space} by an index of {index.edges}")
    return index
