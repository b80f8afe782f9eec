"""The formulas of pipeline/formula/README.md, as they stand there, against plain NumPy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import pipeline.formula
from pipeline.errors import FormulaError
from pipeline.formula import GraphArrays, interpret, trace
from pipeline.schema import EDGE, NODE, EdgeType

PAGE = (Path(pipeline.formula.__file__).parent / "README.md").read_text(encoding="utf-8")
SAGE, ATTENTION, TRANSFERS, CUSTOMERS, RUN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

RNG = np.random.default_rng(7)
NODES, EDGES = 30, 200
SRC, DST = RNG.integers(0, NODES - 2, (2, EDGES))
X = RNG.normal(size=(NODES, 16))
AMOUNT = RNG.uniform(0.5, 2, EDGES)
DAYS = RNG.uniform(-5, 90, EDGES)
KIND = RNG.normal(size=(EDGES, 3))
RISK = RNG.uniform(size=NODES)
GRAPH = GraphArrays(
    {NODE: NODES},
    {EDGE: (SRC, DST)},
    {NODE: {"x": X, "risk": RISK}},
    {EDGE: {"amount": AMOUNT, "days": DAYS, "kind": KIND}},
)


def run(block: str, weights: dict[str, np.ndarray]) -> dict[str, object]:
    """What a block of the page defines, after the first one, whose imports the others use."""
    scope: dict[str, object] = {"weights": SAGE_WEIGHTS, "src": SRC, "dst": DST, "x": X, "amount": AMOUNT}
    for text in dict.fromkeys((SAGE, block)):
        if text == block:
            scope["weights"] = weights
        exec(text, scope)
    return scope


def outputs(scope: dict[str, object]) -> dict[str, np.ndarray]:
    model = scope["model"]
    return interpret(model.program, model.weights, GRAPH)


def summed(messages: np.ndarray) -> np.ndarray:
    total = np.zeros((NODES, *messages.shape[1:]))
    for edge, node in enumerate(DST):
        total[node] += messages[edge]
    return total


def random(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name.replace("__", "."): RNG.normal(size=shape) for name, shape in shapes.items()}


SAGE_WEIGHTS = random(lin_l__weight=(8, 16), lin_r__weight=(8, 16))


def test_sage() -> None:
    w = random(lin_l__weight=(8, 16), lin_l__bias=(8,), lin_r__weight=(8, 16))
    found = outputs(run(SAGE, w))["output"]
    degree = np.maximum(np.bincount(DST, minlength=NODES), 1)[:, None]
    expected = summed(X[SRC]) / degree @ w["lin_l.weight"].T + w["lin_l.bias"] + X @ w["lin_r.weight"].T
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-5, atol=1e-5)


def attention_weights() -> dict[str, np.ndarray]:
    return random(value__weight=(10, 16), att_src=(2, 5), att_dst=(2, 5), att_edge=(2, 1))


def attention(w: dict[str, np.ndarray]) -> np.ndarray:
    h = (X @ w["value.weight"].T).reshape(NODES, 2, 5)
    a = (h * w["att_src"]).sum(-1)[SRC] + (h * w["att_dst"]).sum(-1)[DST] + AMOUNT[:, None] * w["att_edge"][:, 0]
    e = np.exp(np.where(a > 0, a, 0.2 * a))
    return summed((e / summed(e)[DST])[..., None] * h[SRC]).reshape(NODES, 10)


def test_attention() -> None:
    w = attention_weights()
    np.testing.assert_allclose(outputs(run(ATTENTION, w))["output"], attention(w), rtol=1e-5, atol=1e-5)


def test_run() -> None:
    """The last block: the interpreter on arrays."""
    w = attention_weights()
    done = run(ATTENTION + RUN, w)
    np.testing.assert_allclose(done["outputs"]["output"], attention(w), rtol=1e-5, atol=1e-5)


def test_transfers() -> None:
    w = random(gate__weight=(6, 35), gate__bias=(6,), value__weight=(6, 16), own__weight=(6, 16), score__weight=(1, 8))
    found = outputs(run(TRANSFERS, w))
    recent = np.exp(-np.maximum(DAYS, 0) / 30)[:, None]
    gate = np.concatenate([X[SRC], X[DST], KIND], 1) @ w["gate.weight"].T + w["gate.bias"]
    h = summed(recent / (1 + np.exp(-gate)) * (X @ w["value.weight"].T)[SRC])
    share = summed(AMOUNT * RISK[SRC]) / np.maximum(summed(AMOUNT), 1e-6)
    worst = np.array([max(RISK[SRC[node == DST]], default=0) for node in range(NODES)])
    score = np.concatenate([h, share[:, None], worst[:, None]], 1) @ w["score.weight"][0]
    np.testing.assert_allclose(found["embedding"], np.maximum(h + X @ w["own.weight"].T, 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["score"], 1 / (1 + np.exp(-score)), rtol=1e-5, atol=1e-5)


def test_customers() -> None:
    w = random(friend__weight=(6, 16), payer__weight=(6, 16), account__weight=(6, 16), shop__weight=(6, 8))
    model = run(CUSTOMERS, w)["model"]
    pays, knows = EdgeType("account", "pays", "shop"), EdgeType("account", "knows", "account")
    payers, shops = RNG.integers(0, NODES, 80), RNG.integers(0, 9, 80)
    paid, shop = RNG.uniform(1, 500, 80), RNG.normal(size=(10, 8))
    graph = GraphArrays(
        {"account": NODES, "shop": 10},
        {pays: (payers, shops), knows: (SRC, DST)},
        {"account": {"x": X}, "shop": {"x": shop}},
        {pays: {"amount": paid}, knows: {}},
    )
    found = interpret(model.program, model.weights, graph)
    degree = np.maximum(np.bincount(DST, minlength=NODES), 1)[:, None]
    known = summed((X @ w["friend.weight"].T)[SRC]) / degree
    np.testing.assert_allclose(
        found["account.output"], np.maximum(X @ w["account.weight"].T + known, 0), rtol=1e-5, atol=1e-5
    )
    total = np.zeros((10, 6))
    np.add.at(total, shops, np.log(1 + paid)[:, None] * (X @ w["payer.weight"].T)[payers])
    np.testing.assert_allclose(found["shop.embedding"], np.maximum(shop @ w["shop.weight"].T + total, 0), rtol=1e-5)
    np.testing.assert_array_equal(found["shop.payments"], np.bincount(shops, minlength=10))


def test_errors_name_the_line_of_the_formula() -> None:
    def mixed(g, x, w):
        h = x * 2
        return h + g.src(x)

    line = mixed.__code__.co_firstlineno + 2
    with pytest.raises(FormulaError, match=rf"^test_documented.py:{line}: add.*node and edge values do not mix"):
        trace(mixed, {"nodes.x": 4}, {})
