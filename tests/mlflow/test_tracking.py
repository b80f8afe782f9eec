"""What a run tells MLflow, by the command and in Python; and what happens if MLflow does not answer."""

from __future__ import annotations

import json

import graphsweep.mlflow
import mlflow
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, prepare, score
from pipeline.errors import SettingError
from pipeline.mlflow.tracking import Tracking
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.usefixtures("no_session")


@pytest.fixture
def graph(tmp_path):
    made = Graph(whole("mixed").nodes(), whole("mixed").edges(), edge_features=["weight", "attr"])
    return prepare(made, tmp_path / "graph", 2)


@pytest.fixture
def model(tmp_path):
    build("sage").save(tmp_path / "model")
    return tmp_path / "model"


def infer(*arguments):
    return CliRunner().invoke(cli.app, ["infer", *(str(argument) for argument in arguments), "--json"])


def runs():
    return mlflow.MlflowClient().search_runs(["0"])


def test_a_command_logs_a_run(store, graph, model, tmp_path):
    result = infer("--graph", graph.path, "--model", model, "--output", tmp_path / "o", "--mlflow")
    assert result.exit_code == 0, result.output
    (run,) = runs()
    told, marker = json.loads(result.stdout), json.loads((tmp_path / "o" / "_graphsweep.json").read_text())
    assert told["mlflow_run"] == run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"graphsweep {marker['run']}"
    assert run.data.tags["graphsweep.run"] == marker["run"]
    params, metrics = run.data.params, run.data.metrics
    assert params["model_fingerprint"] == Model.load(model).fingerprint
    assert params["graph_fingerprint"] == graph.fingerprint
    expected = {"model": str(model), "graph": graph.path, "wire": "float32", "format": "parquet", "tier": "fused"}
    assert expected.items() <= params.items()
    assert metrics["rows"] == told["rows"] == graph.nodes
    assert metrics["seconds"] == told["seconds"]
    assert metrics["driver_peak_bytes"] > 1 << 20
    assert (run.info.end_time - run.info.start_time) / 1000 >= told["seconds"]
    steps = mlflow.MlflowClient().get_metric_history(run.info.run_id, "superstep_seconds")
    assert sorted((step.step, step.value) for step in steps) == [
        (step["number"], step["seconds"]) for step in told["supersteps"]
    ]
    report = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/report.json")
    assert report["marker"]["columns"] == marker["columns"]
    assert "files" not in report["marker"]


def test_nothing_is_logged_unasked_or_twice(store, graph, model, tmp_path):
    asked = ("--graph", graph.path, "--model", model, "--output", tmp_path / "o", "--if-same", "skip")
    assert json.loads(infer(*asked).stdout)["mlflow_run"] is None
    assert json.loads(infer(*asked, "--mlflow").stdout)["mlflow_run"] is None
    assert not runs()


def test_raw_tables_and_a_name_of_the_registry(store, tmp_path):
    graphsweep.mlflow.log_model(build("sage"), registered_model_name="fraud")
    mlflow.MlflowClient().set_registered_model_alias("fraud", "prod", "1")
    pa.parquet.write_table(whole("mixed").nodes(), tmp_path / "n.parquet")
    pa.parquet.write_table(whole("mixed").edges(), tmp_path / "e.parquet")
    tables = ("--nodes", tmp_path / "n.parquet", "--edges", tmp_path / "e.parquet")
    result = infer(*tables, "--model", "models:/fraud@prod", "--output", tmp_path / "o", "--mlflow")
    assert result.exit_code == 0, result.output
    (run,) = runs()
    assert run.data.params["model"] == "models:/fraud@prod"
    assert run.data.params["nodes"] == str(tmp_path / "n.parquet")


def test_an_unknown_name_is_exit_code_2_before_anything_is_made(store, graph, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = infer("--graph", graph.path, "--model", "models:/no@prod", "--output", tmp_path / "new" / "o")
    assert result.exit_code == 2
    assert "models:/no@prod: MLflow at file:" in json.loads(result.stdout)["message"]
    left = {path for path in set(tmp_path.rglob("*")) - set(before) if tmp_path / "store" not in (path, *path.parents)}
    assert not left


def test_in_python_into_the_active_run(store, graph, model, tmp_path):
    report = score(graph, model, tmp_path / "o")
    with mlflow.start_run() as active:
        assert graphsweep.mlflow.log_report(report, {"day": "2026-11-28"}) == active.info.run_id
        assert mlflow.active_run() is not None
    (run,) = runs()
    assert run.data.params["day"] == "2026-11-28"
    assert run.data.metrics["rows"] == report.rows


def test_names_that_mlflow_does_not_take(store, graph, model, tmp_path):
    report = score(graph, model, tmp_path / "o")
    graphsweep.mlflow.log_report(report, {"nodes[account]": "a" * 9000, "edges[(a, b, c)]": "e"})
    (run,) = runs()
    assert len(run.data.params["nodes.account"]) == 500
    assert run.data.params["edges..a. b. c"] == "e"


def test_mlflow_that_does_not_answer_is_refused_before_work(store, graph, model, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = infer("--graph", graph.path, "--model", model, "--output", tmp_path / "o", "--mlflow")
    assert result.exit_code == 2
    assert "--mlflow: MLflow at http://127.0.0.1:9 says: API request to http://127.0.0.1:9/" in result.stderr
    assert not (tmp_path / "o").exists()


def test_mlflow_that_stops_answering_costs_no_scores(store, graph, model, tmp_path, monkeypatch):
    def gone(*arguments, **options):
        raise ConnectionError("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", gone)
    result = infer("--graph", graph.path, "--model", model, "--output", tmp_path / "o", "--mlflow")
    assert result.exit_code == 0
    assert "the scores are written, but not logged: --mlflow: MLflow at file:" in result.stderr
    assert "says: gone" in result.stderr
    assert json.loads(result.stdout)["mlflow_run"] is None


def test_a_run_that_is_logged_by_half_is_marked_as_failed(store, graph, model, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError("full")

    monkeypatch.setattr(mlflow.MlflowClient, "log_dict", full)
    with pytest.raises(SettingError, match=r"log_report: MLflow at file:.* says: full"):
        graphsweep.mlflow.log_report(score(graph, model, tmp_path / "o"))
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_what_is_no_report(store):
    with pytest.raises(SettingError, match=r"log_report takes what score gives, not dict"):
        graphsweep.mlflow.log_report({})


def test_without_mlflow(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"^--mlflow needs MLflow, which is not installed: pip install"):
        Tracking()
