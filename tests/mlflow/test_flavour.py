"""What is written when a model is logged or saved as MLflow keeps models."""

from __future__ import annotations

import json

import graphsweep.mlflow
import mlflow
import pandas as pd
import pytest
import yaml

from pipeline import Model
from pipeline.errors import ModelError, SettingError, StorageError
from tests.formulas import build

EXAMPLE = {
    "nodes": pd.DataFrame({"id": range(9), "x": [[0.5] * 3] * 9}),
    "edges": pd.DataFrame({"src": [0, 1], "dst": [1, 2], "weight": [0.25, 4.0]}),
}


def test_a_saved_model_is_a_directory_that_both_read(tmp_path):
    model = build("gcn")
    graphsweep.mlflow.save_model(model, tmp_path / "new" / "m", input_example=EXAMPLE)
    assert Model.load(tmp_path / "new" / "m").fingerprint == model.fingerprint
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["m"]
    described = yaml.safe_load((tmp_path / "new" / "m" / "MLmodel").read_text())
    assert described["flavors"]["graphsweep"]["fingerprint"] == model.fingerprint
    assert list(described["flavors"]) == ["graphsweep"]
    info = mlflow.models.get_model_info(str(tmp_path / "new" / "m"))
    read = {spec.name: (str(spec.type), spec.shape) for spec in info.signature.inputs.inputs}
    assert read == {name: ("float32", (-1, width)) for name, width in model.inputs.items()}
    assert {spec.name: spec.shape[1] for spec in info.signature.outputs.inputs} == model.outputs
    assert (tmp_path / "new" / "m" / "requirements.txt").read_text().startswith("graphsweep")
    example = json.loads((tmp_path / "new" / "m" / "input_example.json").read_text())
    assert len(example["nodes"]["data"]) == 5
    assert example["edges"] == {"columns": ["src", "dst", "weight"], "data": [[0, 1, 0.25], [1, 2, 4.0]]}


def test_a_saved_model_by_its_path_with_its_own_requirements(tmp_path):
    build("sage").save(tmp_path / "m")
    graphsweep.mlflow.save_model(str(tmp_path / "m"), tmp_path / "n", pip_requirements=["graphsweep @ file:///w.whl"])
    assert (tmp_path / "n" / "requirements.txt").read_text() == "graphsweep @ file:///w.whl\n"


def test_into_an_empty_directory(tmp_path):
    (tmp_path / "m").mkdir()
    graphsweep.mlflow.save_model(build("sage"), tmp_path / "m")
    assert Model.load(tmp_path / "m").outputs


def test_what_is_there_stays(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").touch()
    with pytest.raises(StorageError, match="exists already; give another path"):
        graphsweep.mlflow.save_model(build("sage"), tmp_path / "m")
    assert [file.name for file in tmp_path.rglob("*")] == ["m", "mine"]


def test_an_example_that_is_none(tmp_path):
    with pytest.raises(
        SettingError, match=r'input_example is 3; \{"nodes": table, "edges": table\} with tables of pan'
    ):
        graphsweep.mlflow.save_model(build("sage"), tmp_path / "m", input_example=3)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mlflow.models.Model, "save", full)
    with pytest.raises(StorageError, match=r"cannot be written: No space left on device \(.* bytes are free in .*\)$"):
        graphsweep.mlflow.save_model(build("sage"), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_logged_model_belongs_to_its_run(store):
    with mlflow.start_run() as run:
        info = graphsweep.mlflow.log_model(build("sage"), registered_model_name="fraud", input_example=EXAMPLE)
    assert info.run_id == run.info.run_id
    assert info.registered_model_version == 1
    assert info.signature is not None
    assert mlflow.models.get_model_info("models:/fraud/1").flavors.keys() == {"graphsweep"}


def test_mlflow_refuses(store):
    with pytest.raises(ModelError, match=r"^MLflow says: .*a/b"):
        graphsweep.mlflow.log_model(build("sage"), registered_model_name="a/b")


def test_without_mlflow(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"^graphsweep.mlflow needs MLflow, which is not installed: pip install 'graphsweep\[mlflow\]'$"
    with pytest.raises(SettingError, match=message):
        graphsweep.mlflow.save_model(build("sage"), tmp_path / "m")
    with pytest.raises(SettingError, match=message):
        graphsweep.mlflow.log_model(build("sage"))
