"""Random reductions over random edge expressions, by seed: what the compiler has to agree with the interpreter on."""

from __future__ import annotations

import math

import numpy as np

from pipeline.formula import GraphArrays, Relation, Value, node_input, weight
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.values import apply, fill
from pipeline.schema import NODE
from tests.reductions import CASES, variants

SHAPES = [(), (1,), (4,), (16,), (3, 1), (3, 4), (4, 16), (2, 3, 4), (10, 3), (2, 176)]
SMOOTH = ["tanh", "sigmoid", "sin", "cos", "erf", "neg", "abs", "relu", "expm1", "exp"]
JOINED = ["add", "sub", "mul", "maximum", "minimum"]


def graph(rng: np.random.Generator, nodes: int = 11, edges: int = 40) -> GraphArrays:
    """A small graph with a hub, self-loops, parallel edges and nodes without edges; columns of every shape above."""
    src = rng.integers(0, nodes, edges)
    dst = (nodes * rng.random(edges) ** 2.5).astype(np.int64)
    src[:3] = dst[:3]  # self-loops
    src[3:8], dst[3:8] = src[8], dst[8]  # parallel edges
    dst[dst == nodes - 1] = 0  # a node without edges
    arrays = GraphArrays.single(src, dst, rng.normal(size=(nodes, 4)).astype(np.float32))
    for number, shape in enumerate(SHAPES):
        for kind in "xy":
            arrays.node_columns[NODE][f"{kind}{number}"] = _normal(rng, nodes, shape)
    loops = np.flatnonzero(src == dst)
    for columns in arrays.edge_columns.values():
        for number, shape in enumerate(SHAPES):
            column = _normal(rng, edges, shape)
            # which of a node's loops is the last is not for a table to say: they are the same
            column[loops] = column[[loops[src[loops] == src[loop]][0] for loop in loops]]
            columns[f"e{number}"] = column
    return arrays


def _normal(rng: np.random.Generator, rows: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=(rows, *shape)).astype(np.float32)


class Builder:
    """Grows an edge expression by random steps."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.g = Relation(columns={f"e{number}": shape for number, shape in enumerate(SHAPES)})
        self.weights: dict[str, np.ndarray] = {}

    def reduction(self) -> Value:
        """A random reduction; its weights are in `weights`."""
        value, kinds = self.message(), variants()
        name, with_own = kinds[self.rng.integers(len(kinds))]
        messages = [value] if REDUCTIONS[name].messages == 1 else [self.logits(value), value]
        own = tuple(self.node(message.shape) for message in messages) if with_own else ()
        return CASES[name].reduction(name, *messages, own=own)

    def message(self) -> Value:
        """A random edge value."""
        value = self.leaf()
        pool = [value]
        for _ in range(self.rng.integers(1, 12)):
            value = self.step(value, pool)
            pool.append(value)
        return value

    def logits(self, messages: Value) -> Value:
        """An edge value whose rows broadcast against the messages'."""
        if self.rng.random() < 0.3:
            return messages * 2.0
        shape = tuple(size if self.rng.random() < 0.6 else 1 for size in messages.shape)
        return self.leaf(shape) + self.g.dst(self.node(shape)) * 3.0

    def node(self, shape: tuple[int, ...]) -> Value:
        """A node column, reshaped if there is none of the shape."""
        kind = self.rng.choice(["x", "y"])
        if shape in SHAPES:
            return node_input(f"{kind}{SHAPES.index(shape)}", shape)
        width = math.prod(shape)
        source = next((number for number, known in enumerate(SHAPES) if math.prod(known) == width), None)
        if source is None:
            return fill(0.25, self.g.edges.target, shape)
        return node_input(f"{kind}{source}", shape)

    def leaf(self, shape: tuple[int, ...] | None = None) -> Value:
        if shape is None:
            shape = SHAPES[self.rng.integers(len(SHAPES))]
        kind = self.rng.integers(3)
        if kind == 2 and shape in SHAPES:
            return self.g.edge(f"e{SHAPES.index(shape)}")
        value = self.node(shape)
        if value.op == "fill":
            return fill(0.25, self.g.edges, shape)
        return self.g.src(value) if kind else self.g.dst(value)

    def weight(self, shape: tuple[int, ...]) -> Value:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.rng.normal(size=shape).astype(np.float32) / math.sqrt(shape[0] if shape else 1)
        return weight(name, shape)

    def partner(self, value: Value, pool: list[Value]) -> Value:
        """Something that broadcasts against a value: an earlier value, a leaf, a weight."""
        fitting = [other for other in pool if _fits(other.shape, value.shape)]
        if fitting and self.rng.random() < 0.5:
            return fitting[self.rng.integers(len(fitting))]
        shape = tuple(size if self.rng.random() < 0.7 else 1 for size in value.shape)
        shape = shape[self.rng.integers(len(shape) + 1) :] if self.rng.random() < 0.3 else shape
        return self.weight(shape) if self.rng.random() < 0.3 else self.leaf(shape)

    def step(self, value: Value, pool: list[Value]) -> Value:
        rank = len(value.shape)
        choice = self.rng.integers(12 if rank else 4)
        if choice < 2:
            return apply(str(self.rng.choice(SMOOTH)), apply("tanh", value))
        if choice < 4:
            return apply(str(self.rng.choice(JOINED)), value, self.partner(value, pool))
        axis = int(self.rng.integers(rank))
        size = value.shape[axis]
        if choice == 4:
            axes = tuple(sorted({axis, int(self.rng.integers(rank))}))
            op = str(self.rng.choice(["lane_sum", "lane_mean", "lane_max", "lane_min", "lane_prod"]))
            inner = apply("tanh", value) if op == "lane_prod" else value
            return apply(op, inner, axes=axes, keepdims=bool(self.rng.random() < 0.5))
        if choice == 5:
            return value.reshape(*_factors(self.rng, value.width))
        if choice == 6:
            return apply("transpose", value, axes=tuple(map(int, self.rng.permutation(rank))))
        if choice == 7:
            start = int(self.rng.integers(size))
            step = int(self.rng.integers(1, 3))
            stop = int(self.rng.integers(start + 1, size + 1))
            return apply("slice", value, axis=axis, start=start, stop=stop, step=step)
        if choice == 8:
            other = apply("tanh", value) if self.rng.random() < 0.5 else self.leaf(value.shape)
            return apply("concat", value, other, axis=axis) if value.width <= 64 else value
        if choice == 9:
            return apply("broadcast_to", value, shape=(2, *value.shape)) if value.width <= 64 else value
        if choice == 10:
            indices = tuple(map(int, self.rng.integers(0, size, 3)))
            return apply("take", value, axis=axis, indices=indices)
        return apply("matmul", value, self.weight((value.shape[-1], int(self.rng.integers(1, 6)))))


def _fits(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _factors(rng: np.random.Generator, width: int) -> list[int]:
    sizes = []
    while width > 1:
        divisors = [size for size in range(2, width + 1) if width % size == 0]
        size = int(divisors[rng.integers(len(divisors))])
        sizes.append(size)
        width //= size
    return sizes or [1]
