"""Random nets as programs, by seed: layers of one or several types, with weights that relations share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np

from pipeline.formula import (
    GraphArrays,
    Program,
    Relation,
    Value,
    apply,
    concat,
    dot,
    flip,
    leaky_relu,
    maximum,
    node_input,
    relu,
    spread,
    take,
    total_mean,
    weight,
)
from pipeline.formula.program import output_key
from pipeline.formula.spaces import Edges, Nodes
from pipeline.schema import EDGE, NODE, EdgeType
from tests.typed import random_graph

HEADS, LANES = 2, 3
WIDTH = HEADS * LANES  # of all rows, so that any two of them can be added
COUNTS = {"paper": 30, "author": 17, "venue": 6}


class Net:
    """A program, its weights, and a graph for it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.weights: dict[str, np.ndarray] = {}
        typed = self.rng.random() < 0.7
        self.types = list(COUNTS)[: self.rng.integers(2, 4)] if typed else [NODE]
        self.kinds = self._kinds(int(self.rng.choice([2, 4, 12]))) if typed else [EDGE]
        counts = {name: COUNTS[name] for name in self.types} if typed else {NODE: 30}
        if typed and self.rng.random() < 0.3:
            counts[self.types[-1]] = 0
        edges = {kind: int(self.rng.choice([0, 5, 80])) for kind in self.kinds}
        widths = dict.fromkeys(self.types, WIDTH)
        values = {kind: {"weight": None, "attr": 2} for kind in self.kinds}
        self.graph: GraphArrays = random_graph(counts, edges, widths, seed, values).arrays
        x = {name: node_input("x", (WIDTH,), Nodes(name)) for name in self.types}
        for _ in range(self.rng.integers(1, 4)):
            x = self._layer(x)
        self.program = Program({output_key(name, "y"): value for name, value in x.items()})

    def _kinds(self, count: int) -> list[EdgeType]:
        ends = [self.rng.choice(self.types, 2).tolist() for _ in range(count)]
        return [EdgeType(source, f"r{number}", target) for number, (source, target) in enumerate(ends)]

    def weight(self, *shape: int) -> Value:
        """A new one, or one that another layer has, too."""
        known = [name for name, array in self.weights.items() if array.shape == shape]
        if known and self.rng.random() < 0.5:
            return weight(str(self.rng.choice(known)), shape)
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.normal(size=shape) / math.sqrt(shape[0])
        return weight(name, shape)

    def _layer(self, x: dict[str, Value]) -> dict[str, Value]:
        """One convolution for each type of edges, or the same for all; what leads into a type is put together."""
        into: dict[str, list[Value]] = {name: [] for name in self.types}
        convolutions = [
            self.sage, self.gcn, self.attention, self.edge_network, self.transformer, self.extremes, self.backwards,
        ]  # fmt: skip
        own = bool(self.rng.random() < 0.5)
        shared = convolutions[self.rng.integers(len(convolutions))]
        for kind in self.kinds:
            each = convolutions[self.rng.integers(len(convolutions))] if own else shared
            g = Relation(Edges(kind), {"weight": (), "attr": (2,)})
            into[kind.target].append(each(g, x[kind.source], x[kind.target]))
        return {name: self._after(self._joined(parts), x[name]) if parts else x[name] for name, parts in into.items()}

    def _joined(self, parts: Sequence[Value]) -> Value:
        """As HeteroConv does it, or as one writes it."""
        way = self.rng.integers(4)
        if way < 2:
            op = ("lane_sum", "lane_mean")[way] if self.rng.random() < 0.7 else "lane_max"
            stack = concat([part.reshape(1, WIDTH) for part in parts], axis=0)
            return apply(op, stack, axes=(0,), keepdims=False)
        return reduce((lambda a, b: a + b) if way == 2 else maximum, parts)

    def _after(self, value: Value, x: Value) -> Value:
        way = self.rng.integers(6)
        if way == 0:
            return relu(value)
        if way == 1:  # batch norm
            shift, scale = self.weight(WIDTH), self.weight(WIDTH)
            return (value @ self.weight(WIDTH, WIDTH) - shift) * scale + self.weight(WIDTH)
        if way == 2:
            return relu(value) + x
        if way == 3:
            return value + spread(total_mean(x), x.space)
        if way == 4:
            return relu(value @ self.weight(WIDTH, 2)) @ self.weight(2, WIDTH)
        return value

    # ---- convolutions

    def sage(self, g: Relation, x: Value, y: Value) -> Value:
        mean = g.mean(g.src(x)) if self.rng.random() < 0.5 else g.sum(g.src(x))
        return mean @ self.weight(WIDTH, WIDTH) + self.weight(WIDTH) + y @ self.weight(WIDTH, WIDTH)

    def gcn(self, g: Relation, x: Value, y: Value) -> Value:
        if g.edges.type.source == g.edges.type.target:
            g = g.with_self_loops(weight=2.0) if self.rng.random() < 0.5 else g.without_self_loops().with_self_loops()
            scale = (g.degree() + 1.0) ** -0.5
            norm = g.src(scale) * g.edge("weight") * g.dst(scale)
            return g.sum(norm.reshape(1) * g.src(x @ self.weight(WIDTH, WIDTH)))
        return g.sum(g.edge("weight").reshape(1) * g.src(x)) @ self.weight(WIDTH, WIDTH)

    def attention(self, g: Relation, x: Value, y: Value) -> Value:
        if g.edges.type.source == g.edges.type.target and self.rng.random() < 0.5:
            g = g.without_self_loops().with_self_loops()
        h = (x @ self.weight(WIDTH, WIDTH)).heads(HEADS)
        here = (y @ self.weight(WIDTH, WIDTH)).heads(HEADS)
        logits = leaky_relu(g.src(dot(h, self.weight(HEADS, LANES))) + g.dst(dot(here, self.weight(HEADS, LANES))), 0.2)
        return g.sum(g.softmax(logits).reshape(HEADS, 1) * g.src(h)).flat()

    def transformer(self, g: Relation, x: Value, y: Value) -> Value:
        def by_head(rows: Value) -> Value:
            return (rows.reshape(HEADS, 1, LANES) @ self.weight(HEADS, LANES, LANES)).reshape(HEADS, LANES)

        kqv = (x @ self.weight(WIDTH, 2 * WIDTH)).reshape(2, HEADS, LANES)
        key, value = by_head(take(kqv, 0)), by_head(take(kqv, 1))
        query = (y @ self.weight(WIDTH, WIDTH)).reshape(HEADS, LANES)
        shares = g.softmax(dot(g.dst(query), g.src(key)) / math.sqrt(LANES))
        return g.sum(shares.reshape(HEADS, 1) * g.src(value)).flat()

    def edge_network(self, g: Relation, x: Value, y: Value) -> Value:
        joined = concat([g.src(x), g.dst(y), g.edge("attr")])
        message = relu(joined @ self.weight(2 * WIDTH + 2, WIDTH) + self.weight(WIDTH))
        message = message + g.edge("weight").reshape(1) @ self.weight(1, WIDTH)
        return g.sum(message) if self.rng.random() < 0.5 else g.mean(message @ self.weight(WIDTH, WIDTH))

    def extremes(self, g: Relation, x: Value, y: Value) -> Value:
        most, least = g.max(g.src(x) * g.edge("weight").reshape(1)), g.min(g.src(x @ self.weight(WIDTH, WIDTH)))
        return concat([most, least]) @ self.weight(2 * WIDTH, WIDTH)

    def backwards(self, g: Relation, x: Value, y: Value) -> Value:
        """Of the other end, too."""
        found = g.sum(g.src(x) * g.edge("weight").reshape(1))
        if g.edges.type.source != g.edges.type.target:
            return found
        back = g.reversed()
        return found + back.sum(flip(g.softmax(g.src(x)) * g.dst(y))) + back.max(back.src(x))
