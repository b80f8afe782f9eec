"""Results on disk: whole or not at all, in the format asked for, and reported."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.csv
import pyarrow.parquet
import pytest
from chispa import assert_df_equality

from pipeline import Graph, Model, prepare, score
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.places.marker import MARKER
from pipeline.prepared import PreparedGraph
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepare(
        whole("mixed").graph(spark, edge_features=()), str(tmp_path_factory.mktemp("graphs") / "mixed"), blocks=2
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return build("sage")


def test_parquet(spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path) -> None:
    report = score(prepared, model, str(tmp_path / "out"), spark=spark)
    table = pyarrow.parquet.read_table(tmp_path / "out")
    assert table.column_names == ["id", "output"]
    assert report.rows == table.num_rows == prepared.nodes
    assert sorted(table["id"].to_pylist()) == sorted(whole("mixed").ids)
    assert os.listdir(tmp_path) == ["out"], "nothing is left beside it"
    assert "200 nodes scored" in str(report)
    assert len(report.supersteps) == 3


@pytest.mark.parametrize("tier", ["fused", "distributed"])
@pytest.mark.parametrize("read", ["worker", "spark"])
def test_workers_write_what_spark_would(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path, tier: str, read: str
) -> None:
    """Spark reads both tables back with the same types and rows; each block is a file."""
    for write in ("worker", "spark"):
        settings = Settings(tier=tier, read=read, write=write)
        report = score(prepared, model, str(tmp_path / write), classify=True, settings=settings, spark=spark)
        assert report.rows == prepared.nodes
        assert all(step.seconds >= 0 for step in report.supersteps)
    ours, sparks = (spark.read.parquet(str(tmp_path / write)) for write in ("worker", "spark"))
    assert_df_equality(ours, sparks, ignore_row_order=True)
    names = [name for name in os.listdir(tmp_path / "worker") if name.endswith(".parquet")]
    assert sorted(names) == ["part-00000.parquet", "part-00001.parquet"]
    assert (tmp_path / "worker" / "_SUCCESS").exists(), "others wait for it"


@pytest.mark.parametrize("id_type", ["tinyint", "smallint", "int", "string"])
def test_ids_keep_their_type(spark: SparkSession, tmp_path: Path, id_type: str) -> None:
    nodes = spark.sql(f"select cast(id as {id_type}) id, array(1f, 2, 3, 4, 5, 6) x from range(5)")
    edges = spark.sql(f"select cast(id as {id_type}) src, cast(0 as {id_type}) dst from range(5)")
    score(Graph(nodes, edges), build("sage"), str(tmp_path / "out"), settings=Settings(scratch=str(tmp_path / "s")))
    assert dict(spark.read.parquet(str(tmp_path / "out")).dtypes)["id"] == id_type


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_directory_that_tasks_do_not_share(
    spark: SparkSession,
    prepared: PreparedGraph,
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    format: str,
) -> None:
    """What they wrote would be lost, whoever writes it: tasks, or Spark's executors."""
    output = f"{scheme}{tmp_path}/out"
    said = Handshake(False, 2, 1 << 30, 1, barred={f"{tmp_path}/out": ("a", "b")})
    monkeypatch.setattr(sys.modules["pipeline.score"], "handshake", lambda spark, probes: said)
    with pytest.raises(StorageError) as caught:
        score(prepared, model, output, format=format, spark=spark)
    assert str(caught.value) == (
        f"{output}: the tasks on hosts a, b do not share its directory with this process, or may not write there; give "
        "a path that all machines share, or of a file system that they do"
    )
    assert os.listdir(tmp_path) == []


