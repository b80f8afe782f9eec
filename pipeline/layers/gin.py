"""Graph isomorphism network. Xu, Hu, Leskovec and Jegelka, How Powerful are Graph Neural Networks?, 2019.

    x'_i = MLP((1 + ε) x_i + Σ_{j → i} x_j)

The numbers of torch_geometric.nn.GINConv around Sequential(Linear, ReLU, Linear).
"""

from __future__ import annotations

from pipeline.formula import Relation, Value, Weights, linear, relu


def gin(g: Relation, x: Value, w: Weights, eps: float = 0.0) -> Value:
    """(nodes, in) → (nodes, out).

    Weights: nn.0.weight (hidden, in), nn.0.bias (hidden,), nn.2.weight (out, hidden), nn.2.bias (out,), and eps (1,)
    where it was learned.
    """
    learned = w.get("eps")
    own = x * (1.0 + eps) if learned is None else x * (1.0 + learned)
    h = linear(own + g.sum(g.src(x)), w.below("nn.0"))
    return linear(relu(h), w.below("nn.2"))
