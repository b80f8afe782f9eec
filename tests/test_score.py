"""Results on disk: whole or not at all, in the format asked for, and reported."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.csv
import pyarrow.parquet
import pytest

from pipeline import Graph, Model, prepare, score
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.graph import PreparedGraph
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, handshake
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
    assert table.column_names == ["id", "embedding"]
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
    assert ours.dtypes == sparks.dtypes
    assert sorted(ours.collect()) == sorted(sparks.collect())
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
    said = Handshake(False, 2, 1 << 30, 1, barred={output: ("a", "b")})
    monkeypatch.setattr(sys.modules["pipeline.score"], "handshake", lambda spark, places: said)
    with pytest.raises(StorageError) as caught:
        score(prepared, model, output, format=format, spark=spark)
    assert str(caught.value) == (
        f"{output}: the tasks on hosts a, b do not share its directory with this process, or may not write there; give "
        "a path that all machines share, or of a file system that they do"
    )
    assert os.listdir(tmp_path) == []


def test_only_shared_disks_are_written_by_workers(spark: SparkSession, prepared: PreparedGraph, model: Model) -> None:
    with pytest.raises(SettingError, match='write is "worker", but hdfs://there/out is no path of disks'):
        score(prepared, model, "hdfs://there/out", settings=Settings(write="worker"), spark=spark)


def test_csv_has_a_column_for_each_lane(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path
) -> None:
    score(prepared, model, str(tmp_path / "out"), format="csv", classify=True, spark=spark)
    parts = sorted((tmp_path / "out").glob("part-*.csv"))
    names = pyarrow.csv.read_csv(parts[0]).column_names
    assert names == ["id", *(f"embedding_{lane}" for lane in range(4)), "predicted", "probability"]
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
    score(prepared, model, str(out), spark=spark)
    with pytest.raises(StorageError, match="exists already; give another path, or --overwrite"):
        score(prepared, model, str(out), spark=spark)
    score(prepared, model, str(out), overwrite=True, spark=spark)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="not overwritten, because it is not a table written by Spark"):
        score(prepared, model, str(out), overwrite=True, spark=spark)
    assert (out / "notes.txt").read_text() == "mine"


def test_a_path_of_the_clusters_own_file_system_is_sparks_business(
    spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default file system is the local one here; what shows is who refuses."""
    said = replace(handshake(spark), default_scheme="hdfs")
    monkeypatch.setattr(sys.modules["pipeline.score"], "handshake", lambda spark, places: said)
    out = tmp_path / "out"
    assert score(prepared, model, str(out), spark=spark).rows == prepared.nodes
    assert os.listdir(tmp_path) == ["out"]
    with pytest.raises(Exception, match="PATH_ALREADY_EXISTS"):
        score(prepared, model, str(out), spark=spark)
    score(prepared, model, str(out), overwrite=True, spark=spark)


def test_a_failed_run_leaves_the_old_table_and_nothing_else(spark: SparkSession, model: Model, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good, bad = (spark.sql(f"select id, array(1f, 2, 3, 4, 5, 6) x from range({n})") for n in (3, 5))
    ends = spark.sql("select id src, id dst from range(5)")
    settings = Settings(scratch=str(tmp_path / "scratch"))
    score(Graph(bad, ends), model, str(out), settings=settings)
    before = sorted(os.listdir(out))
    with pytest.raises(DataError, match="absent from the nodes"):
        score(Graph(good, ends), model, str(out), overwrite=True, settings=settings)
    assert sorted(os.listdir(out)) == before
    assert sorted(os.listdir(tmp_path)) == ["out", "scratch"]


def test_no_permission(spark: SparkSession, prepared: PreparedGraph, model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        score(prepared, model, str(tmp_path / "file" / "out"), spark=spark)


def test_unknown_format(prepared: PreparedGraph, model: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="unknown output format 'parqet'; did you mean 'parquet'"):
        score(prepared, model, str(tmp_path / "out"), format="parqet")
