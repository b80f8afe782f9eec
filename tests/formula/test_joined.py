"""Inputs that are put together from columns of one number each: the same numbers as of a column of arrays."""

from __future__ import annotations

import numpy as np

from pipeline.formula import GraphArrays, interpret, node_input, trace
from pipeline.formula.joined import joined
from pipeline.schema import EDGE, NODE

SRC, DST = np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2])
X = np.arange(12.0).reshape(3, 4) + 1
ATTR = np.arange(8.0).reshape(4, 2) - 3
OTHER = np.array([[2.0], [3.0], [5.0]])


def run(program, nodes, edges):
    arrays = GraphArrays({NODE: 3}, {EDGE: (SRC, DST)}, {NODE: nodes}, {EDGE: edges})
    return interpret(program, {}, arrays)["output"]


def test_the_parts_are_the_numbers_of_a_row_in_order():
    taken = node_input("x_1", (1,))  # an input of the name that the second part would get

    def formula(g, x):
        return x[1] * taken + g.sum(g.edge("attr") * g.src(x[0]))

    whole = trace(formula, {"nodes.x": (2, 2), "edges.attr": 2}, {})
    expected = run(whole, {"x": X, "x_1": OTHER}, {"attr": ATTR})
    parts, names = joined(whole, {"nodes.x": 4, "edges.attr": 2})
    assert names == ["nodes.x_0", "nodes.x_1_", "nodes.x_2", "nodes.x_3", "edges.attr_0", "edges.attr_1"]
    assert {str(column) for column in parts.inputs} == {*names, "nodes.x_1"}
    nodes = {name.partition(".")[2]: X[:, [lane]] for lane, name in enumerate(names[:4])}
    edges = {name.partition(".")[2]: ATTR[:, [lane]] for lane, name in enumerate(names[4:])}
    np.testing.assert_array_equal(run(parts, {**nodes, "x_1": OTHER}, edges), expected)


def test_a_program_that_reads_nothing_of_the_kind_is_the_same():
    program = trace(lambda g, x: g.sum(g.src(x)), {"nodes.x": 2}, {})
    parts, names = joined(program, {})
    assert (str(parts), names) == (str(program), [])
