"""Totals over all nodes: what they mean, where they may stand, and what is said where they may not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import FormulaError, ModelError
from pipeline.formula import (
    GraphArrays,
    Program,
    Relation,
    Value,
    apply,
    interpret,
    node_input,
    spread,
    total_max,
    total_mean,
    total_min,
    total_product,
    total_sum,
)
from pipeline.lowering.lower import lower

X = np.random.default_rng(4).normal(size=(5, 3))
GRAPH = GraphArrays.single(np.array([0, 1, 1, 4]), np.array([1, 1, 3, 2]), X)


def run(value: Value, graph: GraphArrays = GRAPH) -> np.ndarray:
    return interpret(Program({"y": value}), {}, graph)["y"]


@pytest.mark.parametrize(
    ("total", "reference"), [(total_sum, np.sum), (total_mean, np.mean), (total_max, np.max), (total_min, np.min)]
)
def test_a_total_is_numpys_over_the_rows(total: object, reference: object) -> None:
    x = node_input("x", (3,))
    np.testing.assert_allclose(run(x - spread(total(x))), X - reference(X, axis=0), rtol=0, atol=1e-14)  # type: ignore[operator]


def test_totals_are_computed_with_like_values() -> None:
    x = node_input("x", (3,))
    centred = x - spread(total_mean(x))
    deviation = apply("sqrt", total_mean(centred * centred))
    np.testing.assert_allclose(run(centred / spread(deviation)), (X - X.mean(0)) / X.std(0), atol=1e-14)


def test_products_are_summed_over_the_nodes() -> None:
    x = node_input("x", (3,))
    found = run((x.reshape(1, 3) @ spread(total_product(x, x[:2]))).flat())
    np.testing.assert_allclose(found, X @ (X.T @ X[:, :2]), atol=1e-13)
    heads = x.reshape(3, 1)
    np.testing.assert_allclose(
        run(spread(total_product(heads, heads * 2.0)))[0, :, 0, 0], 2 * (X * X).sum(0), atol=1e-13
    )


def test_a_total_of_edges_goes_through_the_nodes() -> None:
    x, g = node_input("x", (3,)), Relation()
    y = g.sum(g.src(x) * g.dst(spread(total_sum(g.sum(g.src(x))))))
    want = np.zeros_like(X)
    np.add.at(want, [1, 1, 3, 2], X[[0, 1, 1, 4]] * X[[0, 1, 1, 4]].sum(0))
    np.testing.assert_allclose(run(y), want, atol=1e-13)


def test_a_graph_without_nodes_has_no_row_to_show_a_total_in() -> None:
    none = np.zeros(0, np.int64)
    x = node_input("x", (3,))
    values = [spread(total(x)) for total in (total_sum, total_mean, total_max, total_min)]
    for value in [*values, (x.reshape(1, 3) @ spread(total_product(x, x))).flat()]:
        assert run(value, GraphArrays.single(none, none, np.zeros((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, g: x - total_mean(x), r"total has one row for the whole graph: take spread\(...\) of it first"),
        (lambda x, g: g.sum(g.src(x) * total_sum(x)), r"take spread\(...\) of it first \(on edges g.dst"),
        (lambda x, g: g.src(total_sum(x)), "src takes a value on nodes"),
        (lambda x, g: total_sum(g.src(x)), "a total takes a node value"),
        (lambda x, g: total_mean(total_mean(x)), r"total_sum\(total of shape \(3,\)\): a total takes a node value"),
        (lambda x, g: total_product(x, g.src(x)), "a total takes node values of one type"),
        (lambda x, g: total_product(x, x.reshape(1, 3)), r"rows of \(3,\) and \(1, 3\) have no outer product"),
        (lambda x, g: spread(x), r"only a total can be spread over the nodes: total_sum"),
        (lambda x, g: Program({"y": total_sum(x)}), "output 'y' has one row for the whole graph, not per node; spread"),
    ],
)
def test_what_may_not_be_mixed(make: object, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        make(node_input("x", (3,)), Relation())  # type: ignore[operator]


def test_a_program_with_totals_is_plain_data() -> None:
    x = node_input("x", (3,))
    program = Program({"y": x - spread(total_mean(x) * 2.0)})
    again = Program.from_json(program.to_json())
    assert str(again) == str(program)
    assert "%1:graph[3] = total_sum %0" in str(program)
    np.testing.assert_array_equal(run(again.outputs["y"]), run(program.outputs["y"]))


def test_a_file_can_only_spread_over_nodes() -> None:
    data = Program({"y": spread(total_sum(node_input("x", (3,))))}).to_json()
    data["values"][-1]["attributes"]["nodes"] = "edges"
    with pytest.raises(ModelError, match="'edges' are no nodes"):
        Program.from_json(data)


def test_what_is_the_same_for_every_node_is_computed_once() -> None:
    x, g = node_input("x", (3,)), Relation()
    mean = spread(total_mean(x))
    program, _ = lower(Program({"y": g.sum(g.src(x) * g.src(apply("exp", mean * 2.0)))}), {})
    text = str(program)
    assert "graph[3] = exp" in text
    assert "nodes[3] = exp" not in text
    assert text.count("src") == 1
