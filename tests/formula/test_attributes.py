"""What a formula, and above all a file, may say of an operation; and in which words the rest is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipeline.errors import FormulaError, ModelError, shortened
from pipeline.formula import Program, Relation, apply
from pipeline.formula.attributes import ATTRIBUTES, MOST_COMPUTED, MOST_LANES
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import node_input, weight


def test_every_attribute_of_an_operation_has_a_kind() -> None:
    used = {key for operation in OPERATIONS.values() for key in operation.attributes}
    assert used == ATTRIBUTES.keys() - {"value"}  # that of leaves


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("leaky_relu", {"slope": "0.1"}, "slope is '0.1'; a number is expected"),
        ("leaky_relu", {"slope": True}, "slope is True; a number is expected"),
        ("leaky_relu", {"slope": 10**400}, r"slope is 10+… \(401 letters\); a number is expected"),
        ("leaky_relu", {"slope": [1.0]}, r"slope is \[1.0\]; a number is expected"),
        ("gelu", {"approximate": "tahn"}, "approximate is 'tahn'; 'none' or 'tanh' is expected"),
        ("reshape", {"shape": (4.0,)}, r"shape is \(4.0,\); whole numbers are expected"),
        ("reshape", {"shape": 4}, "shape is 4; whole numbers are expected"),
        ("reshape", {"shape": (-1, -4)}, r"a shape is \(-1, -4\); sizes from 0 are expected"),
        ("broadcast_to", {"shape": (10**9, 4)}, r"hold 4,000,000,000 numbers each; 16,777,216 are supported"),
        ("broadcast_to", {"shape": (1,) * 16 + (4,)}, "a shape of 17 axes; 16 are supported"),
        ("transpose", {"axes": (0, 0)}, r"cannot be transposed to axes \(0, 0\): each axis once is expected"),
        ("concat", {"axis": -1}, r"rows of \(4,\) have no axis -1"),
        ("slice", {"axis": 1, "start": 0, "stop": 1, "step": 1}, r"rows of \(4,\) have no axis 1"),
        ("slice", {"axis": 0, "start": -2, "stop": 1, "step": 1}, r"columns -2:1:1 are not in rows of \(4,\)"),
        ("slice", {"axis": 0, "start": 0, "stop": 2, "step": 0}, r"columns 0:2:0 are not in rows of \(4,\)"),
        ("take", {"axis": 0, "indices": (-1,)}, r"columns \(-1,\) are not in rows of \(4,\)"),
        ("lane_sum", {"axes": (0, 0), "keepdims": False}, r"rows of \(4,\) have no axes \(0, 0\)"),
        ("lane_sum", {"axes": (0,), "keepdims": 1}, "keepdims is 1; true or false is expected"),
        ("lane_argmax", {"axes": (), "keepdims": False}, "along one axis, not 0"),
    ],
)
def test_attributes_that_are_refused(op: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        apply(op, node_input("x", (4,)), **attributes)


def test_a_row_without_lanes_has_no_largest() -> None:
    with pytest.raises(FormulaError, match=r"rows of \(0,\) have no largest column"):
        apply("lane_max", node_input("x", (0,)), axes=(0,), keepdims=False)


def test_reductions_begin_with_edge_values() -> None:
    g, x = Relation(), node_input("x", (4,))
    with pytest.raises(FormulaError, match="takes logits and messages of the same edges"):
        apply("softmax_sum", weight("a", (4,)), g.src(x))
    loops = apply("restrict", g.src(x), part="loops")
    with pytest.raises(FormulaError, match=r"messages have shape \(4,\), but own ones \(2, 4\)"):
        apply("last", loops, weight("a", (2, 4)))


@pytest.mark.parametrize("part", ["all+self", "proper+self"])
def test_a_restriction_adds_no_edges(part: str) -> None:
    with pytest.raises(FormulaError, match=f"edges cannot be restricted to {part!r}".replace("+", r"\+")):
        apply("restrict", Relation().src(node_input("x", (4,))), part=part)


LEAF = {"op": "input", "attributes": {"name": "x"}, "space": "nodes", "shape": [2]}


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ({"attributes": {"name": 7}}, "the name of a column is 7; a text is expected"),
        ({"attributes": {"name": ""}}, "the name of a column has 0 letters; 1 to 1,000 are supported"),
        ({"attributes": {"name": "a" * 1001}}, "has 1,001 letters"),
        ({"attributes": {"name": "a\nb"}}, r"the name of a column is 'a\\nb': it holds control characters"),
        ({"attributes": {"name": "\ud800"}}, r"is '\\ud800': it holds control characters"),
        ({"attributes": {"name": "x", "more": 1}}, r"its attributes are \['name'\], not \['more', 'name'\]"),
        ({"space": "weight"}, "it is on weight; rows of nodes or edges are expected"),
        ({"space": "graph"}, "it is on graph; rows of nodes or edges are expected"),
        ({"shape": [10**18]}, "1,000,000,000,000,000,000 numbers each; 16,777,216 are supported"),
        ({"shape": [-2]}, r"a shape is \(-2,\); sizes from 0 are expected"),
        ({"shape": "22"}, r"a shape is \('2', '2'\); sizes from 0 are expected"),
        ({"op": "fill", "attributes": {"value": "1"}}, "value is '1'; a number is expected"),
        ({"op": "weight"}, "it is on nodes, of shape"),
        ({"op": ["input"]}, r"unknown operation \['input'\]"),
    ],
)
def test_leaves_that_no_formula_makes(leaf: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelError, FormulaError), match=message):
        Program.from_json({"values": [LEAF | leaf], "outputs": {"y": 0}})


@pytest.mark.parametrize("number", [-1, 1, 7, 0.0, True, "0", None])
def test_numbers_of_values_that_are_none(number: Any) -> None:
    words = re.escape(f"{number!r} is not the number of a value before it")
    with pytest.raises(ModelError, match=words):
        Program.from_json({"values": [LEAF, {"op": "relu", "inputs": [number]}], "outputs": {}})
    with pytest.raises(ValueError, match=words):
        Program.from_json({"values": [LEAF], "outputs": {"y": number}})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["id"], "output 'id': the result has a column of this name already"),
        (["ID"], "output 'ID': the result has a column of this name already"),
        (["__superstep"], "'__superstep': the result has a column"),
        (["h", "H"], "outputs 'h' and 'H' differ by case only"),
        (["a\x1b[2J"], r"the name of an output is 'a\\x1b\[2J': it holds control characters"),
    ],
)
def test_names_of_outputs(names: list[str], message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        Program(dict.fromkeys(names, node_input("x", (2,))))


def test_weights_that_would_be_made_are_not_too_large() -> None:
    wide = apply("broadcast_to", weight("a", (1,)), shape=(MOST_COMPUTED + 1,))
    narrow = apply("slice", wide, axis=0, start=0, stop=2, step=1)
    with pytest.raises(FormulaError, match="numbers are computed from weights of 1; 268,435,456 are supported"):
        Program({"y": node_input("x", (2,)) + narrow})


def test_a_weight_has_one_shape() -> None:
    x = node_input("x", (2,))
    with pytest.raises(FormulaError, match=r"weight a is read with shape \(2,\) and with shape \(\)"):
        Program({"y": x + weight("a", (2,)) + weight("a", ())})


def test_large_tables_are_no_large_rows() -> None:
    table = weight("table", (MOST_LANES // 8, 16))
    assert apply("transpose", table, axes=(1, 0)).shape == (16, MOST_LANES // 8)


def test_what_was_found_is_shown_in_short() -> None:
    assert shortened("x" * 100, 5) == "'xxxx… (102 letters)"
    assert shortened([1, 2]) == "[1, 2]"
