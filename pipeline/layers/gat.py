"""Graph attention. Veličković and others, Graph Attention Networks, 2018.

    x'_i = ‖_heads Σ_{j → i, and i itself} α_ji W x_j + b
    α_ji = softmax_j(LeakyReLU(a_src · W x_j + a_dst · W x_i))

The numbers of torch_geometric.nn.GATConv without edge features.
"""

from __future__ import annotations

from pipeline.formula import Relation, Value, Weights, dot, lane_mean, leaky_relu, linear


def gat(g: Relation, x: Value, w: Weights, heads: int = 1, concat: bool = True, slope: float = 0.2) -> Value:
    """(nodes, in) → (nodes, heads * out), or (nodes, out) if the heads are averaged.

    Weights: lin.weight (heads * out, in), att_src and att_dst (1, heads, out), bias.
    """
    g = g.without_self_loops().with_self_loops()
    h = linear(x, w.below("lin")).heads(heads)
    a_src, a_dst = (w.weight(name).reshape(heads, -1) for name in ("att_src", "att_dst"))
    logits = leaky_relu(g.src(dot(h, a_src)) + g.dst(dot(h, a_dst)), slope)
    y = g.sum(g.softmax(logits) * g.src(h))
    y = y.flat() if concat else lane_mean(y, axis=0)
    bias = w.get("bias")
    return y if bias is None else y + bias
