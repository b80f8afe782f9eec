"""Labels of results: the name of the largest number, in every way of writing; and verify, which knows them.

The witness is a dictionary: id → label, written down by hand.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, infer, prepare, score, verify
from pipeline.errors import ModelError, SettingError, StorageError
from pipeline.formula import log, relu
from pipeline.places.marker import MARKER
from pipeline.settings import Settings
from tests.typed_tables import ACCOUNT, EDGE_FEATURES, FEATURES, SHOP
from tests.typed_tables import model as typed_model
from tests.typed_tables import tables as typed_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOW, HIGH = 'low, or "none"', "höch"
EXPECTED = {10: HIGH, 11: LOW, 12: LOW, 13: None, 14: HIGH}
"""Of the logarithms of X: the second is larger; the first; both are the same; one is NaN; one is -inf."""
X = [[1, 2], [2, 1], [3, 3], [-1, 2], [0, 1]]
NODES = pa.table({"id": [*EXPECTED], "x": pa.array(X, pa.list_(pa.float32()))})
EDGES = pa.table({"src": [10, 11], "dst": [11, 12]})


def labelled(classes: Any = (LOW, HIGH)) -> Model:
    return Model.from_formula(lambda g, x: log(x), {}, {"nodes.x": 2}, classes=classes)


def raw() -> Graph:
    return Graph(NODES, EDGES)


def by_id(table: pa.Table, column: str = "label") -> dict[int, str | None]:
    assert pa.types.is_string(table[column].type)
    return dict(zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True))


def read_csv(path: Path) -> list[dict[str, str]]:
    rows = []
    for file in sorted(path.glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as lines:
            rows += list(csv.DictReader(lines))
    return rows


# ---- every way of writing


def test_in_this_process(tmp_path: Path, no_session: None) -> None:
    """Arrow, Parquet, CSV; the name of a class may hold commas and quotes."""
    found = infer(raw(), labelled(), classify=True)
    assert found.column_names == ["id", "output", "predicted", "probability", "label"]
    assert by_id(found) == EXPECTED
    assert verify(raw(), labelled(), found, sample="all").passed
    for format in ("parquet", "csv"):
        score(prepare(raw(), tmp_path / f"{format}-graph", 2), labelled(), tmp_path / format, format=format)
        assert verify(raw(), labelled(), tmp_path / format, sample="all").passed
    assert by_id(pq.read_table(tmp_path / "parquet")) == EXPECTED
    assert {int(row["id"]): row["label"] or None for row in read_csv(tmp_path / "csv")} == EXPECTED
    column = json.loads((tmp_path / "parquet" / MARKER).read_text())["columns"][-1]
    assert column == {"name": "label", "type": "string", "of": "output", "classes": [LOW, HIGH]}


def test_through_spark(spark: SparkSession, tmp_path: Path) -> None:
    """A lazy table, and what Spark's own writer writes."""
    graph = prepare(raw(), tmp_path / "g", 2)
    lazy = infer(graph, labelled(), settings=Settings(tier="distributed"), spark=spark)
    assert lazy.columns == ["id", "output", "label"]
    assert by_id(lazy.toArrow()) == EXPECTED
    assert verify(raw(), labelled(), lazy, sample="all", spark=spark).passed
    for format in ("parquet", "csv"):
        at = tmp_path / format
        score(graph, labelled(), at, format=format, settings=Settings(write="spark"), spark=spark)
        assert verify(raw(), labelled(), at, sample="all", spark=spark).passed
    assert by_id(pq.read_table(tmp_path / "parquet")) == EXPECTED
    assert {int(row["id"]): row["label"] or None for row in read_csv(tmp_path / "csv")} == EXPECTED
    other = spark.read.parquet(str(tmp_path / "parquet")).selectExpr("id", "output", "'höch' AS label")
    wrong = verify(raw(), labelled(), other, sample="all", spark=spark)
    assert sorted(wrong.wrong_labels["label"]) == [11, 12, 13]


def test_of_several_outputs(tmp_path: Path, no_session: None) -> None:
    model = Model.from_formula(
        lambda g, x: {"kind": log(x), "amount": x[0], "size": relu(x)}, {}, {"nodes.x": 2},
        classes={"size": ["s", "m"], "kind": [LOW, HIGH]},
    )  # fmt: skip
    found = infer(raw(), model)
    assert found.column_names == ["id", "kind", "amount", "size", "kind_label", "size_label"]
    assert by_id(found, "kind_label") == EXPECTED
    assert by_id(found, "size_label") == {10: "m", 11: "s", 12: "s", 13: "m", 14: "m"}
    score(raw(), model, tmp_path / "o", targets=[13, 11])
    assert by_id(pq.read_table(tmp_path / "o"), "size_label") == {13: "m", 11: "s"}
    assert verify(raw(), model, tmp_path / "o").passed


