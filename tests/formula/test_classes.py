"""Names of classes, as they may be given for the outputs of a program, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.formula.classes import Label, checked_classes, labels_of
from pipeline.formula.program import Program
from pipeline.formula.spaces import Nodes
from pipeline.formula.values import node_input
from tests.typed_tables import ACCOUNT, CARD, SHOP
from tests.typed_tables import model as typed_model

X = node_input("x", (3,))
ONE = Program({"logits": X})
TWO = Program({"logits": X, "score": X[0], "kind": X[:2]})
NAMES = ("a", "b", "c")


def test_of_one_output() -> None:
    for given in (["a", "b", "c"], ("a", "b", "c"), np.array(["a", "b", "c"]), {"logits": ["a", "b", "c"]}):
        assert checked_classes(ONE, given) == {"logits": NAMES}
    assert checked_classes(ONE, None) == {}
    assert checked_classes(ONE, {}) == {}
    assert labels_of(ONE, "node", {"logits": NAMES}) == {"label": Label("logits", NAMES)}
    assert labels_of(ONE, "node", {}) == {}


def test_of_several_outputs() -> None:
    found = checked_classes(TWO, {"kind": ["x", "y"], "logits": NAMES})
    assert found == {"kind": ("x", "y"), "logits": NAMES}
    assert [*labels_of(TWO, "node", found)] == ["logits_label", "kind_label"]
    assert [*labels_of(TWO, "node", {"kind": ("x", "y")})] == ["kind_label"], "not `label`: of which output?"


def test_of_several_types() -> None:
    """By type where it has one output, by type and output, or as the program calls the output."""
    program = typed_model().program
    given = {SHOP: ["x", "y"], ACCOUNT: {"pair": ["p", "q"]}, "bank%20card%2F1.card": NAMES}
    found = checked_classes(program, given)
    assert [labels_of(program, type, found) for type in (SHOP, ACCOUNT, CARD)] == [
        {"label": Label("shop", ("x", "y"))}, {"pair_label": Label("pair", ("p", "q"))},
        {"label": Label("card", NAMES)},
    ]  # fmt: skip
    assert checked_classes(program, found) == found, "keys of outputs, as a saved model has them"
    with pytest.raises(ModelError, match="classes has one list for type 'account', which has 2 outputs: output, pair;"):
        checked_classes(program, {ACCOUNT: NAMES})


@pytest.mark.parametrize(
    ("program", "given", "message"),
    [
        (ONE, ["a", "b"], "2 classes are named for output 'logits', which has 3 numbers in a row; name each of them"),
        (ONE, ["a"], "1 class is named for output 'logits', which has 3 numbers"),
        (ONE, [], "0 classes are named for output 'logits', which has 3 numbers"),
        (ONE, ["a", "b", "a"], "classes 0 and 2 of output 'logits' are both called 'a'"),
        (ONE, "abc", "the classes of output 'logits' are 'abc'; a list of texts is expected, in the order of the out"),
        (ONE, {"a", "b", "c"}, "a list of texts is expected, in the order of the output's numbers"),
        (ONE, 3, "the classes of output 'logits' are 3; a list of texts is expected"),
        (ONE, [0, 1, 2], "the name of class 0 of output 'logits' is 0; a text is expected"),
        (ONE, ["a", "", "c"], "the name of class 1 of output 'logits' has 0 letters"),
        (ONE, ["a", "b\nc", "d"], "the name of class 1 of output 'logits' is 'b.nc': it holds control characters"),
        (ONE, ["a", "b", None], "the name of class 2 of output 'logits' is None; a text is expected"),
        (ONE, {"logit": NAMES}, "classes names 'logit', which is no output of the model; did you mean 'logits'?"),
        (ONE, {0: "a", 1: "b", 2: "c"}, "classes names 0, which is no output of the model; known: logits"),
        (TWO, NAMES, "classes is one list, and the model has 3 outputs: write {'logits': .*, output → names; the outp"),
        (TWO, {"score": ["low", "high"]}, "output 'score' has one number in a row, so none of it is the largest;"),
        (TWO, {"node": NAMES}, "classes has one list for type 'node', which has 3 outputs: logits, score, kind; write"),
        (TWO, {"node": {"logit": NAMES}}, "classes names 'logit', which is no output of type 'node'; known: logits"),
        (TWO, {"node": {"logits": NAMES}, "logits": NAMES}, "classes has output 'logits' twice"),
        (Program({"Label": X}), NAMES, "the labels of output 'Label' would be a column 'label', and the model has an"),
        (Program({"a": X, "a_label": X}), {"a": NAMES}, "a column 'a_label', and the model has an output"),
    ],
)  # fmt: skip
def test_refused(program: Program, given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        checked_classes(program, given)


def test_a_row_with_several_axes_is_as_wide_as_its_numbers() -> None:
    matrix = Program({"output": node_input("x", (2, 2), Nodes())})
    assert checked_classes(matrix, ["a", "b", "c", "d"]) == {"output": ("a", "b", "c", "d")}
