"""Graph attention whose ranking depends on the target. Brody, Alon and Yahav, How Attentive are Graph Attention
Networks?, 2022.

    x'_i = ‖_heads Σ_{j → i, and i itself} α_ji W_l x_j + b
    α_ji = softmax_j(a · LeakyReLU(W_l x_j + W_r x_i + W_e e_ji))

The numbers of torch_geometric.nn.GATv2Conv; the e of an added self-loop is the mean over the edges into the node.
"""

from __future__ import annotations

from pipeline.formula import Relation, Value, Weights, dot, lane_mean, leaky_relu, linear


def gatv2(
    g: Relation,
    x: Value,
    w: Weights,
    heads: int = 1,
    concat: bool = True,
    slope: float = 0.2,
    edge_feature: str | None = None,
) -> Value:
    """(nodes, in) → (nodes, heads * out), or (nodes, out) if the heads are averaged.

    Weights: lin_l and lin_r .weight (heads * out, in) and .bias, att (1, heads, out), bias; with an edge column also
    lin_edge.weight (heads * out, its width).
    """
    g = g.without_self_loops()
    g = g.with_self_loops(**({edge_feature: g.mean(g.edge(edge_feature))} if edge_feature else {}))
    left, right = (linear(x, w.below(name)).heads(heads) for name in ("lin_l", "lin_r"))
    mixed = g.src(left) + g.dst(right)
    if edge_feature is not None:
        mixed = mixed + linear(g.edge(edge_feature), w.below("lin_edge")).heads(heads)
    logits = dot(leaky_relu(mixed, slope), w.weight("att").reshape(heads, -1))
    y = g.sum(g.softmax(logits) * g.src(left))
    y = y.flat() if concat else lane_mean(y, axis=0)
    bias = w.get("bias")
    return y if bias is None else y + bias
