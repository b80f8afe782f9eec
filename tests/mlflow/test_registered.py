"""Models by their name in MLflow: wherever a path of a model is taken. What is refused, and in which words."""

from __future__ import annotations

import logging
import pickle
import sys

import graphsweep.mlflow
import mlflow
import numpy as np
import pytest

from pipeline import Graph, Model, infer
from pipeline.errors import ModelError, SettingError
from pipeline.places.registered import is_registered, said_by_mlflow, store_of
from tests.formulas import build
from tests.whole import whole


@pytest.fixture
def model():
    return build("sage")


@pytest.fixture
def registered(store, model):
    """A run with a model, which is version 1 of `fraud`, and prod."""
    with mlflow.start_run() as run:
        found = graphsweep.mlflow.log_model(model, "gnn", registered_model_name="fraud")
    mlflow.MlflowClient().set_registered_model_alias("fraud", "prod", "1")
    return {"run": run.info.run_id, "logged": found.model_uri}


def test_by_every_name_it_is_the_same_model(registered, model):
    """`runs:/RUN/gnn` too, though MLflow keeps the files elsewhere since its version 3."""
    names = ["models:/fraud@prod", "models:/fraud/1", "models:/fraud/latest", f"runs:/{registered['run']}/gnn"]
    for name in [*names, registered["logged"]]:
        assert Model.load(name).fingerprint == model.fingerprint, name
        assert graphsweep.mlflow.load_model(name).fingerprint == model.fingerprint, name


def test_an_alias_follows_its_version_and_the_log_says_which(registered, caplog):
    other = build("gcn")
    graphsweep.mlflow.log_model(other, "gnn", registered_model_name="fraud")
    mlflow.MlflowClient().set_registered_model_alias("fraud", "prod", "2")
    with caplog.at_level(logging.INFO, "graphsweep"):
        assert Model.load("models:/fraud@prod").fingerprint == other.fingerprint
    assert "models:/fraud@prod is version 2, from MLflow at file:///" in caplog.text


def test_a_model_directory_that_was_logged_as_files(store, model, tmp_path):
    model.save(tmp_path / "m")
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "m"), "kept")
    assert Model.load(f"runs:/{run.info.run_id}/kept").fingerprint == model.fingerprint


def test_infer_takes_a_name(registered, model, no_session):
    graph = Graph(whole("mixed").nodes(), whole("mixed").edges(), edge_features=["weight", "attr"])
    by_name = infer(graph, "models:/fraud@prod").to_pandas()
    by_itself = infer(graph, model).to_pandas()
    for found, expected in zip(by_name["output"], by_itself["output"], strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models:/unknown@prod", r"models:/unknown@prod: MLflow at file:.*store says: .*unknown"),
        ("models:/fraud@none", r"models:/fraud@none: MLflow at file:.* says: .*none"),
        ("models:/fraud/7", r"models:/fraud/7: MLflow at file:.* says: .*fraud"),
        ("runs:/0123/gnn", r"runs:/0123/gnn: MLflow at file:.* says: Run '0123' not found"),
        ("models:/", r"models:/ names no model; write models:/NAME@ALIAS, models:/NAME/VERSION or runs:/RUN/PATH"),
        ("models:fraud", r"models:fraud names no model; write models:/NAME@ALIAS"),
    ],
)
def test_names_of_nothing(registered, name, message):
    with pytest.raises(ModelError, match=message):
        Model.load(name)


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def stranger(store, tmp_path):
    """A pickled model of somebody else's: opening it runs its code."""
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Bomb(str(tmp_path / "exploded"))))
    described = mlflow.models.Model()
    described.add_flavor("python_function", loader_module="mlflow.pyfunc.model", python_model="python_model.pkl")
    described.save(str(folder / "MLmodel"))
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(folder), "m")
    return run.info.run_id


def test_a_pickled_model_is_refused_and_not_opened(stranger, tmp_path, monkeypatch):
    fetched, download = [], mlflow.artifacts.download_artifacts

    def watched(artifact_uri, **options):
        fetched.append(artifact_uri)
        return download(artifact_uri, **options)

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", watched)
    message = rf"runs:/{stranger}/m is no model of graphsweep: its flavours are python_function; graphsweep.mlflow.log"
    with pytest.raises(ModelError, match=message):
        Model.load(f"runs:/{stranger}/m")
    assert fetched == [f"runs:/{stranger}/m/MLmodel"]
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_beside_our_files_is_not_opened(store, model, tmp_path):
    model.save(tmp_path / "m")
    (tmp_path / "m" / "python_model.pkl").write_bytes(pickle.dumps(Bomb(str(tmp_path / "exploded"))))
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(tmp_path / "m"), "m")
    assert Model.load(f"runs:/{run.info.run_id}/m").fingerprint == model.fingerprint
    assert not (tmp_path / "exploded").exists()


def test_files_that_are_no_model(store):
    with mlflow.start_run() as run:
        mlflow.log_text("1,2", "tables/edges.csv")
    message = "is no model of graphsweep: it holds edges.csv; graphsweep.mlflow.log_model logs one"
    with pytest.raises(ModelError, match=message):
        Model.load(f"runs:/{run.info.run_id}/tables")
    with pytest.raises(ModelError, match="/nothing is no model of graphsweep: it holds no files; "):
        Model.load(f"runs:/{run.info.run_id}/nothing")


def test_a_description_that_is_damaged(store):
    with mlflow.start_run() as run:
        mlflow.log_text("flavors: [\n", "m/MLmodel")
    with pytest.raises(ModelError, match="MLflow says: "):
        Model.load(f"runs:/{run.info.run_id}/m")


def test_without_mlflow(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"models:/… is kept by MLflow, which is not installed: pip install 'graphs"):
        Model.load("models:/fraud@prod")


def test_nobody_said_where_mlflow_is(store, monkeypatch, tmp_path):
    """MLflow would make an empty database where one stands, and find nothing in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingError, match=r"there is no such file; set MLFLOW_TRACKING_URI to where it is \(http://…"):
        Model.load("models:/fraud@prod")
    assert sorted(tmp_path.iterdir()) == before


def test_a_password_is_not_shown(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org/x")
    assert store_of("runs:/1/m") == "https://mlflow.example.org/x"
    with pytest.raises(ModelError, match=r"^m says: no answer from https://mlflow.example.org/x$"), said_by_mlflow("m"):
        raise RuntimeError("no answer from https://me:secret@mlflow.example.org/x")


def test_paths_are_paths():
    assert not any(is_registered(path) for path in ("model", "/models/x", "./models:/x", "s3://b/runs", "file:/runs"))
    assert sys.modules["graphsweep.mlflow"] is sys.modules["pipeline.mlflow"]
    assert sys.modules["mlflow"] is not sys.modules["pipeline.mlflow"]
