"""Models as formulas, for tests: one of each kind of thing that a plan has to get right."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.formula import (
    Relation,
    Value,
    Weights,
    apply,
    batch_norm,
    concat,
    dot,
    exp,
    flip,
    leaky_relu,
    linear,
    maximum,
    relu,
    sigmoid,
    spread,
    sqrt,
    tanh,
    total_max,
    total_mean,
    total_min,
    total_product,
    total_sum,
    where,
)
from pipeline.model import Model
from tests.reductions import CASES, REDUCING

WIDTH = 6


def mean_layer(g: Relation, x: Value, w: Any) -> Value:
    return linear(g.mean(g.src(x)), w.l) + linear(x, w.r)


def sage(g: Relation, x: Value, w: Any) -> Value:
    return mean_layer(g, relu(mean_layer(g, x, w[0])), w[1])


def normalised(g: Relation, weight: Value) -> Value:
    degree = g.sum(weight)
    scale = degree**-0.5
    scale = where(apply("equal", scale, float("inf")), 0.0, scale)
    return g.src(scale) * weight * g.dst(scale)


def gcn(g: Relation, x: Value, w: Any) -> Value:
    loops = g.without_self_loops().with_self_loops()
    norm = normalised(loops, loops.ones()).reshape(1)
    h = relu(loops.sum(norm * loops.src(linear(x, w.one))) + w.bias)
    h = batch_norm(linear(h, w.two), w.mean, w.var, w.gain, w.shift)
    return loops.sum(norm * loops.src(h))


def gcn_weighted(g: Relation, x: Value, w: Any) -> Value:
    loops = g.with_self_loops(weight=2.0)
    norm = normalised(loops, loops.edge("weight")).reshape(1)
    return loops.sum(norm * loops.src(linear(x, w.one)))


def gat(g: Relation, x: Value, w: Any, loops: bool = True) -> Value:
    if loops:
        g = g.without_self_loops().with_self_loops()
    h = linear(x, w.lin).heads(2)
    logits = leaky_relu(g.src(dot(h, w.a)) + g.dst(dot(h, w.b)), 0.2)
    return g.sum(g.softmax(logits) * g.src(h)).flat()


def gat_no_loops(g: Relation, x: Value, w: Any) -> Value:
    return gat(g, x, w, loops=False)


def gated(g: Relation, x: Value, w: Any) -> Value:
    gate = sigmoid(g.dst(linear(x, w.q)) + g.src(linear(x, w.k)) + linear(g.edge("attr"), w.e))
    return relu(x + g.sum(gate * g.src(linear(x, w.v))))


def edge_attention(g: Relation, x: Value, w: Any) -> Value:
    """GATv2's shape: the logits mix both ends and the edge before they are reduced over lanes."""
    h = linear(x, w.lin).heads(2)
    mixed = leaky_relu(g.src(h) + g.dst(h) + linear(g.edge("attr"), w.e).heads(2), 0.2)
    return g.sum(g.softmax(dot(mixed, w.a)) * g.src(h)).flat() + w.bias


def softmax_twice(g: Relation, x: Value, w: Any) -> Value:
    """A softmax that is not summed at once: it is squared first."""
    share = g.softmax(g.src(linear(x, w.one)))
    return g.sum(share * share * g.src(x)[:4])


def appnp(g: Relation, x: Value, w: Any) -> Value:
    loops = g.without_self_loops().with_self_loops()
    norm = normalised(loops, loops.ones()).reshape(1)
    h = start = tanh(linear(x, w.one))
    for _ in range(4):
        h = loops.sum(norm * loops.src(h)) * 0.9 + start * 0.1
    return h


def extremes(g: Relation, x: Value, w: Any) -> Value:
    bare = g.without_self_loops()
    own = bare.with_self_loops()
    return concat([g.max(g.src(x)), g.min(g.src(x) - g.dst(x)), bare.max(bare.src(x)), own.max(own.src(x) * 2.0)])


def merging(g: Relation, x: Value, w: Any) -> Value:
    """All reductions that another block may begin, over several values, over all edges and over some, twice."""
    bare, y = g.without_self_loops(), tanh(x)
    first = concat([g.max(g.src(x)), g.mean(g.src(y) * g.edge("weight")), bare.min(bare.src(x) - bare.src(y))])
    return concat([g.prod(g.src(tanh(first)) + 1.0), bare.max(linear(concat([bare.src(y), bare.edge("attr")]), w.two))])


def aggregators(g: Relation, x: Value, w: Any) -> Value:
    """Many reductions of the same messages: first all such as another block may begin, then some that read the dst."""
    sent = g.src(x) * g.edge("weight")
    first = concat([g.mean(sent), g.max(sent), g.min(sent), g.sum(sent * sent), g.prod(sent * 0.01 + 1.0)])
    y = tanh(linear(first, w.one))
    gap = relu(g.src(y) - g.dst(y) + 0.5)
    return concat([g.mean(gap), g.max(gap), g.sum(gap * gap), g.median(gap), g.sum(g.softmax(g.src(y)) * g.src(y))])