def test_what_only_spark_sees_is_counted(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on executors with disks of their own, which say that they have written all."""

    def write_elsewhere(table: DataFrame, *_: object) -> None:
        table.write.parquet(str(tmp_path / "elsewhere"))

    monkeypatch.setattr(sys.modules["pipeline.computing"], "write_by_spark", write_elsewhere)
    with pytest.raises(
        StorageError, match=r"out: 200 rows were computed, but the files .* hold 0: tasks write to disks"
    ):
        score(prepared, model, tmp_path / "out", settings=Settings(write="spark"), spark=spark)
    assert os.listdir(tmp_path) == ["elsewhere"]


def test_csv_has_a_column_for_each_lane(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path
) -> None:
    score(prepared, model, str(tmp_path / "out"), format="csv", classify=True, spark=spark)
    parts = sorted((tmp_path / "out").glob("part-*.csv"))
    names = pyarrow.csv.read_csv(parts[0]).column_names
    assert names == ["id", *(f"output_{lane}" for lane in range(4)), "predicted", "probability"]
    assert sum(pyarrow.csv.read_csv(part).num_rows for part in parts) == prepared.nodes


def test_two_runs_give_the_same_bytes(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path
) -> None:
    tables = []
    for name in ("one", "two"):
        score(prepared, model, str(tmp_path / name), settings=Settings(tier="distributed"), spark=spark)
        tables.append(pyarrow.parquet.read_table(tmp_path / name).sort_by("id"))
    assert tables[0].equals(tables[1])


def test_log_lines(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="graphsweep")
    score(prepared, model, str(tmp_path / "out"), settings=Settings(tier="distributed"), spark=spark)
    assert "distributed: asked for" in caplog.text
    for number in range(3):
        assert f"superstep {number}: 200 nodes, computed in" in caplog.text
    assert "shipped" in caplog.text


def test_an_existing_path_is_refused(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = score(prepared, model, str(out), spark=spark)
    with pytest.raises(StorageError, match="exists already; give another path, or overwrite it"):
        score(prepared, model, str(out), spark=spark)
    second = score(prepared, model, str(out), overwrite=True, spark=spark)
    assert json.loads((out / MARKER).read_text())["run"] == second.run != first.run
    (out / "thesis.txt").write_text("mine")
    for overwrite in (True, False):
        with pytest.raises(
            StorageError, match=r"thesis\.txt" if overwrite else "out: exists already; give another path$"
        ):
            score(prepared, model, str(out), overwrite=overwrite, spark=spark)
    assert (out / "thesis.txt").read_text() == "mine"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("write", ["worker", "spark"])
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_the_marker_says_what_is_there(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path, format: str, write: str
) -> None:
    settings = Settings(write=write, wire="float16", exchange="pull")
    report = score(prepared, model, tmp_path / "o", format=format, classify=True, settings=settings, spark=spark)
    found = json.loads((tmp_path / "o" / MARKER).read_text())
    assert (found["product"], found["kind"], found["run"]) == ("graphsweep", "scores", report.run)
    assert (found["graph"], found["model"]) == (prepared.fingerprint, model.fingerprint)
    told = {"wire": "float16", "exchange": "pull", "classify": True, "format": format, "output_id": "id"}
    assert found["settings"] == told
    assert found["columns"] == [
        {"name": "id", "type": prepared.id_type},
        {"name": "output", "type": "array<float>", "width": 4},
        {"name": "predicted", "type": "int"},
        {"name": "probability", "type": "float"},
    ]
    assert found["rows"] == sum(file["rows"] for file in found["files"]) == prepared.nodes
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "o").iterdir()}
    assert {file["name"]: file["bytes"] for file in found["files"]} == {
        name: size for name, size in sizes.items() if name not in (MARKER, "_SUCCESS")
    }


def test_a_failed_run_leaves_the_old_table_and_nothing_else(spark: SparkSession, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good, bad = (spark.sql(f"select id, array(1f, 2, 3, 4, 5, 6) x from range({n})") for n in (3, 5))
    ends = spark.sql("select id src, id dst from range(5)")
    settings = Settings(scratch=str(tmp_path / "scratch"))
    score(Graph(bad, ends), model, str(out), settings=settings)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(DataError, match="absent from the nodes"):
        score(Graph(good, ends), model, str(out), overwrite=True, settings=settings)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    with pytest.raises(DataError, match="absent from the nodes"):
        score(Graph(good, ends), model, tmp_path / "new" / "folder" / "out", settings=settings)
    assert os.listdir(tmp_path) == ["out"], "no folder above it either"


def test_no_permission(spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        score(prepared, model, str(tmp_path / "file" / "out"), spark=spark)


def test_unknown_format(prepared: PreparedGraph, model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="unknown output format 'parqet'; did you mean 'parquet'"):
        score(prepared, model, str(tmp_path / "out"), format="parqet")


@pytest.mark.parametrize("tier", ["fused", "distributed"])
def test_raw_tables_of_a_session_keep_their_graph_in_the_work_directory(
    spark: SparkSession, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    pyarrow.parquet.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pyarrow.parquet.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    settings = Settings(tier=tier, work_dir=str(tmp_path / "work"), blocks=2)
    planning = sys.modules["pipeline.planning"]
    times = []
    real = planning.prepare_in_steps

    def noted(*given: object, **options: object) -> PreparedGraph:
        times.append(given)
        return real(*given, **options)

    def fails(*given: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(planning, "prepare_in_steps", noted)
    for _ in range(2):
        graph = Graph.read(spark, str(tmp_path / "nodes.parquet"), str(tmp_path / "edges.parquet"))
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["pipeline.computing"], "run_by_superstep", fails)
            with pytest.raises(RuntimeError):
                score(graph, model, tmp_path / "o", settings=settings, spark=spark)
    assert score(graph, model, tmp_path / "o", settings=settings, spark=spark).rows == 200
    assert len(times) == 1
    assert os.listdir(tmp_path / "work") == [MARKER]
