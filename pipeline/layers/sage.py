"""GraphSAGE. Hamilton, Ying and Leskovec, Inductive Representation Learning on Large Graphs, 2017.

    x'_i = W_l · aggr_{j → i} x_j + W_r x_i + b

The numbers of torch_geometric.nn.SAGEConv with aggr mean, max or sum.
"""

from __future__ import annotations

from pipeline.errors import FormulaError, nearest
from pipeline.formula import Relation, Value, Weights, linear


def sage(g: Relation, x: Value, w: Weights, aggr: str = "mean") -> Value:
    """(nodes, in) → (nodes, out).

    Weights: lin_l.weight (out, in), lin_l.bias (out,), lin_r.weight (out, in).
    """
    reductions = {"mean": g.mean, "max": g.max, "sum": g.sum}
    if aggr not in reductions:
        raise FormulaError(f"sage: unknown aggr {aggr!r}; {nearest(aggr, reductions)}")
    y = linear(reductions[aggr](g.src(x)), w.below("lin_l"))
    return y + linear(x, w.below("lin_r")) if w.has("lin_r") else y
