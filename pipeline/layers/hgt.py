"""Heterogeneous graph transformer. Hu, Dong, Wang and Sun, Heterogeneous Graph Transformer, 2020.

    x'_i = β_i · W_out gelu(Σ_{j → i by r} α_ji V_r v_j) + (1 − β_i) · x_i,   β_i = sigmoid(skip of i's type)
    α_ji = softmax_j(p_r · q_i · K_r k_j / √d), over the edges of all relations into i
    k, q, v = W x, by the type of the node

The numbers of torch_geometric.nn.HGTConv.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.errors import FormulaError
from pipeline.formula import Relations, Value, Weights, dot, gelu, linear, sigmoid, take


def hgt(g: Relations, x: Mapping[str, Value], w: Weights, heads: int = 1) -> dict[str, Value]:
    """Node type → (nodes, in), to node type → (nodes, out), for the types that edges lead into.

    Weights: kqv_lin.lins.TYPE (3 * out, in) and out_lin.lins.TYPE (out, out), both with a bias; skip.TYPE (1,);
    k_rel.weight and v_rel.weight (heads * relations, out / heads, out / heads), all relations of the first head first;
    p_rel.SOURCE__RELATION__TARGET (1, heads). Relations in the order of `g`.
    """
    k_rel, v_rel = w.below("k_rel").weight("weight"), w.below("v_rel").weight("weight")
    if k_rel.shape[0] != heads * len(g):
        raise FormulaError(f"hgt: {k_rel.shape[0]} matrices for {heads} heads of {len(g)} relations")
    k, q, v = {}, {}, {}
    for name, value in x.items():
        kqv = linear(value, w.below("kqv_lin").below("lins").below(name))
        k[name], q[name], v[name] = (take(kqv.reshape(3, heads, -1), part) for part in range(3))
    logits, messages = {}, {}
    for number, kind in enumerate(g):
        source, _, target = kind
        key, value = (
            _by_head(part[source], take(matrices, range(number, heads * len(g), len(g))))
            for part, matrices in ((k, k_rel), (v, v_rel))
        )
        prior = w.below("p_rel").weight("__".join(kind)).reshape(heads, 1)
        edges = g[kind]
        logits[kind] = dot(edges.dst(q[target]), edges.src(key)) * prior / math.sqrt(key.shape[-1])
        messages[kind] = edges.src(value)
    shares = g.softmax(logits)
    y = g.sum({kind: shares[kind] * messages[kind] for kind in g})
    return {name: _out(name, value, x[name], w) for name, value in y.items()}


def _by_head(rows: Value, matrices: Value) -> Value:
    """(heads, d) times (heads, d, d), head by head."""
    heads, d = rows.shape
    return (rows.reshape(heads, 1, d) @ matrices).reshape(heads, d)


def _out(name: str, value: Value, x: Value, w: Weights) -> Value:
    y = linear(gelu(value.flat()), w.below("out_lin").below("lins").below(name))
    if y.shape != x.shape:
        return y
    share = sigmoid(w.below("skip").weight(name))
    return share * y + (1.0 - share) * x
