"""What the columns of a result are called: ids as in the user's table, whatever that is, and no two columns alike."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, infer, prepare, score, verify
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.formula import linear, sqrt
from pipeline.places.marker import MARKER
from pipeline.settings import Settings
from tests.formulas import build
from tests.typed_tables import ACCOUNT, CARD, EDGE_FEATURES, FEATURES, SHOP
from tests.typed_tables import model as typed_model
from tests.typed_tables import tables as typed_tables
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAMES = [
    "account_id", "account id", "Nr. 1 (neu)", "a.b", "`tick`", 'say "id"', "ключ", "type", "block", "predicted", "ID",
    "a,b;c=d{e}", "l" * 900,
]  # fmt: skip


def named(name: str) -> pa.Table:
    """The nodes of the graph "mixed", with ids of this name."""
    return whole("mixed").nodes().rename_columns([name, "x"])


def graph(name: str = "account_id") -> Graph:
    return Graph(named(name), whole("mixed").edges(), id=name)


def giving(**outputs: Any) -> Model:
    """A model whose outputs have these names: of x, some numbers."""
    return Model.from_formula(lambda g, x: {name: x[at] for name, at in outputs.items()}, {}, {"nodes.x": 6})


# ---- ids keep their name


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_called_as_in_the_nodes(name: str, tmp_path: Path, no_session: None) -> None:
    """In memory, as Parquet, as CSV; and verify knows it again."""
    model = build("sage")
    prepared = prepare(graph(name), tmp_path / "g", 2)
    found = infer(prepared, model)
    assert found.column_names == [name, "output"]
    assert sorted(found[name].to_pylist()) == sorted(whole("mixed").ids)
    assert verify(graph(name), model, found).passed
    for format in ("parquet", "csv"):
        score(prepared, model, tmp_path / format, format=format)
        assert verify(graph(name), model, tmp_path / format, sample="all").passed
    rows = pq.read_table(tmp_path / "parquet").to_pylist()
    assert sorted(rows, key=lambda row: row[name]) == sorted(found.to_pylist(), key=lambda row: row[name])
    with (tmp_path / "csv" / "part-00000.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file))[:2] == [name, "output_0"]
    assert json.loads((tmp_path / "csv" / MARKER).read_text())["columns"][0]["name"] == name


def test_ids_may_be_called_as_a_feature(no_session: None) -> None:
    nodes = pa.table({"x": [5, 6, 7], "f": pa.array([1.0, 2.0, 3.0], pa.float32())})
    edges = pa.table({"src": [5, 6], "dst": [6, 7]})
    model = Model.from_formula(lambda g, x: {"sum": g.sum(g.src(x))}, {}, {"nodes.x": 1})
    raw = Graph(nodes, edges, id="x", features={"x": "f"})
    found = infer(raw, model)
    assert dict(zip(found["x"].to_pylist(), found["sum"].to_pylist(), strict=True)) == {5: [0], 6: [1], 7: [2]}
    assert verify(raw, model, found).passed


def test_each_type_keeps_its_own(tmp_path: Path, no_session: None) -> None:
    nodes, edges = typed_tables()
    names = {ACCOUNT: "account_id", CARD: "Karte Nr.", SHOP: "id"}
    nodes |= {type: nodes[type].rename_columns([name, *nodes[type].column_names[1:]]) for type, name in names.items()}
    raw = Graph(nodes, edges, features=FEATURES, edge_features=EDGE_FEATURES, id=names)
    prepared = prepare(raw, tmp_path / "g", 2)
    assert {type: table.column_names[0] for type, table in infer(prepared, typed_model()).items()} == names
    for format in ("parquet", "csv"):
        score(prepared, typed_model(), tmp_path / format, format=format)
        marker = json.loads((tmp_path / format / MARKER).read_text())
        assert {type: of["columns"][0]["name"] for type, of in marker["node_types"].items()} == names
        assert verify(raw, typed_model(), tmp_path / format).passed
    found = infer(prepared, typed_model(), output_id="key")
    assert [table.column_names[0] for table in found.values()] == ["key"] * 3
    assert verify(raw, typed_model(), found, output_id="key").passed


def test_another_name_is_chosen(tmp_path: Path, no_session: None) -> None:
    model = build("sage")
    score(graph(), model, tmp_path / "o", output_id="Kunde Nr. 1")
    assert pq.read_table(tmp_path / "o").column_names == ["Kunde Nr. 1", "output"]
    assert verify(graph(), model, tmp_path / "o").passed, "the marker knows the name"
    found = infer(graph(), model, output_id="key")
    said = r"the scores have no column 'account_id' of ids; they have key, output; output_id=NAME says what it is"
    with pytest.raises(DataError, match=said):
        verify(graph(), model, found)
    assert verify(graph(), model, found, output_id="key").passed


def test_targets_keep_it_too(tmp_path: Path, no_session: None) -> None:
    ids = whole("mixed").ids[:7]
    score(graph(), build("sage"), tmp_path / "o", targets=pa.table({"account_id": ids}))
    assert sorted(pq.read_table(tmp_path / "o")["account_id"].to_pylist()) == sorted(ids)
    assert verify(graph(), build("sage"), tmp_path / "o").passed


def test_scores_with_other_names_are_not_the_same(tmp_path: Path, no_session: None) -> None:
    """Two graphs that differ by the name of their ids alone have the same blocks."""
    for name in ("id", "key"):
        prepare(graph(name), tmp_path / name, 2)
    model = build("sage")
    score(tmp_path / "id", model, tmp_path / "o", if_same="skip")
    assert score(tmp_path / "id", model, tmp_path / "o", if_same="skip").skipped
    with pytest.raises(StorageError, match=r"is not the same \(output_id id instead of key\);"):
        score(tmp_path / "key", model, tmp_path / "o", if_same="skip")
    assert score(tmp_path / "key", model, tmp_path / "o", if_same="skip", output_id="id").skipped


def test_the_command_line_chooses_and_verifies(tmp_path: Path, no_session: None) -> None:
    pq.write_table(named("account_id"), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    prepare(Graph(tmp_path / "nodes.parquet", tmp_path / "edges.parquet", id="account_id"), tmp_path / "g")
    common = ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "o"), "--graph", str(tmp_path / "g")]
    made = CliRunner().invoke(cli.app, ["infer", *common, "--output-id", "key"])
    assert made.exit_code == 0, made.output
    assert pq.read_table(tmp_path / "o").column_names[0] == "key"
    (tmp_path / "o" / MARKER).unlink()  # scores of which nobody says what they are
    refused = CliRunner().invoke(cli.app, ["verify", *common])
    assert (refused.exit_code, "--output-id NAME says what it is called" in refused.output) == (2, True), refused.output
    assert CliRunner().invoke(cli.app, ["verify", *common, "--output-id", "key"]).exit_code == 0


def test_the_same_through_spark(spark: SparkSession, tmp_path: Path) -> None:
    """Spark writes, reads back and joins columns of awkward names as this process does."""
    name, model = "Nr. `1` (neu), é", build("sage")
    here = Graph(named(name), whole("mixed").edges(), id=name, spark=False)
    raw = Graph(spark.createDataFrame(named(name)), spark.createDataFrame(whole("mixed").edges()), id=name)
    prepared = prepare(raw, tmp_path / "g", 2)
    for tier, format, write, tables in (
        ("fused", "csv", "spark", raw),
        ("distributed", "parquet", "spark", here),
        ("fused", "csv", "worker", here),
    ):
        at = tmp_path / f"{tier}-{format}-{write}"
        score(prepared, model, at, format=format, settings=Settings(tier=tier, write=write), spark=spark)
        assert verify(tables, model, at).passed
    lazy = infer(prepared, model, settings=Settings(tier="distributed"), spark=spark)
    assert lazy.columns == [name, "output"]
    assert verify(raw, model, lazy, spark=spark).passed
    called = infer(prepared, model, output_id="key", spark=spark)
    assert verify(here, model, called.toArrow(), output_id="key").passed


# ---- no two columns alike


@pytest.mark.parametrize(
    ("name", "outputs", "options", "message"),
    [
        ("score", {"score": slice(0, 2)}, {},
         "the result would have two columns 'score': the ids, and the output 'score'; output_id=NAME calls the ids "),
        ("Score", {"score": slice(0, 2)}, {},
         "two columns 'score', which differs from 'Score' by case only: the ids, and the output 'score'"),
        ("PREDICTED", {"y": slice(0, 2)}, {"classify": True},
         "'predicted', which differs from 'PREDICTED' by case only: the ids, and the class that classify adds; "),
        ("key", {"Probability": slice(0, 2)}, {"classify": True},
         "the output 'Probability', and the probability that classify adds; export the model with other names of its "
         "outputs, or leave classify out"),
        ("key", {"y": slice(0, 2), "y_1": 0}, {"format": "csv"},
         "the result would have two columns 'y_1': the output 'y', and the output 'y_1'; export the model with other"),
        ("y_0", {"y": slice(0, 2)}, {"format": "csv"}, "two columns 'y_0': the ids, and the output 'y'; output_id="),
        ("__Superstep", {"y": slice(0, 2)}, {},
         "'__superstep', which differs from '__Superstep' by case only: the ids, and a column that is kept for"),
        ("key", {"y": slice(0, 2)}, {"output_id": "Y"}, "two columns 'y', which differs from 'Y' by case"),
        ("key", {"y": slice(0, 2)}, {"output_id": ""}, "output_id=: the name of the column of ids has 0 letters"),
        ("key", {"y": slice(0, 2)}, {"output_id": "a\nb"}, "output_id=: .* holds control characters"),
        ("key", {"y": slice(0, 2)}, {"output_id": 7}, "output_id=: the name of the column of ids is 7; a text"),
    ],
)  # fmt: skip
def test_two_columns_of_one_name_are_refused_before_any_work(
    name: str, outputs: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path, no_session: None
) -> None:
    with pytest.raises(SettingError, match=message):
        score(graph(name), giving(**outputs), tmp_path / "o", settings={"scratch": tmp_path / "s"}, **options)
    if "format" not in options:
        with pytest.raises(SettingError, match=message):
            infer(graph(name), giving(**outputs), settings={"scratch": tmp_path / "s"}, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["no", 1, None, "True"])
def test_a_flag_is_true_or_false(flag: Any, tmp_path: Path, no_session: None) -> None:
    """A text is true for Python: overwrite="no" would replace."""
    raw, model = graph(), build("sage")
    nodes, edges = named("account_id"), whole("mixed").edges()
    score(raw, model, tmp_path / "o")
    prepared = prepare(raw, tmp_path / "g")
    before = sorted(tmp_path.rglob("*"))
    calls: list[tuple[str, Any]] = [
        ("overwrite", lambda: score(raw, model, tmp_path / "o", overwrite=flag)),
        ("overwrite", lambda: prepare(raw, tmp_path / "g", overwrite=flag)),
        ("classify", lambda: infer(prepared, model, classify=flag)),
        ("classify", lambda: score(prepared, model, tmp_path / "p", classify=flag)),
        ("undirected", lambda: Graph(nodes, edges, id="account_id", undirected=flag)),
        ("drop_dangling", lambda: Graph(nodes, edges, id="account_id", drop_dangling=flag)),
        ("reverse", lambda: Graph(nodes, edges, id="account_id", reverse=flag)),
    ]
    for name, call in calls:
        with pytest.raises(SettingError, match=f"{name} is {flag!r}; accepted: True, False"):
            call()
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(SettingError, match="unknown output format"):
        score(raw, model, tmp_path / "p", format=["csv"])  # type: ignore[arg-type]


def test_ids_without_a_value_have_no_type(no_session: None) -> None:
    nothing = pa.table({"id": pa.array([], pa.null()), "x": pa.array([], pa.list_(pa.float32()))})
    ends = pa.table({"src": pa.array([], pa.null()), "dst": pa.array([], pa.null())})
    with pytest.raises(DataError, match=r"nodes.id holds no value, so nobody knows .*: .astype\('string'\)"):
        Graph(nothing, ends)


def test_scores_that_are_something_else_of_ours(tmp_path: Path, no_session: None) -> None:
    build("sage").save(tmp_path / "m")
    prepare(graph(), tmp_path / "g")
    for name, what in (("m", "a model"), ("g", "a prepared graph")):
        with pytest.raises(StorageError, match=f"{name}: it is {what}, and not scores; name the path that infer wrote"):
            verify(graph(), build("sage"), tmp_path / name)


def test_what_differs_in_parquet_is_no_collision(tmp_path: Path, no_session: None) -> None:
    """y_1 is a name of its own where arrays are one column."""
    score(graph("y_0"), giving(y=slice(0, 2), y_1=0), tmp_path / "o")
    assert pq.read_table(tmp_path / "o").column_names == ["y_0", "y", "y_1"]


# ---- CSV is verified


def test_wrong_numbers_in_csv_are_seen(tmp_path: Path, no_session: None) -> None:
    model = Model.from_formula(lambda g, x: {"two": x[:2], "one": x[2]}, {}, {"nodes.x": 6})
    score(graph(), model, tmp_path / "o", format="csv", classify=True)
    assert verify(graph(), model, tmp_path / "o", sample="all").passed
    file = tmp_path / "o" / "part-00000.csv"
    lines = file.read_text().splitlines()
    cells = lines[5].split(",")
    for at, wrong in enumerate((None, "7.5", "7.5", "7.5", "9", "0.001")):
        if wrong is None:
            continue
        changed = [*cells[:at], wrong, *cells[at + 1 :]]
        file.write_text("\n".join([*lines[:5], ",".join(changed), *lines[6:]]) + "\n")
        assert not verify(graph(), model, tmp_path / "o", sample="all").passed, lines[0].split(",")[at]
    file.write_text("\n".join([*lines[:5], ",".join([cells[0], "much", *cells[2:]]), *lines[6:]]) + "\n")
    with pytest.raises(DataError, match="the scores' two_0 holds 'much', which is no number"):
        verify(graph(), model, tmp_path / "o")
    file.write_text("\n".join([*lines[:5], ",".join(["one", *cells[1:]]), *lines[6:]]) + "\n")
    with pytest.raises(DataError, match="the scores' account_id holds 'one', and the graph's ids are integers"):
        verify(graph(), model, tmp_path / "o")


def test_text_ids_of_csv_are_verified_as_they_are(tmp_path: Path, no_session: None) -> None:
    """Among them 007, which is no 7; NaN is read back."""
    ids = ["007", "7", 'a"b', "c, d", "line\nend"]
    nodes = pa.table({"key": ids, "x": pa.array([[1.0], [2.0], [-3.0], [4.0], [5.0]], pa.list_(pa.float32()))})
    edges = pa.table({"src": ids[:2], "dst": ids[1:3]})
    model = Model.from_formula(lambda g, x, w: sqrt(linear(x, w.a)), {"a.weight": [[2.0], [0.5]]}, {"nodes.x": 1})
    raw = Graph(nodes, edges, id="key")
    score(raw, model, tmp_path / "o", format="csv")
    assert verify(raw, model, tmp_path / "o", sample="all").passed