def ordered(g: Relation, x: Value, w: Any) -> Value:
    """Products and quantiles, with added self-loops and without, one behind the other."""
    own = g.without_self_loops().with_self_loops()
    edges = apply("quantile", own.edge("weight") * own.dst(x), q=(0.3,), interpolation="linear", empty=0.0)
    first = concat([g.median(g.src(x)), own.quantile(own.src(x) - own.dst(x), [0.25, 0.8]), edges])
    return g.quantile(g.src(tanh(first)), 0.5, "midpoint") + tanh(own.prod(own.src(tanh(first)) + 1.0))


def every_reduction(g: Relation, x: Value, w: Any) -> Mapping[str, Value]:
    """Each by itself, with added self-loops and without, over edges that read both ends."""
    own = g.without_self_loops().with_self_loops()
    found = {}
    for name, record in REDUCING.items():
        for loops in (g, own) if CASES[name].part is None else (g,):
            messages = [loops.src(x) - loops.dst(x), loops.src(x)][: record.messages]
            found[name if loops is g else f"{name}, loops added"] = CASES[name].reduction(name, *messages)
    return found


def every_distributive(g: Relation, x: Value, w: Any) -> Mapping[str, Value]:
    """All that another block may begin, of what the source has alone."""
    names = [name for name, record in REDUCING.items() if record.is_distributive]
    return {name: CASES[name].reduction(name, g.src(x)) for name in names}


def gin(g: Relation, x: Value, w: Any) -> Value:
    h = linear(x * 1.5 + g.sum(g.src(x)), w.one)
    return linear(relu(batch_norm(h, w.mean, w.var, w.gain, w.shift)), w.two)


def jumping(g: Relation, x: Value, w: Any) -> Mapping[str, Value]:
    """Several outputs, of several levels, one of them a single number per node."""
    one = relu(mean_layer(g, x, w[0]))
    two = relu(mean_layer(g, one, w[1]))
    return {
        "both": maximum(one, two),
        "early": one,
        "score": linear(two, w.head).reshape(),
        "degree": g.degree(),
    }


def long_skip(g: Relation, x: Value, w: Any) -> Value:
    """src of level 0 next to src of level 1, and a residual over both."""
    one = g.sum(g.src(tanh(linear(x, w.one))))
    two = g.sum(g.src(one) * g.src(linear(x, w.two)))
    return one + two * 0.1 + linear(x, w.one)


def no_edges(g: Relation, x: Value, w: Any) -> Value:
    return exp(linear(x, w.one) * 0.1)


def graph_norm(g: Relation, x: Value, w: Any) -> Value:
    """Mean and variance over all nodes, one after the other, between two layers."""
    h = g.mean(g.src(linear(x, w.one)))
    centred = h - spread(total_mean(h)) * w.mean
    h = centred / spread(sqrt(total_mean(centred * centred) + 1e-5)) * w.gain + w.shift
    return g.sum(g.src(relu(h)))


def virtual_node(g: Relation, x: Value, w: Any) -> Value:
    """A node that every node reads and writes: its state is one row, carried from layer to layer."""
    node = relu(linear(total_sum(x) * 0.01, w.up))
    h = mean_layer(g, x + spread(node), w[0])
    node = node + linear(total_mean(h), w.up)
    return mean_layer(g, h + spread(node), w[1])


def totals(g: Relation, x: Value, w: Any) -> Mapping[str, Value]:
    """Totals of features, of reductions, of constants; on edges and on self-loops; and late, when long known."""
    loops = g.without_self_loops().with_self_loops()
    width = total_max(x) - total_min(x) + 1.0
    far = g.sum(g.src(g.sum(g.src(x)))) * 0.01
    return {
        "share": exp(x) / spread(total_sum(exp(x))),
        "edges": loops.mean(loops.src(x) * loops.dst(spread(total_mean(x))) - loops.src(spread(width))),
        "late": far / spread(width) + linear(far - spread(total_mean(far)), w.same),
        "degree": g.degree() - spread(total_mean(g.degree())),
        "all": spread(total_max(g.degree())),
    }


def both_ways(g: Relation, x: Value, w: Any) -> Value:
    """Two layers, each a mean along the edges and a mean against them."""
    back = g.reversed()
    for layer in (w[0], w[1]):
        x = relu(linear(g.mean(g.src(x)), layer.l) + linear(back.mean(back.src(x)), layer.r))
    return x


def against(g: Relation, x: Value, w: Any) -> Value:
    return edge_attention(g.reversed(), x, w)


def both_ends(g: Relation, x: Value, w: Any) -> Value:
    """The same messages reduced at both ends; and a softmax at one end, summed at the other."""
    g = g.with_remaining_self_loops(0.5)
    back, weight = g.reversed(), g.edge("weight")
    scale = 1.0 / (1.0 + back.sum(flip(weight)))
    messages = (weight * g.src(scale)).reshape(1) * g.src(linear(x, w.one))
    h = g.sum(messages)
    share = g.softmax(g.src(h) - g.dst(h))
    return concat([h, back.max(flip(messages)), back.sum(flip(share * g.dst(h)))])


