"""What a model remembers of its training: names in order, ranges; and what is said of a graph that has others."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from pipeline import Graph, prepare
from pipeline.blocks.ranges import Range
from pipeline.errors import ModelError, StorageError
from pipeline.explain import explain
from pipeline.formula import linear
from pipeline.model import Model
from pipeline.score import score
from pipeline.tables.training import Trained, TrainingTable, check_names, far_outside

NAMES = ["age", "amount", "visits"]


def weighted(g, x, w):
    return linear(x, w.lin) + g.sum(g.edge("weight").reshape(1) * g.src(linear(x, w.lin)))


def model():
    weights = {"lin.weight": np.ones((2, 3), np.float32), "lin.bias": np.zeros(2, np.float32)}
    return Model.from_formula(weighted, weights, {"nodes.x": 3, "edges.weight": ()})


def table(scale=1.0, rows=50, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"age": rng.uniform(18, 80, rows), "amount": rng.normal(size=rows) * scale, "visits": rng.integers(0, 9, rows)}
    )


# ---- what is told


def test_names_alone():
    assert model().trained_on(NAMES).training == {"nodes.x": Trained(tuple(NAMES))}


TABLES = {
    "pandas": lambda frame, tmp: frame,
    "arrow": lambda frame, tmp: pa.Table.from_pandas(frame),
    "parquet": lambda frame, tmp: (
        pyarrow.parquet.write_table(pa.Table.from_pandas(frame), tmp / "t.parquet") or str(tmp / "t.parquet")
    ),
    "csv": lambda frame, tmp: pyarrow.csv.write_csv(pa.Table.from_pandas(frame), tmp / "t.csv") or tmp / "t.csv",
    "ranges": lambda frame, tmp: {name: (float(frame[name].min()), float(frame[name].max())) for name in frame},
}


@pytest.mark.parametrize("kind", TABLES)
def test_names_and_ranges_of_a_table(kind, tmp_path):
    frame = table()
    trained = model().trained_on(TABLES[kind](frame, tmp_path)).training["nodes.x"]
    assert trained.names == tuple(NAMES)
    for name, held in zip(NAMES, trained.ranges, strict=True):
        np.testing.assert_allclose([held.low, held.high], [frame[name].min(), frame[name].max()], rtol=1e-6)
    assert [held.whole for held in trained.ranges] == [False, False, kind != "ranges"]


def test_some_columns_of_a_table_on_disk(tmp_path):
    frame = table().assign(id=range(50), label="a")
    pyarrow.parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet")
    told = TrainingTable(str(tmp_path / "t.parquet"), ("visits", "age", "amount"))
    assert model().trained_on(told).training["nodes.x"].names == ("visits", "age", "amount")


def test_arrays_have_ranges_and_no_names():
    numbers = table().to_numpy()
    for told in (numbers, pa.table({"x": pa.array(list(numbers))}), {"x": numbers}, {"nodes.x": numbers}):
        trained = model().trained_on(told).training["nodes.x"]
        assert trained.names is None
        np.testing.assert_allclose([held.high for held in trained.ranges], numbers.max(0), rtol=1e-6)


def test_numbers_that_are_not_finite_tell_nothing():
    frame = table()
    frame.loc[3, "age"] = np.nan
    frame.loc[4, "amount"] = np.inf
    ranges = model().trained_on(frame).training["nodes.x"].ranges
    assert all(np.isfinite([held.low, held.high]).all() for held in ranges)


def test_inputs_by_name():
    made = model().trained_on({"x": NAMES, "weight": ["euro"]})
    assert made.training == {"nodes.x": Trained(tuple(NAMES)), "edges.weight": Trained(("euro",))}
    assert made.trained_on(NAMES).training["edges.weight"] == Trained(("euro",))
    assert made.fingerprint == model().fingerprint


def test_names_that_are_known_stay():
    made = model().trained_on(NAMES)
    assert made.trained_on(table(rows=5).to_numpy()).training["nodes.x"].names == tuple(NAMES)
    words = f"training gives nodes.x the columns {', '.join(NAMES[::-1])}; the model reads {', '.join(NAMES)} there"
    with pytest.raises(ModelError, match=re.escape(words)):
        made.trained_on(NAMES[::-1])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            ["age", "amount"],
            "training gives nodes.x the columns age, amount: 2, and the model reads 3 numbers there",
        ),
        (np.zeros((4, 5)), "training gives nodes.x 5 columns: 5, and the model reads 3 numbers"),
        ({"y": NAMES}, "training names 'y', which the model does not read; known: edges.weight, nodes.x"),
        (
            pd.DataFrame({"a": [1.0], "b": ["text"], "c": [2]}),
            "the column 'b', which is .*string; give just the",
        ),
        (
            3,
            "training gives nodes.x int; names of columns, a pandas or Arrow table, a path of Parquet",
        ),
        ([], "training gives nodes.x list"),
    ],
)
def test_what_is_refused(told, message):
    with pytest.raises(ModelError, match=message):
        model().trained_on(told)


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(StorageError, match=r"training table .*nowhere.parquet does not exist"):
        model().trained_on(str(tmp_path / "nowhere.parquet"))
    (tmp_path / "broken.parquet").write_text("broken")
    with pytest.raises(StorageError, match="cannot be read as parquet"):
        model().trained_on(str(tmp_path / "broken.parquet"))
    pyarrow.parquet.write_table(pa.Table.from_pandas(table()), tmp_path / "t.parquet")
    with pytest.raises(ModelError, match=r"t.parquet has no column 'agee'; did you mean 'age'\?"):
        model().trained_on(TrainingTable(str(tmp_path / "t.parquet"), ("agee",)))


# ---- in memory and on disk


def test_saved_and_loaded(tmp_path):
    made = model().trained_on({"x": table(), "weight": [("euro")]})
    made.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.training == made.training
    assert loaded.fingerprint == made.fingerprint == model().fingerprint
    assert "trained on nodes.x: age, amount, visits\n" in str(loaded)


def test_a_model_saved_before_there_was_such_a_thing(tmp_path):
    model().save(tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    data = json.loads(file.read_text())
    del data["about"], data["training"]
    file.write_text(json.dumps(data))
    assert Model.load(tmp_path / "m").training == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"training": {"nodes.x": {"names": ["a"], "ranges": None}}},
        {"training": {"nodes.x": {"names": [1, 2, 3], "ranges": None}}},
        {"training": {"nodes.x": {"names": None, "ranges": [[0, 1]]}}},
        {"training": {"nodes.x": {"names": None, "ranges": "text"}}},
        {"training": {"nodes.z": {"names": None, "ranges": None}}},
        {"training": []},
        {"about": []},
        {"about": {"weights": 3, "unread": [], "left_out": [], "notes": []}},
        {"about": {"weights": "", "unread": "text", "left_out": [], "notes": []}},
        {"about": {"weights": "", "unread": [3], "left_out": [], "notes": []}},
    ],
)
def test_damaged_records_are_refused(tmp_path, changed):
    model().save(tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(ModelError, match="is not well formed"):
        Model.load(tmp_path / "m")


# ---- against a graph


def columns(names):
    return {"nodes": {"values": {"x": list(names)}}, "edges": {"values": {"weight": ["weight"]}}}


def test_the_same_names_in_the_same_order():
    check_names({"nodes.x": Trained(tuple(NAMES))}, columns(NAMES))
    check_names({"nodes.x": Trained(tuple(NAMES))}, columns(["features"]))  # a column of arrays
    check_names({"nodes.x": Trained(None)}, columns(NAMES[::-1]))
    check_names({}, columns(NAMES[::-1]))


def test_another_order():
    with pytest.raises(ModelError) as caught:
        check_names({"nodes.x": Trained(tuple(NAMES))}, columns(["amount", "age", "visits"]))
    assert str(caught.value) == (
        "nodes.x is made of columns that are in another order than in training.\n"
        "now:         amount, age, visits\n"
        "in training: age, amount, visits\n"
        "give them as in training: features=['age', 'amount', 'visits']"
    )


def test_other_names():
    with pytest.raises(ModelError, match=r"^nodes.x is made of columns that are others than in training\.\nnow:  "):
        check_names({"nodes.x": Trained(tuple(NAMES))}, columns(["age", "sum", "visits"]))
    with pytest.raises(ModelError, match=r"edges.weight is .*others than in training(.|\n)*edge_features=\['euro'\]"):
        check_names({"edges.weight": Trained(("euro",))}, columns(NAMES))


OUTSIDE = [
    (Range(0, 10, False), Range(0, 20, False), None),  # beyond, but by no more than its width
    (Range(0, 10, False), Range(0, 20.1, False), "0 to 20.1; in training 0 to 10"),
    (Range(0, 10, False), Range(-10.1, 3, False), "-10.1 to 3; in training 0 to 10"),
    (Range(-3, 3, False), Range(0, 1e6, True), "0 to 1e+06; in training -3 to 3"),
    (Range(0, 1000, True), Range(-1.5, 2.5, False), "fractions; in training whole numbers"),
    (Range(0, 1, True), Range(0, 0.5, False), None),  # a mask, or shares: too narrow to tell
    (Range(5, 5, True), Range(5, 5, True), None),
    (Range(5, 5, True), Range(5, 6, True), "5 to 6; in training 5 to 5"),
    (Range(np.inf, -np.inf, True), Range(5, 6, True), None),
]


@pytest.mark.parametrize(("before", "now", "said"), OUTSIDE)
def test_numbers_far_outside(before, now, said):
    lines = far_outside({"nodes.x": Trained(("a",), (before,))}, {"nodes.x": [now]})
    assert lines == ([f"nodes.x, a: {said}"] if said else [])


# ---- from end to end, without Spark


@pytest.fixture
def tables(tmp_path):
    frame = table(rows=20).assign(id=range(20))
    pyarrow.parquet.write_table(pa.Table.from_pandas(frame), tmp_path / "nodes.parquet")
    edges = pa.table({"src": [0, 1, 2, 3], "dst": [1, 2, 3, 0], "weight": [1.0, 2.0, 3.0, 4.0]})
    pyarrow.parquet.write_table(edges, tmp_path / "edges.parquet")
    return tmp_path


def graph(tables, features):
    given = {"features": {"x": features}, "edge_features": ["weight"]}
    return Graph.of_files(str(tables / "nodes.parquet"), str(tables / "edges.parquet"), **given)


def test_features_in_another_order_are_refused_before_work(tables):
    made = model().trained_on(NAMES)
    prepared = prepare(graph(tables, ["amount", "age", "visits"]), str(tables / "g"))
    for given in (prepared, graph(tables, ["amount", "age", "visits"])):
        with pytest.raises(ModelError, match="in another order than in training"):
            score(given, made, str(tables / "o"))
    with pytest.raises(ModelError, match="in another order than in training"):
        explain(prepared, made)
    assert sorted(path.name for path in tables.iterdir()) == ["edges.parquet", "g", "nodes.parquet"]
    assert score(graph(tables, NAMES), made, str(tables / "o")).rows == 20


def test_a_warning_for_each_column_far_outside(tables, caplog):
    prepared = prepare(graph(tables, NAMES), str(tables / "g"))
    inside = model().trained_on(table(rows=20))
    with caplog.at_level(logging.WARNING, "graphsweep"):
        score(prepared, inside, str(tables / "o"))
        assert not caplog.records
        score(prepared, model().trained_on(table(scale=1e-3)), str(tables / "o2"))
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith("columns far outside of what the model was trained on:\n  nodes.x, amount: ")
    assert "age" not in said
