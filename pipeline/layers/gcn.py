"""Graph convolution. Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017.

    x'_i = Σ_{j → i, and i itself} e_ji / sqrt(d_i d_j) · W x_j + b        d_i = Σ_{j → i, and i itself} e_ji

The numbers of torch_geometric.nn.GCNConv with its defaults.
"""

from __future__ import annotations

from pipeline.formula import Relation, Value, Weights, apply, linear, where


def gcn(g: Relation, x: Value, w: Weights, edge_weight: str | None = None) -> Value:
    """(nodes, in) → (nodes, out).

    Weights: lin.weight (out, in), bias (out,). `edge_weight` names an edge column of one number; without it e = 1.
    """
    g = g.with_remaining_self_loops()
    e = g.ones() if edge_weight is None else g.edge(edge_weight).reshape()
    d = g.sum(e)
    scale = d**-0.5
    scale = where(apply("isinf", scale), 0.0, scale)
    norm = g.src(scale) * e * g.dst(scale)
    y = g.sum(norm.reshape(1) * g.src(linear(x, w.lin)))
    bias = w.get("bias")
    return y if bias is None else y + bias