def linear_attention(g: Relation, x: Value, w: Any) -> Value:
    """Attention of every node to every other, of two heads, without an array of nodes × nodes."""
    q, k, v = (linear(x, w.below(name)).heads(2) for name in "qkv")
    q, k = exp(q * 0.3), exp(k * 0.3)
    rows = q.reshape(2, 1, 4)
    found = (rows @ spread(total_product(k, v))).reshape(2, 4)
    h = (found / dot(q, spread(total_sum(k)))).flat()
    return h + g.mean(g.src(h))


Shapes = dict[str, Sequence[int]]
NORM: Shapes = {"mean": (4,), "var": (4,), "gain": (4,), "shift": (4,)}
ONE: Shapes = {"one.weight": (4, WIDTH)}
TWICE: Shapes = {
    "0.l.weight": (WIDTH, WIDTH), "0.l.bias": (WIDTH,), "0.r.weight": (WIDTH, WIDTH),
    "1.l.weight": (4, WIDTH), "1.l.bias": (4,), "1.r.weight": (4, WIDTH),
}  # fmt: skip
SAME: Shapes = {name: (WIDTH,) if len(shape) == 1 else (WIDTH, WIDTH) for name, shape in TWICE.items()}

FORMULAS: dict[str, tuple[Callable[..., Any], Shapes, tuple[str, ...]]] = {
    "sage": (sage, TWICE, ()),
    "gcn": (gcn, {**ONE, "bias": (4,), "two.weight": (4, 4), "two.bias": (4,), **NORM}, ()),
    "gcn_weighted": (gcn_weighted, ONE, ("weight",)),
    "gat": (gat, {"lin.weight": (8, WIDTH), "a": (2, 4), "b": (2, 4)}, ()),
    "gat_no_loops": (gat_no_loops, {"lin.weight": (8, WIDTH), "a": (2, 4), "b": (2, 4)}, ()),
    "gated": (
        gated,
        {f"{k}.weight": (WIDTH, 3 if k == "e" else WIDTH) for k in "qkve"},
        ("attr",),
    ),
    "edge_attention": (
        edge_attention,
        {"lin.weight": (8, WIDTH), "e.weight": (8, 3), "a": (2, 4), "bias": (8,)},
        ("attr",),
    ),
    "softmax_twice": (softmax_twice, ONE, ()),
    "appnp": (appnp, ONE, ()),
    "extremes": (extremes, {}, ()),
    "merging": (merging, {"two.weight": (5, WIDTH + 3)}, ("weight", "attr")),
    "aggregators": (aggregators, {"one.weight": (4, 5 * WIDTH)}, ("weight",)),
    "ordered": (ordered, {}, ("weight",)),
    "every_reduction": (every_reduction, {}, ()),
    "every_distributive": (every_distributive, {}, ()),
    "gin": (gin, {**ONE, "one.bias": (4,), "two.weight": (4, 4), **NORM}, ()),
    "jumping": (jumping, {**SAME, "head.weight": (1, WIDTH)}, ()),
    "long_skip": (long_skip, {**ONE, "two.weight": (4, WIDTH)}, ()),
    "no_edges": (no_edges, ONE, ()),
    "graph_norm": (graph_norm, {**ONE, "mean": (4,), "gain": (4,), "shift": (4,)}, ()),
    "virtual_node": (virtual_node, {**TWICE, "up.weight": (WIDTH, WIDTH)}, ()),
    "linear_attention": (linear_attention, {f"{k}.weight": (8, WIDTH) for k in "qkv"}, ()),
    "totals": (totals, {"same.weight": (WIDTH, WIDTH)}, ()),
    "both_ways": (both_ways, TWICE, ()),
    "against": (
        against,
        {"lin.weight": (8, WIDTH), "e.weight": (8, 3), "a": (2, 4), "bias": (8,)},
        ("attr",),
    ),
    "both_ends": (both_ends, ONE, ("weight",)),
}


def build(name: str, columns: Mapping[str, str] | None = None) -> Model:
    """One of FORMULAS with fixed random weights."""
    formula, shapes, edge_inputs = FORMULAS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    weights = {key: rng.uniform(-0.6, 0.6, shape) for key, shape in shapes.items()}
    weights |= {key: rng.uniform(0.5, 2.0, shapes[key]) for key in ("var", "gain") if key in shapes}
    inputs: dict[str, int | Sequence[int]] = {"nodes.x": WIDTH}
    inputs |= {f"edges.{entry}": () if entry == "weight" else 3 for entry in edge_inputs}
    return Model.from_formula(formula, weights, inputs, columns)


__all__ = ["FORMULAS", "WIDTH", "Weights", "build"]
