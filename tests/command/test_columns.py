"""Options that name columns, inputs and outputs, as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.command.columns import class_names, edge_columns, feature_columns, input_column, output_names
from pipeline.command.messages import message_of
from pipeline.errors import ModelError, SettingError, StorageError


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


def test_names_of_classes(tmp_path: Path) -> None:
    """With commas, or one a line of a file, in which they may hold commas; for each output or for the only one."""
    file = tmp_path / "classes.txt"
    file.write_text("\ufefflegit, so far\nfraud \n\n", encoding="utf-8")
    assert class_names(["legit, fraud"]) == ["legit", "fraud"]
    assert class_names([str(file)]) == ["legit, so far", "fraud"]
    assert class_names(["kind=a,b=c", f"size={file}"]) == {"kind": ["a", "b=c"], "size": ["legit, so far", "fraud"]}
    assert class_names(["a,b=c"]) == ["a", "b=c"]
    assert class_names(["a,,c"]) == ["a", "", "c"], "which the model refuses: a name is missing"


def test_no_names_of_classes(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("höch\nlow".encode("latin-1"))
    for given, kind, message in (
        (["fraud"], SettingError, "--classes 'fraud': there is no such file; write the names with commas, NAME,NAME"),
        ([""], SettingError, "--classes '': there is no such file"),
        (["a,b", "c,d"], SettingError, "--classes 'a,b': write OUTPUT=NAME,NAME for each of several outputs"),
        (["y=a,b", "y=c,d"], SettingError, "--classes: output 'y' is given twice"),
        ([str(tmp_path)], StorageError, "cannot be read: Is a directory"),
        ([str(tmp_path / "latin")], StorageError, "cannot be read: it is no text in UTF-8"),
    ):
        with pytest.raises(kind) as found:
            class_names(given)
        assert message in str(found.value)


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
