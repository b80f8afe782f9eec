"""A model in memory and on disk: what fits, what is refused and in which words."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import safetensors.numpy

from pipeline.blocks.ranges import Range
from pipeline.errors import ModelError, SettingError, StorageError
from pipeline.formula import GraphArrays, Program, Relation, interpret, linear, lookup
from pipeline.formula.spaces import Edges
from pipeline.formula.values import node_input
from pipeline.formula.written import refuse_to_save
from pipeline.model import Model
from pipeline.schema import EDGE, NODE, EdgeType, GraphSchema


def weighted(g, x, w):
    return {"output": linear(g.sum(g.edge("weight").reshape(1) * g.src(x)), w.lin), "same": x}


def weights(**changes):
    rng = np.random.default_rng(3)
    made = {
        "lin.weight": rng.normal(size=(2, 3)).astype(np.float32),
        "lin.bias": rng.normal(size=2).astype(np.float32),
    }
    return made | changes


def model(columns=None, **changes):
    return Model.from_formula(weighted, weights(**changes), {"nodes.x": 3, "edges.weight": ()}, columns)


# ---- in memory


def test_says_what_it_reads_and_gives():
    made = model({"edges.weight": "edges.amount"})
    assert made.inputs == {"nodes.x": 3, "edges.amount": 1}
    assert made.outputs == {"output": 2, "same": 3}
    text = str(made)
    assert "formula weighted" in text
    assert "edges.amount (1)" in text
    assert "lin.weight[2, 3]" not in text
    assert text.endswith(" values; print(model.program) shows them")
    assert "lin.weight[2, 3]" in str(model().program)


def test_options_go_through_to_the_formula():
    made = Model.from_formula(lambda g, x, w, times: x * w.a * times, {"a": np.ones(3)}, {"nodes.x": 3}, times=2.0)
    found = interpret(made.program, made.weights, GraphArrays.single([], [], np.ones((1, 3))))
    np.testing.assert_array_equal(found["output"], [[2, 2, 2]])


def test_arguments_of_another_kind_are_refused():
    for given in (None, [1], "w"):
        with pytest.raises(ModelError, match=r"weights is .*; name → array is expected, {} if there are none"):
            Model.from_formula(weighted, given, {"nodes.x": 3, "edges.weight": ()})
    pytest.importorskip("torch_geometric")
    with pytest.raises(ModelError, match="from_pyg has no argument 'input'; did you mean 'inputs'"):
        Model.from_pyg(None, input={"x": "nodes.x"})
    with pytest.raises(ModelError, match=r"inputs is \['edge_attr'\]; argument → column is expected, {'edge_weight': "):
        Model.from_pyg(None, inputs=["edge_attr"])
    for given, hint in (
        ({"lin.weight": 1}, r"not dict; if these are weights, make the module and load them: net.load_state_dict\(…\)"),
        ("best.pt", "not str; of a checkpoint make the module and load it, or use graphsweep export MODULE:FACTORY"),
    ):
        with pytest.raises(ModelError, match=hint):
            Model.from_pyg(given)


def test_weights_are_a_copy_that_nobody_changes():
    given = weights()
    made = Model.from_formula(weighted, given, {"nodes.x": 3, "edges.weight": ()})
    before = made.fingerprint
    given["lin.bias"][:] = 9
    assert made.weights["lin.bias"][0] != 9
    assert made.fingerprint == before
    with pytest.raises(ValueError, match="read-only"):
        made.weights["lin.bias"][0] = 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lin.weight": np.ones((2, 3))}, "weights that are missing: lin.bias"),
        (weights(extra=np.ones(1)), "weights that no formula reads: extra"),
        (weights(**{"lin.bias": np.ones(3)}), r"lin.bias has shape \(3,\); the program expects \(2,\)"),
        (weights(**{"lin.bias": [np.nan, 1]}), "lin.bias holds 1 of 2 numbers that are NaN or infinite"),
        (weights(**{"lin.bias": [1e300, 1]}), "lin.bias holds 1 of 2 numbers that are NaN or infinite in float32"),
    ],
)
def test_weights_that_do_not_fit(given, message):
    program = model().program
    with pytest.raises(ModelError, match=message), np.errstate(over="ignore"):
        Model(program, given)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"edges.wieght": "edges.a"}, "given for edges.wieght; the program reads edges.weight, nodes.x"),
        ({"edges.weight": "nodes.a"}, "edges.weight is read from 'nodes.a'; write edges.COLUMN"),
        ({"edges.weight": "amount"}, "edges.weight is read from 'amount'; write edges.COLUMN"),
    ],
)
def test_columns_that_do_not_fit(columns, message):
    with pytest.raises(ModelError, match=message):
        model(columns)


def test_one_column_has_one_width():
    program = Model.from_formula(lambda g, x, y, w: x + y, {}, {"nodes.x": 3, "nodes.y": 1}).program
    with pytest.raises(ModelError, match=r"nodes.x is read with width 3 and with width 1"):
        Model(program, {}, {"nodes.y": "nodes.x"})


def schema(nodes=None, edges=None):
    return GraphSchema({NODE: nodes or {"x": 3}}, {EDGE: edges or {"weight": 1}})


def test_a_graph_that_fits():
    model().check_against(schema({"x": 3, "age": 1}))


def test_a_type_of_edges_that_the_graph_does_not_have():
    """Nothing but their ends is read: there would be no such edges, and every sum 0."""
    other = Relation(Edges(EdgeType("node", "likes", "node")))
    made = Model(Program({"output": other.sum(other.src(node_input("x", (3,))))}), {})
    words = r"for a typed graph, with nodes 'node'; edges \(node, likes, node\), and this graph has no types"
    with pytest.raises(ModelError, match=words):
        made.check_against(schema())


def test_views_of_a_category_may_be_many():
    def formula(g, kind, w):
        for _ in range(1500):
            kind = kind.reshape(1).reshape()
        return lookup(w.kinds, kind)

    made = Model.from_formula(formula, {"kinds": np.ones((4, 2))}, {"nodes.kind": ()})
    with pytest.raises(ModelError, match=r"nodes.kind holds 9; the model's table kinds has 4 rows"):
        made.check_against(schema({"kind": 1}), {"nodes.kind": [Range(0, 9, True)]})


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (schema({"x": 5}), "expects nodes.x of width 3; the graph has width 5"),
        (schema(edges={"amount": 1, "age": 2}), r"edges.weight \(width 1\), .* edges.age \(2\), edges.amount \(1\)"),
        (GraphSchema({NODE: {"x": 3}}), "edges of this graph: no columns"),
        (
            GraphSchema({"paper": {"x": 3}}, {EDGE: {"weight": 1}}),
            "for graphs without types, and this graph has several",
        ),
    ],
)
def test_a_graph_that_does_not_fit(graph, message):
    with pytest.raises(ModelError, match=message):
        model().check_against(graph)


# ---- on disk


def test_saved_and_loaded_is_the_same(tmp_path):
    made = model({"edges.weight": "edges.amount"})
    made.save(tmp_path / "deep" / "m")
    loaded = Model.load(tmp_path / "deep" / "m")
    assert loaded.fingerprint == made.fingerprint
    assert str(loaded) == str(made)
    assert loaded.inputs == made.inputs
    rng = np.random.default_rng(0)
    graph = GraphArrays.single([0, 1], [1, 1], rng.normal(size=(3, 3)), weight=rng.normal(size=2))
    for name, array in interpret(made.program, made.weights, graph).items():
        np.testing.assert_array_equal(interpret(loaded.program, loaded.weights, graph)[name], array)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["m"]  # nothing temporary is left


def test_the_fingerprint_sees_every_part():
    prints = {
        model().fingerprint,
        model({"edges.weight": "edges.amount"}).fingerprint,
        model(**{"lin.bias": np.zeros(2)}).fingerprint,
        Model.from_formula(lambda g, x, w: linear(x, w.lin), weights(), {"nodes.x": 3}).fingerprint,
    }
    assert len(prints) == 4
    assert model().fingerprint == model().fingerprint


def test_an_existing_path_is_kept(tmp_path):
    model().save(tmp_path / "m")
    with pytest.raises(StorageError, match="m: exists already; give another path, or overwrite it"):
        model().save(tmp_path / "m")
    changed = model(**{"lin.bias": np.zeros(2)})
    changed.save(tmp_path / "m", overwrite=True)
    assert Model.load(tmp_path / "m").fingerprint == changed.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_overwrite_removes_nothing_but_models(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(StorageError, match=r"mine: not overwritten, because it holds letter\.txt, and not a model"):
        model().save(tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_a_model_with_somebodys_files_is_not_overwritten(saved):
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(
        StorageError, match=r"m: not overwritten, because there are files .*: notes\.txt; move them away"
    ):
        model().save(saved, overwrite=True)
    assert sorted(path.name for path in saved.iterdir()) == [
        "_graphsweep.json", "model.json", "notes.txt", "weights.safetensors",
    ]  # fmt: skip


def test_a_model_of_a_version_without_markers(saved, tmp_path):
    (saved / "_graphsweep.json").unlink()
    changed = model(**{"lin.bias": np.zeros(2)})
    changed.save(saved, overwrite=True)
    assert Model.load(saved).fingerprint == changed.fingerprint
    (saved / "_graphsweep.json").unlink()
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"notes\.txt"):
        model().save(saved, overwrite=True)
    (saved / "notes.txt").unlink()
    (saved / "model.json").write_text('{"format": 1, "mine": true}')
    with pytest.raises(StorageError, match="and not a model"):
        model().save(saved, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_files_have_the_mode_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        model().save(tmp_path / "m")
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "m").iterdir()} == {
        "_graphsweep.json": "0o640", "model.json": "0o640", "weights.safetensors": "0o640",
    }  # fmt: skip


def test_a_save_that_fails_leaves_the_old_one(saved, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(
        StorageError, match=r"m: cannot be written: No space left on device \(.* bytes are free in .*\)$"
    ):
        model(**{"lin.bias": np.zeros(2)}).save(saved, overwrite=True)
    assert Model.load(saved).fingerprint == model().fingerprint
    with pytest.raises(
        StorageError, match=r"n: cannot be written: No space left on device \(.* bytes are free in .*\)$"
    ):
        model().save(tmp_path / "x" / "n")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_places_of_models(tmp_path):
    model().save(f"file:{tmp_path}/m")
    assert Model.load(f"file://{tmp_path}/m").fingerprint == Model.load(tmp_path / "m").fingerprint
    with pytest.raises(StorageError, match="s3://b/m: models lie on disks of this machine; give a path without s3:"):
        model().save("s3://b/m")
    with pytest.raises(StorageError, match="dbfs:/m: "):
        Model.load("dbfs:/m")


def test_what_is_read_is_not_written(saved, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with pytest.raises(SettingError, match=r"the output is the checkpoint \(.*w\.safetensors\); give another path"):
        refuse_to_save(tmp_path / "w.safetensors", True, {"the checkpoint": tmp_path / "w.safetensors", "x": None})
    with pytest.raises(SettingError, match="the output holds the module"):
        refuse_to_save(saved, True, {"the module": saved / "model.json"})
    with pytest.raises(StorageError, match="m: exists already; give another path, or overwrite it"):
        refuse_to_save(saved, False, {})
    refuse_to_save(saved, True, {})


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file/m: cannot be written: Not a directory"):
        model().save(tmp_path / "file" / "m")


def test_a_path_that_is_no_model(tmp_path):
    with pytest.raises(StorageError, match=r"nowhere does not exist; a model is a directory of model.json"):
        Model.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file is not a directory"):
        Model.load(tmp_path / "file")
    with pytest.raises(ModelError, match=r"holds no model.json: it is not a saved model"):
        Model.load(tmp_path)


@pytest.fixture
def saved(tmp_path):
    model().save(tmp_path / "m")
    return tmp_path / "m"


def test_weights_that_were_changed_since_are_refused(saved):
    """One bit, which leaves a number that is a number."""
    file = saved / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 0x40
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights.safetensors is damaged, or was changed: its numbers are not those "):
        Model.load(saved)
    (saved / "_graphsweep.json").unlink()  # who has no marker says nothing of them
    assert Model.load(saved).fingerprint != model().fingerprint


def test_overwrite_is_no_text(saved):
    with pytest.raises(SettingError, match="overwrite is 'no'; accepted: True, False"):
        model(**{"lin.bias": np.zeros(2)}).save(saved, overwrite="no")
    assert Model.load(saved).fingerprint == model().fingerprint


def test_weights_file_is_missing(saved):
    (saved / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no weights.safetensors"):
        Model.load(saved)


def test_weights_file_is_broken(saved):
    (saved / "weights.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        Model.load(saved)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (weights(**{"lin.bias": np.zeros(2)}), "lin.bias in .* is float64; float32 is expected"),
        (weights(**{"lin.bias": np.zeros(5, np.float32)}), r"lin.bias has shape \(5,\)"),
        (weights(other=np.zeros(5, np.float32)), "weights that no formula reads: other"),
        ({"lin.weight": np.zeros((2, 3), np.float32)}, "weights that are missing: lin.bias"),
    ],
)
def test_other_weights(saved, arrays, message):
    safetensors.numpy.save_file(arrays, saved / "weights.safetensors")
    with pytest.raises(ModelError, match=message):
        Model.load(saved)


def _set(path, item):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = item

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set(["format"], 99), "has format 99; this version reads format 1"),
        (_set(["program"], []), "is not well formed"),
        (_set(["program", "values", 0, "op"], "system"), "unknown operation 'system'"),
        (_set(["program", "outputs"], {}), "at least one output"),
        (_set(["program", "outputs", "output"], 10_000), "is not well formed"),
        (_set(["program", "values", 0, "shape"], "wide"), "is not well formed"),
        (_set(["inputs", "nodes.x", "shape"], [4]), "contradicts itself"),
        (_set(["inputs", "nodes.x", "column"], "edges.x"), "nodes.x is read from 'edges.x'"),
        (_set(["outputs", "output", "width"], 7), "contradicts itself"),
        (_set(["inputs"], None), "is not well formed"),
    ],
)
def test_a_changed_model_json(saved, change, message):
    data = json.loads((saved / "model.json").read_text())
    change(data)
    (saved / "model.json").write_text(json.dumps(data))
    with pytest.raises(ModelError, match=message):
        Model.load(saved)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "an object is expected"), ("[" * 200_000, "is not JSON")]
)
def test_model_json_is_no_json(saved, text, message):
    (saved / "model.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        Model.load(saved)
