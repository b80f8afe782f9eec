"""Partial results: what one block makes of some edges, merged by another, against plain NumPy over all edges."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.blocks.block import Tile
from pipeline.compiler import compile_reduction
from pipeline.formula import Relation, Value, linear, node_input, relu, weight
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.values import apply
from tests.compiler.tiles import lanes
from tests.reductions import CASES

G = Relation(columns={"weight": (1,)})
X, S = node_input("x", (5,)), node_input("s", ())
W = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
NODES, ROWS = 30, 12

# program, what a row of edges is by the formula: x (k, 5), s (k,), weight (k, 1)
PROGRAMS = {
    "sum": (G.sum(G.src(X)), lambda x, s, w: x.sum(0)),
    "weighted": (G.sum(G.src(X) * G.edge("weight")), lambda x, s, w: (x * w).sum(0)),
    "two values": (G.sum(G.src(X) * G.src(S).reshape(1)), lambda x, s, w: (x * s[:, None]).sum(0)),
    "product": (G.prod(G.src(X)), lambda x, s, w: x.prod(0)),
    "max": (apply("max", G.src(X), empty=-7.0), lambda x, s, w: x.max(0, initial=-np.inf) if len(x) else -7.0),
    "min": (apply("min", G.src(X) - G.src(S).reshape(1), empty=3.0),
            lambda x, s, w: (x - s[:, None]).min(0) if len(x) else 3.0),
    "dense": (G.sum(relu(linear(G.src(X), weight("w", (3, 5))))), lambda x, s, w: np.maximum(x @ W.T, 0).sum(0)),
} | {
    f"{name} by its record": (
        CASES[name].reduction(name, G.src(X)), lambda x, s, w, name=name: CASES[name].of_node(x)
    )
    for name, record in REDUCTIONS.items() if record.is_distributive
}  # fmt: skip


def compressed(src: np.ndarray, dst: np.ndarray, value: np.ndarray) -> Tile:
    order = np.lexsort([src, dst])
    rows, counts = np.unique(dst, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns, values = src[order].astype(np.int32), {"weight": value[order]}
    return Tile(rows.astype(np.int32), offsets.astype(np.int32), columns, values, NODES)


@pytest.mark.parametrize("odd", [(), (np.nan,), (np.inf, -np.inf, 0.0)], ids=["finite", "nan", "infinite"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_pulled_and_pushed_edges_together(name: str, odd: tuple[float, ...]) -> None:
    program, formula = PROGRAMS[name]
    rng = np.random.default_rng(len(name))
    # all of row 0 is pulled, all of row 1 pushed; the last three rows have no edge; row 2 has 300
    dst = np.concatenate([rng.integers(0, ROWS - 3, 100), np.full(300, 2)])
    src, value = rng.integers(0, NODES, 400), rng.random((400, 1)).astype(np.float32)
    pulled = (rng.random(400) < 0.5) & (dst != 1) | (dst == 0)
    x = rng.uniform(0.9, 1.1, (NODES, 5)).astype(np.float32)
    s = rng.normal(size=NODES).astype(np.float32)
    for i, number in enumerate(odd):
        x[3 * i, i] = number

    compiled, payload = _compiled(program, x, s)
    pushed = compressed(src[~pulled], dst[~pulled], value[~pulled])
    numbered = Tile(np.arange(len(pushed.rows), dtype=np.int32), *vars_of(pushed))
    accumulator = compiled.start(ROWS, _read_nothing)
    compiled.add(accumulator, compressed(src[pulled], dst[pulled], value[pulled]), payload, _read_nothing)
    compiled.merge(accumulator, pushed.rows, compiled.partial(numbered, payload))
    got = compiled.finish(accumulator)

    with np.errstate(all="ignore"):
        x, s, value = (array.astype(np.float64) for array in (x, s, value))
        for row in range(ROWS):
            edges = dst == row
            want = formula(x[src[edges]], s[src[edges]], value[edges])
            np.testing.assert_allclose(got[row], np.broadcast_to(want, got[row].shape), rtol=1e-5, atol=1e-5)


def vars_of(tile: Tile) -> tuple[object, ...]:
    return tile.indptr, tile.indices, tile.values, tile.senders


def _compiled(program: Value, x: np.ndarray, s: np.ndarray):
    offsets, width = lanes(program)
    compiled = compile_reduction(program, offsets, {"w": W})
    payload = np.full((NODES, width), np.nan, np.float32)  # lanes that nobody asked for are poison
    for value in compiled.sent:
        array = {"x": x, "s": s}[value.attributes["name"]].reshape(NODES, -1)
        payload[:, offsets[value.id] : offsets[value.id] + value.width] = array
    return compiled, payload


def _read_nothing(value: Value) -> np.ndarray:
    raise AssertionError(value)
