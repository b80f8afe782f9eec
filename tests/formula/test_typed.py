"""Formulas over several types: what `g` gives, against plain NumPy; what a formula may return; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.errors import FormulaError
from pipeline.formula import Program, interpret, spread, take, total_mean, trace, weight
from pipeline.schema import EdgeType
from tests.typed import random_graph

WIDTHS = {"account": 4, "shop": 4}
PAYS, KNOWS, BACK = ("account", "pays", "shop"), ("account", "knows", "account"), ("shop", "pays back", "account")
INPUTS: dict[Any, Any] = {
    "account": {"x": 4}, "shop": {"x": 4}, "city": {}, PAYS: {"amount": ()}, KNOWS: {}, BACK: {"amount": ()},
}  # fmt: skip
TYPES = {name: EdgeType(*name) for name in (PAYS, KNOWS, BACK)}
GRAPH = random_graph(
    {"account": 30, "shop": 12, "city": 3},
    dict.fromkeys(TYPES.values(), 70),
    WIDTHS,
    values={TYPES[PAYS]: {"amount": None}, TYPES[BACK]: {"amount": None}},
)


def computed(formula: Callable[..., Any]) -> dict[str, np.ndarray]:
    return interpret(trace(formula, INPUTS, {}), {}, GRAPH.arrays)


def messages(kinds: list[tuple[str, str, str]], node_type: str) -> list[list[np.ndarray]]:
    """For each node of a type the rows of its neighbours, over the edges of these types."""
    found: list[list[np.ndarray]] = [[] for _ in range(GRAPH.counts[node_type])]
    for kind in kinds:
        src, dst = GRAPH.ends[TYPES[kind]]
        for source, target in zip(src, dst, strict=True):
            if kind[2] == node_type:
                found[target].append(GRAPH.x[kind[0]]["x"][source])
    return found


@pytest.mark.parametrize("how", ["sum", "mean", "max", "min"])
def test_reductions_over_all_types_of_edges(how: str) -> None:
    def formula(g: Any, x: Any) -> Any:
        return getattr(g, how)({kind: g[kind].src(x[kind[0]]) for kind in g})

    found = computed(formula)
    assert found.keys() == {"account.output", "shop.output"}
    for name in WIDTHS:
        expected = [
            getattr(np, how)(rows, axis=0) if rows else np.zeros(4) for rows in messages([PAYS, KNOWS, BACK], name)
        ]
        np.testing.assert_allclose(found[f"{name}.output"], expected, atol=1e-12)


def test_one_softmax_over_all_types_of_edges() -> None:
    def formula(g: Any, x: Any) -> Any:
        logits = {kind: g[kind].src(x[kind[0]]) for kind in (KNOWS, BACK)}
        shares = g.softmax(logits)
        return g.sum({kind: shares[kind] * logits[kind] for kind in shares})

    found = computed(formula)["account.output"]
    for row, rows in zip(found, messages([KNOWS, BACK], "account"), strict=True):
        powers = np.exp(rows - np.max(rows, axis=0)) if rows else np.zeros((0, 4))
        expected = (powers / powers.sum(axis=0) * rows).sum(axis=0) if rows else np.zeros(4)
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_a_mean_without_self_loops_counts_without_them() -> None:
    found = computed(lambda g, x: g.mean({KNOWS: g[KNOWS].without_self_loops().src(x["account"])}))
    src, dst = GRAPH.ends[TYPES[KNOWS]]
    assert (src == dst).any()
    for node, row in enumerate(found["account.output"]):
        rows = GRAPH.x["account"]["x"][src[(dst == node) & (src != dst)]]
        np.testing.assert_allclose(row, rows.mean(axis=0) if len(rows) else np.zeros(4), atol=1e-12)


def test_degrees_edge_columns_and_totals() -> None:
    def formula(g: Any, x: Any) -> Any:
        return {
            "shop": {
                "degree": g.degree()["shop"],
                "turnover": g[PAYS].sum(g[PAYS].edge("amount")),
                "apart": x["shop"] - spread(total_mean(x["shop"]), "shop"),
            },
            "account": x["account"] * 2.0,
        }

    found = computed(formula)
    dst, shops = GRAPH.ends[TYPES[PAYS]][1], GRAPH.x["shop"]["x"]
    np.testing.assert_array_equal(found["shop.degree"], np.bincount(dst, minlength=12))
    amounts = GRAPH.values[TYPES[PAYS]]["amount"]
    np.testing.assert_allclose(found["shop.turnover"], np.bincount(dst, amounts, minlength=12))
    np.testing.assert_allclose(found["shop.apart"], shops - shops.mean(axis=0))
    np.testing.assert_allclose(found["account.output"], 2 * GRAPH.x["account"]["x"])


def test_types_of_a_graph() -> None:
    seen: dict[str, Any] = {}

    def formula(g: Any, x: Any) -> Any:
        seen.update(types=g.types, kinds=list(g), into=g.into("account"), has=(PAYS in g, "pays" in g), x=list(x))
        return x["shop"]

    assert list(trace(formula, INPUTS, {}).outputs) == ["shop.output"]
    assert seen == {
        "types": ("account", "shop", "city"), "kinds": [PAYS, KNOWS, BACK], "into": [KNOWS, BACK],
        "has": (True, False), "x": ["account", "shop"],
    }  # fmt: skip


def test_a_column_of_all_types_is_an_output_of_each() -> None:
    assert list(trace(lambda x: x, INPUTS, {}).outputs) == ["account.output", "shop.output"]


def test_the_files_of_a_model_hold_the_program() -> None:
    program = trace(lambda g, x: g.mean({kind: g[kind].src(x[kind[0]]) for kind in g}), INPUTS, {})
    again = Program.from_json(program.to_json())
    assert str(again) == str(program)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (lambda g, x: x["shops"], r"no column 'x' of nodes of the type 'shops'; did you mean 'shop'"),
        (lambda g, x: x["city"], r"no column 'x' of nodes of the type 'city'; known: account, shop"),
        (lambda g, x: g["account", "pay", "shop"], r"no edges of the type \('account', 'pay', 'shop'\).*did you mean"),
        (lambda g, x: g[PAYS].src(x["shop"]), "src"),
        (lambda g, x: g.sum({PAYS: x["shop"]}), r"a value of these edges is expected, g\['account', 'pays', 'shop'\]"),
        (lambda g, x: g.sum({PAYS: g[KNOWS].src(x["account"])}), "a value of these edges is expected"),
        (lambda g, x: g.softmax({PAYS: 1.0}), "a value of these edges is expected"),
        (lambda g, x: {"shops": x["shop"]}, "nodes of the type 'shops'; did you mean 'shop'"),
        (lambda g, x: {"shop": x["account"]}, r"a value of nodes\[account\] for nodes of the type 'shop'"),
        (lambda g, x: {"shop": 3}, "returned int for nodes of the type 'shop'"),
        (lambda g, x: 3, "returned int; a mapping of types to values"),
        (lambda g, x: {}, "returned dict; a mapping of types to values"),
        (lambda g, x: {("account", "pay", "shop"): g[PAYS].src(x["account"])}, "edges of the type .*did you mean"),
        (
            lambda g, x: {KNOWS: g[PAYS].src(x["account"])},
            r"a value of edges\[account__pays__shop\] for edges of the ty",
        ),
        (lambda g, x: {PAYS: x["shop"]}, r"a value of nodes\[shop\] for edges of the type account__pays__shop"),
        (
            lambda g, x: {PAYS: g[PAYS].src(x["account"]), "shop": x["shop"]},
            "one row per edge and 'shop.output' one per",
        ),
        (lambda g, y: y, "the formula asks for y; it is offered g, w, x"),
    ],
)
def test_what_is_refused(formula: Callable[..., Any], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        trace(formula, INPUTS, {})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"account": {"x": 4}, "nodes.x": 4}, "input 'nodes.x' is 4, and others are by type; write TYPE: "),
        ({"account": {"x": 4}, ("account", "shop"): {}}, r"\('account', 'shop'\) is neither a type of nodes"),
        ({"account": {"x": 4}, PAYS: {}}, "edges of 'shop', no type of nodes among the inputs; .* add 'shop'"),
        ({PAYS: {}}, "edges of 'account', no type of nodes among the inputs; add 'account': {}"),
    ],
)
def test_inputs_that_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        trace(lambda g, x: x, inputs, {})


def test_take() -> None:
    table = weight("table", (3, 2, 5))
    assert take(table, 1).shape == (2, 5)
    assert take(table, [2, 0, -1]).attributes["indices"] == (2, 0, 2)
    assert take(table, range(0, 5, 2), axis=-1).shape == (3, 2, 3)
    with pytest.raises(FormulaError, match="there is no axis 3"):
        take(table, 0, axis=3)
    with pytest.raises(FormulaError, match="are not in rows of"):
        take(table, 7)