def test_of_several_types(tmp_path: Path, no_session: None) -> None:
    """Those that have names have labels; each of its own table."""
    nodes, edges = typed_tables()
    graph = Graph(nodes, edges, features=FEATURES, edge_features=EDGE_FEATURES)
    plain, names = typed_model(), {ACCOUNT: ["p", "q"], SHOP: [LOW, HIGH]}
    outputs = {ACCOUNT: "pair", SHOP: "shop"}
    classes = {type: {outputs[type]: names[type]} for type in names}
    model = Model(plain.program, plain.weights, plain.columns, classes=classes)
    found = infer(graph, model)
    score(graph, model, tmp_path / "o")
    marker = json.loads((tmp_path / "o" / MARKER).read_text())["node_types"]
    columns = {ACCOUNT: "pair_label", SHOP: "label"}
    for type, table in found.items():
        assert [name for name in table.column_names if "label" in name] == ([columns[type]] if type in names else [])
        if type in names:
            best = [names[type][int(np.argmax(row))] for row in table[outputs[type]].to_pylist()]
            assert table[columns[type]].to_pylist() == best
            assert len(set(best)) > 1, "a case that tells something"
            written = pq.read_table(tmp_path / "o" / marker[type]["folder"])
            assert sorted(written[columns[type]].to_pylist()) == sorted(best)
    assert verify(graph, model, tmp_path / "o", sample="all").passed
    only = infer(graph, model, types=[SHOP])
    assert only[SHOP]["label"].to_pylist() == found[SHOP]["label"].to_pylist()


def test_of_edges(tmp_path: Path, no_session: None) -> None:
    model = Model.from_formula(lambda g, x: g.src(x) - g.dst(x), {}, {"nodes.x": 2}, classes=["a", "b"])
    found = infer(raw(), model)
    labels = {(row["src"], row["dst"]): row["label"] for row in found.to_pylist()}
    assert labels == {(10, 11): "b", (11, 12): "a"}
    assert verify(raw(), model, found, sample="all").passed
    changed = found.set_column(found.column_names.index("label"), "label", pa.array(["a", "a"]))
    wrong = verify(raw(), model, changed, sample="all")
    assert not wrong.passed
    assert "label: 1 label is not the name of the largest number in the row (first: id 10 → 11)" in str(wrong)


def test_without_rows(no_session: None) -> None:
    found = infer(Graph(NODES.slice(0, 0), EDGES.slice(0, 0)), labelled())
    assert (found.num_rows, found["label"].type) == (0, pa.string())


# ---- verify


@pytest.mark.parametrize(("id", "label"), [(10, LOW), (11, "strange"), (12, HIGH), (13, LOW), (14, None)])
def test_a_wrong_label_is_found(id: int, label: str | None, no_session: None) -> None:
    found = infer(raw(), labelled())
    changed = pa.array([label if each == id else old for each, old in by_id(found).items()], pa.string())
    wrong = verify(raw(), labelled(), found.set_column(2, "label", changed), sample="all")
    assert not wrong.passed
    assert wrong.wrong_labels == {"label": (id,)}
    assert wrong.facts["wrong_labels"] == {"label": 1}
    assert f"label: 1 label is not the name of the largest number in the row (first: id {id})" in str(wrong)


def test_scores_without_labels_are_those_of_a_model_without_classes(no_session: None) -> None:
    """And the other way round: a column that the model says nothing of is not looked at."""
    assert verify(raw(), labelled(), infer(raw(), labelled(None)), sample="all").passed
    assert verify(raw(), labelled(None), infer(raw(), labelled()), sample="all").passed


# ---- a model keeps them


def test_a_saved_model_has_them(tmp_path: Path) -> None:
    labelled().save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.classes == {"output": (LOW, HIGH)} == labelled().classes
    assert loaded.fingerprint == labelled().fingerprint != labelled((HIGH, LOW)).fingerprint
    assert f"classes of output: {LOW}, {HIGH}" in str(loaded)
    assert loaded.facts["classes"] == {"output": [LOW, HIGH]}
    assert loaded.trained_on(["a", "b"]).classes == loaded.classes
    assert labelled(None).facts["classes"] == {}
    saved = json.loads((tmp_path / "m" / "model.json").read_text())
    del saved["classes"]  # of a version that knew of none
    (tmp_path / "m" / "model.json").write_text(json.dumps(saved))
    assert Model.load(tmp_path / "m").fingerprint == labelled(None).fingerprint


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"output": ["a"]}, "1 class is named for output 'output', which has 2 numbers in a row"),
        ({"output": "ab"}, "a list of texts is expected"),
        ({"output": ["a", "a"]}, "classes 0 and 1 of output 'output' are both called 'a'"),
        ({"other": ["a", "b"]}, r"model.json is not well formed: .*classes are named of \['other'\]"),
        (["a", "b"], "model.json is not well formed"),
        (7, "model.json is not well formed"),
    ],
)
def test_a_changed_file_is_refused(classes: Any, message: str, tmp_path: Path) -> None:
    labelled().save(tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"classes": classes}))
    with pytest.raises(ModelError, match=message):
        Model.load(tmp_path / "m")


