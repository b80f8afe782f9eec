"""Options that name columns, inputs and outputs, as they are typed."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.command.columns import edge_columns, feature_columns, input_column, output_names
from pipeline.command.messages import message_of
from pipeline.errors import ModelError, SettingError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("edge_weight=edges.weight", "edges.weight"),
        ("edge_weight=none", None),
        ("edge_attr=edges.a+edges.b", ["edges.a", "edges.b"]),
        ("graph=edge_index", "edge_index"),
        ("adjs=edge_index+edge_index", ["edge_index", "edge_index"]),
        ("adj_t=edge_index+none", ("edge_index", None)),
        ("adj_t=edge_index+edges.w", ("edge_index", "edges.w")),
        ("n=num_nodes", "num_nodes"),
        ("g=data", "data"),
        ("pos_edge_index=pos", "pos"),
        ("scale=2.0", 2.0),
        ("scale=-3", -3),
        ("scale=1e-3", 0.001),
        ("deep=true", True),
        ("deep=false", False),
    ],
)
def test_an_input(text: str, expected: Any) -> None:
    name, found = input_column(text)
    assert (name, found, type(found)) == (text.partition("=")[0], expected, type(expected))


@pytest.mark.parametrize(
    "text", ["scale", "=2.0", "scale=", "x=column", "edge_weight=amount", "=edges.a", "scale=1_000", "scale=2,5"]
)
def test_no_input(text: str) -> None:
    message = f"--input {text}: write NAME=TABLE.COLUMN, like edge_weight=edges.weight; NAME=none; a number, scale=2.0"
    with pytest.raises(SettingError) as found:
        input_column(text)
    assert str(found.value).startswith(message)


def test_names_of_outputs() -> None:
    assert output_names(None) == []
    assert output_names("logits, hidden") == ["logits", "hidden"]
    assert output_names("logits=output_0, output_1") == {"logits": "output_0", "output_1": "output_1"}
    with pytest.raises(SettingError, match="--outputs a=: write NAME,NAME or NAME=NAME_IN_FORWARD"):
        output_names("a=")
    with pytest.raises(SettingError, match="--outputs a=b,a: 'a' is given twice"):
        output_names("a=b,a")


def test_features_as_in_python() -> None:
    """Several, each of one column or of several."""
    assert feature_columns("age,amount,kind=kind,place=lat+lon") == {
        "x": ["age", "amount"], "kind": ["kind"], "place": ["lat", "lon"]
    }  # fmt: skip
    assert edge_columns("w,edge_attr=log_amount+days") == {"w": ["w"], "edge_attr": ["log_amount", "days"]}


def test_a_hint_to_choose_outputs_is_in_the_words_of_the_command() -> None:
    said = message_of(ModelError("to import what has a row per node: outputs=['logits', 'h']"))
    assert said is not None
    assert said.text == "to import what has a row per node: --outputs logits,h"
