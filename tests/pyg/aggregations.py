"""Which reductions PyG's aggregations become when they are imported and planned: the second table of COVERAGE.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch_geometric import nn
from torch_geometric.nn import aggr

from pipeline.lowering.lower import lower
from pipeline.pyg import import_module
from tests.reductions import REDUCING

WIDTH = 16


@dataclass(frozen=True)
class Aggregated:
    """A module, and the arguments per edge that it is imported with."""

    make: Callable[[], torch.nn.Module]
    edges: dict[str, object]


def _of(make: Callable[[], torch.nn.Module]) -> Aggregated:
    return Aggregated(lambda: nn.SimpleConv(aggr=make()), {})


AGGREGATIONS = {
    "SumAggregation": _of(aggr.SumAggregation),
    "MeanAggregation": _of(aggr.MeanAggregation),
    "MulAggregation": _of(aggr.MulAggregation),
    "MaxAggregation": _of(aggr.MaxAggregation),
    "MinAggregation": _of(aggr.MinAggregation),
    "VarAggregation": _of(aggr.VarAggregation),
    "StdAggregation": _of(aggr.StdAggregation),
    "PowerMeanAggregation": _of(aggr.PowerMeanAggregation),
    "VariancePreservingAggregation": _of(aggr.VariancePreservingAggregation),
    "DeepSetsAggregation": _of(lambda: aggr.DeepSetsAggregation(torch.nn.Linear(WIDTH, WIDTH))),
    "MedianAggregation": _of(aggr.MedianAggregation),
    "QuantileAggregation": _of(lambda: aggr.QuantileAggregation([0.25, 0.5])),
    "SoftmaxAggregation": _of(aggr.SoftmaxAggregation),
    "AttentionalAggregation": _of(lambda: aggr.AttentionalAggregation(torch.nn.Linear(WIDTH, 1))),
    "Set2Set": _of(lambda: aggr.Set2Set(WIDTH, 2)),
    "utils.add_remaining_self_loops": Aggregated(lambda: nn.GCNConv(WIDTH, 8), {"edge_weight": ()}),
}


# Which nothing of PyG becomes, and why.
NO_AGGREGATION = {
    "logsumexp": "formulas only: PyTorch has no scatter of it; written with scatters it is `max` and `sum`",
    "softmax_state": "attention over several types of edges with one softmax, HGTConv's say: the softmax of each",
}


def table() -> str:
    """Reduction by reduction, what becomes it."""
    found: dict[str, list[str]] = {name: [] for name in REDUCING}
    for name, aggregated in AGGREGATIONS.items():
        torch.manual_seed(0)
        columns = {key: f"edges.{key}" for key in aggregated.edges}
        features = {"x": WIDTH, **aggregated.edges}
        program, weights, _ = import_module(aggregated.make().eval(), inputs=columns, features=features)
        for op in {value.op for value in lower(program, weights)[0].values} & REDUCING.keys():
            # a weighted degree and a convolution are sums beside it
            if not aggregated.edges or op == "last":
                found[op].append(name)
    return "\n".join(f"| `{op}` | {', '.join(names) or NO_AGGREGATION[op]} |" for op, names in found.items())