def test_features_by_themselves_keep_the_classes(no_session: None) -> None:
    """A graph that holds the columns of x one by one has a model bound to it."""
    nodes = pa.table({"id": NODES["id"], **{name: pa.array([row[at] for row in X], pa.float32())
                                            for at, name in enumerate(("a", "b"))}})  # fmt: skip
    model = labelled().trained_on(["a", "b"])
    graph = Graph(nodes, EDGES, features={"a": "a", "b": "b"})
    found = infer(graph, model)
    assert by_id(found) == EXPECTED
    assert verify(graph, model, found, sample="all").passed


def test_scores_of_other_classes_are_not_the_same(tmp_path: Path, no_session: None) -> None:
    graph = prepare(raw(), tmp_path / "g", 2)
    score(graph, labelled(), tmp_path / "o", if_same="skip")
    assert score(graph, labelled(), tmp_path / "o", if_same="skip").skipped
    with pytest.raises(StorageError, match=r"is not the same \(the model\)"):
        score(graph, labelled((HIGH, LOW)), tmp_path / "o", if_same="skip")


# ---- columns alike


@pytest.mark.parametrize(
    ("id", "output", "options", "message"),
    [
        ("label", "y", {}, "two columns 'label': the ids, and the labels that the model's classes make of the output "
                           "'y'; output_id=NAME calls the ids otherwise"),
        ("LABEL", "y", {}, "two columns 'label', which differs from 'LABEL' by case only: the ids"),
        ("id", "y", {"output_id": "label"}, "two columns 'label': the ids, and the labels"),
    ],
)  # fmt: skip
def test_ids_called_label_are_refused_before_work(
    id: str, output: str, options: Any, message: str, tmp_path: Path, no_session: None
) -> None:
    graph = Graph(NODES.rename_columns([id, "x"]), EDGES, id=id)
    model = Model.from_formula(lambda g, x: {output: x}, {}, {"nodes.x": 2}, classes=["a", "b"])
    with pytest.raises(SettingError, match=message):
        infer(graph, model, **options)
    with pytest.raises(SettingError, match=message):
        score(graph, model, tmp_path / "o", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_column_of_the_edges_called_label(no_session: None) -> None:
    graph = Graph(NODES, EDGES.append_column("label", pa.array([1.0, 2.0])), edge_features=["label"])
    model = Model.from_formula(
        lambda g, x, w=None: (g.src(x) - g.dst(x)) * g.edge("label").reshape(1), {},
        {"nodes.x": 2, "edges.label": ()}, classes=["a", "b"],
    )  # fmt: skip
    with pytest.raises(SettingError, match="two columns 'label': a column of the edges, and the labels that the model"):
        infer(graph, model)


# ---- the page and the command


def test_the_page_says_how_many_rows_have_each_label(tmp_path: Path, no_session: None) -> None:
    pytest.importorskip("jinja2")
    model = labelled(("<b>&low", "$high$"))
    score(raw(), model, tmp_path / "o", report=tmp_path / "o.html")
    page = (tmp_path / "o.html").read_text()
    assert "<td>0</td><td>&lt;b&gt;&amp;low</td><td>2</td>" in page
    assert "<td>1</td><td>$high$</td><td>2</td>" in page
    assert "1 row holds NaN, and is left out" in page
    assert ": the predicted class." in page


def test_a_table_of_scores_that_a_command_verifies(tmp_path: Path, no_session: None) -> None:
    pq.write_table(NODES, tmp_path / "nodes.parquet")
    pq.write_table(EDGES, tmp_path / "edges.parquet")
    labelled().save(tmp_path / "m")
    prepare(Graph(tmp_path / "nodes.parquet", tmp_path / "edges.parquet"), tmp_path / "g", 2)
    common = ["--graph", str(tmp_path / "g"), "--model", str(tmp_path / "m"), "--output", str(tmp_path / "o")]
    done = CliRunner().invoke(cli.app, ["infer", *common, "--format", "csv"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli.app, ["verify", *common, "--sample", "all", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["wrong_labels"]) == (0, {"label": 0}), done.output
