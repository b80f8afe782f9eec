"""R-GCN. Schlichtkrull and others, Modeling Relational Data with Graph Convolutional Networks, 2018.

    x'_i = W_root x_i + Σ_relations W_r · mean_{j → i by r} x_j + b

The numbers of torch_geometric.nn.RGCNConv without bases and blocks, each relation an edge type.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import FormulaError
from pipeline.formula import Relations, Value, Weights, take


def rgcn(g: Relations, x: Mapping[str, Value], w: Weights, aggr: str = "mean") -> dict[str, Value]:
    """Node type → (nodes, in), to node type → (nodes, out), for all types of the graph.

    Weights: weight (relations, in, out), in the order of `g`; root (in, out) and bias (out,), if the module has them.
    """
    weight, root, bias = w.weight("weight"), w.get("root"), w.get("bias")
    if weight.shape[0] != len(g):
        raise FormulaError(f"rgcn: {weight.shape[0]} matrices for {len(g)} relations; one for each is expected")
    if aggr not in ("mean", "sum"):
        raise FormulaError(f"rgcn: unknown aggr {aggr!r}; it has mean and sum")
    y: dict[str, Value] = {} if root is None else {name: value @ root for name, value in x.items()}
    for number, (kind, edges) in enumerate(g.items()):
        source, _, target = kind
        messages = edges.src(x[source])
        part = (edges.mean if aggr == "mean" else edges.sum)(messages) @ take(weight, number)
        y[target] = y[target] + part if target in y else part
    return y if bias is None else {name: value + bias for name, value in y.items()}
