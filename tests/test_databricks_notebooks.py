"""The notebooks of notebooks/databricks run top to bottom, with a stub for what Databricks alone has."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import Graph, prepare, score

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks" / "databricks"
FLIGHTS = ROOT / "data" / "flights"


class Widgets:
    """`dbutils.widgets`: defaults, and what the job gives."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given, self._defaults = given, dict[str, str]()

    def text(self, name: str, default: str) -> None:
        self._defaults[name] = default

    def get(self, name: str) -> str:
        return self._given.get(name, self._defaults[name])


class Ended(Exception):
    """`dbutils.notebook.exit`."""


class Notebook:
    def exit(self, value: str) -> None:
        raise Ended(value)


class Dbutils:
    def __init__(self, given: dict[str, str]) -> None:
        self.widgets, self.notebook = Widgets(given), Notebook()


@pytest.fixture
def run(spark: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a notebook: what it has shown as tables, and what it ended with."""

    def run(name: str, **given: str) -> tuple[list[list[Any]], str | None]:
        shown: list[list[Any]] = []

        def display(table: Any) -> None:
            shown.append(table.collect() if hasattr(table, "collect") else table.to_dict("records"))

        monkeypatch.chdir(NOTEBOOKS)  # where a notebook on Databricks stands
        monkeypatch.setattr(sys, "path", [*sys.path])
        given_names = {"spark": spark, "display": display, "dbutils": Dbutils(given)}
        try:
            runpy.run_path(str(NOTEBOOKS / f"{name}.py"), given_names)
        except Ended as end:
            return shown, str(end)
        return shown, None

    return run


def test_first_run(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # a notebook is run again and again
        shown, _ = run("first_run", volume=str(tmp_path))
        assert [len(rows) for rows in shown] == [5, 5, 5]
        assert set(shown[-1][0].asDict()) == {"id", "probabilities", "predicted", "probability"}
        assert "PASS" in capsys.readouterr().out


def test_own_model(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, _ = run("own_model", volume=str(tmp_path))
    assert "largest difference from PyG: " in capsys.readouterr().out
    assert len(shown[0]) == 5
    assert (tmp_path / "own" / "trained" / "model.json").exists()


def test_typed_fraud(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown, _ = run("typed_fraud", volume=str(tmp_path))
    probabilities = [row["probability"] for row in shown[-1]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(row["fraud"] for row in shown[-1]) >= 8
    assert "PASS" in capsys.readouterr().out


def test_reading_explain(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("reading_explain", volume=str(tmp_path))
    said = capsys.readouterr().out
    assert len(re.findall(r"^tier +fused", said, re.MULTILINE)) == 1
    assert len(re.findall(r"^tier +distributed", said, re.MULTILINE)) == 2


def test_nightly(run: Any, spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it the wheel tasks have run (test_databricks_bundle.py)."""
    monkeypatch.chdir(tmp_path)
    spark.conf.set("spark.sql.legacy.allowNonEmptyLocationInCTAS", "true")
    given = {"root": str(tmp_path), "day": "2026-11-27", "table": "nightly_scores"}
    nodes, edges = (spark.read.parquet(str(FLIGHTS / f"{name}.parquet")) for name in ("nodes", "edges"))
    graph = prepare(Graph(nodes, edges, edge_features="distance"), tmp_path / "graph")
    report = score(graph, FLIGHTS / "model", tmp_path / "scores" / "2026-11-27")
    try:
        shown, ended = run("nightly", **given)
        assert json.loads(str(ended)) == {"rows": 514, "run": report.run}
        assert {row["run"] for row in shown[0]} == {report.run}
        prepare(Graph(nodes, edges, edge_features="distance"), tmp_path / "graph", blocks=3, overwrite=True)
        with pytest.raises(AssertionError, match="the scores of 2026-11-27 are of another graph; run infer again"):
            run("nightly", **given)
        assert spark.table("nightly_scores").count() == 514
    finally:
        spark.sql("DROP TABLE IF EXISTS nightly_scores")
        shutil.rmtree(ROOT / "spark-warehouse", ignore_errors=True)


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.py")), ids=lambda file: file.name)
def test_it_is_in_databricks_own_format(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# Databricks notebook source"
    assert lines[1] == "# MAGIC %md"
    assert "# COMMAND ----------" in lines
    assert not [line for line in lines if line.startswith("# MAGIC") and not line.startswith(("# MAGIC ", "# MAGIC"))]
