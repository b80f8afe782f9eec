"""Scores that become a table of Spark's catalog: the page about the run and the run of MLflow are about the table."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
from typer.testing import CliRunner

from pipeline import cli
from tests.formulas import build
from tests.whole import whole


def test_a_table_with_a_page_and_a_logged_run(spark, store, tmp_path):
    build("sage").save("model")
    pq.write_table(whole("mixed").nodes(), "nodes.parquet")
    pq.write_table(whole("mixed").edges(), "edges.parquet")
    spark.sql(f"CREATE DATABASE graphsweep_logged LOCATION 'file://{tmp_path}/warehouse'")
    name = "graphsweep_logged.scores"
    run = ["infer", "--nodes", "nodes.parquet", "--edges", "edges.parquet", "--model", "model", "--output-table", name]
    try:
        done = CliRunner().invoke(cli.app, [*run, "--report", "page.html", "--mlflow", "--json"])
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        assert (said["output"], said["inserted"], spark.table(name).count()) == (name, 200, 200)
        (logged,) = mlflow.MlflowClient().search_runs(["0"])
        assert said["mlflow_run"] == logged.info.run_id
        assert logged.data.params["output"] == name
        assert logged.data.params["model_fingerprint"], "the marker of the files was read"
        assert (logged.data.metrics["rows"], logged.data.metrics["inserted"]) == (200, 200)
        # seconds of the table are in them
        assert logged.data.metrics["seconds"] == said["seconds"]
        assert said["report"]["scores"]["tables"]["node"]["rows"] == 200
        assert name in Path("page.html").read_text()
        # refused: nothing is logged, and there is no page
        done = CliRunner().invoke(cli.app, [*run, "--report", "other.html", "--mlflow"])
        assert done.exit_code == 2
        assert "there is a table of parquet of that name already" in done.output
        assert len(mlflow.MlflowClient().search_runs(["0"])) == 1
        assert not Path("other.html").exists()
    finally:
        spark.sql("DROP DATABASE graphsweep_logged CASCADE")
