"""Where results go: what is refused, what is there already, object stores, and places that only Spark reaches."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, open_graph, prepare, score, verify
from pipeline.errors import SettingError, StorageError
from pipeline.places import filesystem
from pipeline.places.filesystem import opened
from pipeline.places.marker import MARKER
from pipeline.places.place import Place
from pipeline.places.through_spark import default_filesystem, read_from
from pipeline.prepared import PreparedGraph
from pipeline.result.destination import refuse_mixture
from pipeline.settings import Settings
from tests.formulas import build
from tests.places.objects import store
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """Two tables, a prepared graph of them, and a model, each in a folder of its own."""
    for name, table in (("nodes", whole("mixed").nodes()), ("edges", whole("mixed").edges())):
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "part-00000.parquet")
    graph = raw(tmp_path)
    prepare(graph, str(tmp_path / "graph"), blocks=2)
    build("sage").save(tmp_path / "model")
    return tmp_path


def raw(at: Path) -> Graph:
    graph = Graph.of_files(str(at / "nodes"), str(at / "edges"), edge_features=["weight"])
    assert graph is not None
    return graph


def contents(at: Path) -> dict[str, bytes]:
    return {str(file.relative_to(at)): file.read_bytes() for file in at.rglob("*") if file.is_file()}


def marker(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / MARKER).read_text())
    return found


# ---- an output that is, holds, or lies in an input

HARMFUL = {
    "nodes": "is the node table that the graph was prepared from",
    "edges/": "is the edge table",
    "nodes/scores": "lies in the node table",
    "graph": "is the prepared graph",
    "graph/blocks/../..": "holds the model",
    "model": "is the model",
    "scratch/o": "lies in the scratch directory",
    "link": "is the node table",
    ".": "holds the",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("output", HARMFUL)
def test_inputs_are_not_outputs(at: Path, no_session: None, output: str, overwrite: bool) -> None:
    (at / "link").symlink_to(at / "nodes")
    before = contents(at)
    for spelt in (f"{at}/{output}", f"file:{at}/{output}"):
        settings = Settings(scratch=str(at / "scratch"))
        with pytest.raises(SettingError, match=f"the output {HARMFUL[output]}.*Nothing was touched"):
            score(open_graph(str(at / "graph")), at / "model", spelt, overwrite=overwrite, settings=settings)
    assert contents(at) == before


@pytest.mark.parametrize("output", ["nodes", "edges/o", "model"])
def test_raw_tables_are_not_outputs(at: Path, no_session: None, output: str) -> None:
    before = contents(at)
    with pytest.raises(SettingError, match=r"the output (is|lies in) the (node table|edge table|model) \("):
        score(raw(at), at / "model", at / output, overwrite=True)
    assert contents(at) == before


def test_tables_that_come_as_frames_are_not_outputs(spark: SparkSession, at: Path) -> None:
    (at / "days" / "day=1").mkdir(parents=True)
    shutil.move(at / "nodes" / "part-00000.parquet", at / "days" / "day=1" / "part-00000.parquet")
    nodes = spark.read.parquet(str(at / "days")).where("id is not null")
    graph = Graph(nodes, spark.read.parquet(str(at / "edges")))
    assert [place.path for place in read_from(nodes)] == [str(at / "days")]
    before = contents(at)
    for output in ("days", "edges", "days/scores", "days/day=1"):
        with pytest.raises(SettingError, match=r"the output (is|lies in) the (node|edge) table \("):
            score(graph, build("sage"), at / output, overwrite=True)
    assert contents(at) == before
    assert read_from(spark.range(3)) == []


def test_a_file_beside_a_table_that_is_a_file(spark: SparkSession, at: Path) -> None:
    """The folder of nodes.parquet is not the table."""
    for name in ("nodes", "edges"):
        shutil.move(at / name / "part-00000.parquet", at / f"{name}.parquet")
    graph = Graph(spark.read.parquet(str(at / "nodes.parquet")), spark.read.parquet(str(at / "edges.parquet")))
    assert score(graph, build("sage"), at / "o").rows == 200
    with pytest.raises(SettingError, match=r"the output is the edge table \("):
        score(graph, build("sage"), at / "edges.parquet", overwrite=True)


# ---- the same result is there already


def test_a_retry_after_success(at: Path, no_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = open_graph(str(at / "graph"))
    first = score(graph, at / "model", at / "o", if_same="skip")
    before = contents(at)
    scoring = sys.modules["pipeline.computing"]
    monkeypatch.setattr(scoring, "run_in_process", lambda *_: pytest.fail("it was computed again"))
    again = score(graph, at / "model", at / "o", if_same="skip")
    assert (first.skipped, again.skipped) == (False, True)
    assert (again.run, again.rows, again.output) == (first.run, first.rows, str(at / "o"))
    assert str(again).startswith(f"already there: 200 nodes scored by run {first.run}, of 20")
    assert contents(at) == before


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": build("gat")}, "the model"),
    "wire": ({"settings": Settings(wire="float16")}, "wire float32 instead of float16"),
    "format": ({"format": "csv"}, "format parquet instead of csv"),
    "classify": ({"classify": True}, "classify False instead of True"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_the_same(at: Path, no_session: None, change: str) -> None:
    given, said = CHANGES[change]
    asked: dict[str, Any] = {"model": build("sage"), "if_same": "skip"}
    graph = open_graph(str(at / "graph"))
    first = score(graph, output=at / "o", **asked)
    with pytest.raises(
        StorageError, match=rf"o: exists already, and is not the same \({said}\); give another path, or ov"
    ):
        score(graph, output=at / "o", **(asked | given))
    assert marker(at / "o")["run"] == first.run
    second = score(graph, output=at / "o", overwrite=True, **(asked | given))
    assert marker(at / "o")["run"] == second.run != first.run


def test_tables_that_were_changed(at: Path, no_session: None) -> None:
    asked: dict[str, Any] = {"model": build("sage"), "output": at / "o", "if_same": "skip"}
    first = score(raw(at), **asked)
    assert score(raw(at), **asked).skipped
    assert score(raw(at), **asked).run == first.run
    file = at / "edges" / "part-00000.parquet"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    with pytest.raises(StorageError, match=r"is not the same \(the tables\)"):
        score(raw(at), **asked)
    pq.write_table(whole("mixed").edges().slice(1), at / "edges" / "part-00001.parquet")
    assert not score(raw(at), overwrite=True, **asked).skipped


def test_a_result_that_lost_a_file_is_computed_again(at: Path, no_session: None) -> None:
    graph = open_graph(str(at / "graph"))
    score(graph, at / "model", at / "o", if_same="skip")
    (at / "o" / "part-00001.parquet").unlink()
    with pytest.raises(StorageError, match="exists already; give another path, or overwrite it"):
        score(graph, at / "model", at / "o", if_same="skip")
    assert not score(graph, at / "model", at / "o", if_same="skip", overwrite=True).skipped
    assert pq.read_table(at / "o").num_rows == 200


def test_a_result_whose_file_was_cut_is_not_the_same(at: Path, no_session: None) -> None:
    """Nor is it replaced: somebody has changed it."""
    graph, file = open_graph(str(at / "graph")), at / "o" / "part-00001.parquet"
    score(graph, at / "model", at / "o")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"exists already; give another path$"):
        score(graph, at / "model", at / "o", if_same="skip")
    with pytest.raises(StorageError, match=r"that were changed since: part-00001\.parquet; move them away"):
        score(graph, at / "model", at / "o", if_same="skip", overwrite=True)


def test_frames_are_not_known_again(spark: SparkSession, at: Path) -> None:
    graph = Graph(spark.read.parquet(str(at / "nodes")), spark.read.parquet(str(at / "edges")))
    score(graph, build("sage"), at / "o")
    with pytest.raises(SettingError, match=r'if_same="skip".*tables that are DataFrames.*prepare the graph first'):
        score(graph, build("sage"), at / "o", if_same="skip")
    read = Graph.read(spark, str(at / "nodes"), str(at / "edges"))
    score(read, build("sage"), at / "o", overwrite=True)
    assert score(read, build("sage"), at / "o", if_same="skip").skipped


def test_only_skip_is_known(at: Path) -> None:
    with pytest.raises(SettingError, match="if_same is 'yes'; accepted: skip"):
        score(open_graph(str(at / "graph")), at / "model", at / "o", if_same="yes")


# ---- object stores


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> fs.FileSystem:
    found = store()
    monkeypatch.setattr(filesystem, "_filesystem", lambda scheme, authority: found if scheme == "s3" else None)
    monkeypatch.setattr("pipeline.places.lock.SETTLE", 0.01)
    return found


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_result_in_an_object_store(
    at: Path, no_session: None, bucket: fs.FileSystem, format: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="graphsweep")
    graph = open_graph(str(at / "graph"))
    score(graph, at / "model", at / "o", format=format)
    first = score(graph, at / "model", "s3a://bucket/x/o", format=format, if_same="skip")
    assert (
        "s3a://bucket/x/o: nothing can be renamed there; who lists it meanwhile sees old and new files" in caplog.text
    )
    assert score(graph, at / "model", "s3://bucket/x/o", format=format, if_same="skip").skipped
    with pytest.raises(StorageError, match=r"^s3a://bucket/x/o: exists already; give another path, or overwrite it$"):
        score(graph, at / "model", "s3a://bucket/x/o", format=format)
    second = score(graph, at / "model", "s3a://bucket/x/o", format=format, overwrite=True)
    keys = [info.path for info in bucket.get_file_info(fs.FileSelector("bucket", recursive=True))]
    names = [f"part-0000{block}-{second.run}.{format}" for block in (0, 1)]
    assert sorted(keys) == sorted(f"bucket/x/o/{name}" for name in [*names, MARKER, "_SUCCESS"])
    assert first.run != second.run
    for number, name in enumerate(names):
        with bucket.open_input_stream(f"bucket/x/o/{name}") as stream:
            assert stream.read() == (at / "o" / f"part-0000{number}.{format}").read_bytes()


def test_readers_follow_the_marker(at: Path, no_session: None, bucket: fs.FileSystem) -> None:
    """While files of two runs lie in one place, and when somebody has changed what is there."""
    graph = open_graph(str(at / "graph"))
    score(graph, at / "model", "s3://bucket/o")
    refuse_mixture(Place.of("s3://bucket/o"))
    bucket.copy_file("bucket/o/_SUCCESS", "bucket/o/part-00000-20260101T000000-01234567.parquet")
    with pytest.raises(
        StorageError, match=r"s3://bucket/o: the files are not those .*: 1 too many or missing, for example part-0"
    ):
        refuse_mixture(Place.of("s3://bucket/o"))
    score(graph, at / "model", at / "o")
    assert verify(graph, at_model(at), str(at / "o"), sample=5).passed
    (at / "o" / "part-00001.parquet").unlink()
    with pytest.raises(
        StorageError, match=r"o: the files are not those that .* for example part-00001\.parquet\. It is"
    ):
        verify(graph, at_model(at), str(at / "o"), sample=5)


def at_model(at: Path) -> Model:
    return Model.load(at / "model")


# ---- places that only Spark reaches


@dataclass(frozen=True)
class Lake:
    uri: str
    path: Path
    """Where it leads to."""


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[Lake]:
    """A file system of Spark's. Each test has its own: Hadoop keeps those that it has opened."""
    name = f"lake{uuid.uuid4().hex}"
    key = f"fs.viewfs.mounttable.{name}.link./t"
    (tmp_path / "t").mkdir()
    spark.conf.set(key, f"file://{tmp_path}/t")
    yield Lake(f"viewfs://{name}", tmp_path / "t")
    spark.conf.unset(key)


@pytest.mark.parametrize("name", ["o", "a b", "x[1]{2,3}*", "é☃"])
@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_new_place(spark: SparkSession, at: Path, lake: Lake, format: str, name: str) -> None:
    graph, output = open_graph(str(at / "graph")), f"{lake.uri}/t/{name}"
    report = score(graph, at / "model", output, format=format, spark=spark, if_same="skip")
    assert report.rows == 200
    parts = [file for file in (lake.path / name).iterdir() if file.name.startswith("part-")]
    if format == "parquet":
        assert sum(pq.read_metadata(part).num_rows for part in parts) == 200
    else:
        assert sum(len(list(csv.DictReader(part.read_text().splitlines()))) for part in parts) == 200
    again = score(graph, at / "model", output, format=format, spark=spark, if_same="skip")
    assert (again.skipped, again.run) == (True, report.run)
    before = contents(lake.path)
    with pytest.raises(StorageError, match=r"exists already; give a new path$"):
        score(graph, at / "model", output, format=format, spark=spark)
    with pytest.raises(StorageError, match="can be reached by Spark only: what would be deleted there cannot be seen"):
        score(graph, at / "model", output, format=format, spark=spark, overwrite=True)
    assert contents(lake.path) == before


def test_nothing_of_somebodys_is_touched(spark: SparkSession, at: Path, lake: Lake) -> None:
    (lake.path / "mine").mkdir()
    (lake.path / "mine" / "thesis.txt").write_text("x")
    (lake.path / "empty").mkdir()
    graph = open_graph(str(at / "graph"))
    for output in ("mine", "empty", "mine/thesis.txt"):
        for overwrite in (True, False):
            with pytest.raises(StorageError, match=f"{lake.uri}/t/{output}: exists already"):
                score(graph, at / "model", f"{lake.uri}/t/{output}", overwrite=overwrite, spark=spark)
    assert contents(lake.path) == {"mine/thesis.txt": b"x"}
    with pytest.raises(SettingError, match=f'write is "worker", but {lake.uri}/t/o is a place that can be reached by'):
        score(graph, at / "model", f"{lake.uri}/t/o", settings=Settings(write="worker"), spark=spark)
    with pytest.raises(StorageError, match="alluxio://x/o: cannot be reached by Spark: "):
        score(graph, at / "model", "alluxio://x/o", spark=spark)


def test_plain_paths_are_those_of_sparks_default(spark: SparkSession, at: Path, lake: Lake) -> None:
    assert default_filesystem(None) == default_filesystem(spark) == "file"
    spark.conf.set("fs.defaultFS", lake.uri)
    try:
        assert default_filesystem(spark) == lake.uri
        graph = open_graph(str(at / "graph"))
        score(graph, at / "model", "/t/o", spark=spark)
        assert pq.read_table(lake.path / "o").num_rows == 200
        with pytest.raises(SettingError, match=f"paths without a scheme are those of {lake.uri} here"):
            score(graph, at / "model", "o", spark=spark)
        assert score(graph, at / "model", f"file:{at}/here", spark=spark).rows == 200
        assert pq.read_table(at / "here").num_rows == 200
    finally:
        spark.conf.unset("fs.defaultFS")


# ---- ids in CSV by Spark's writer


@pytest.mark.parametrize("write", ["worker", "spark"])
def test_ids_in_csv_read_back(spark: SparkSession, tmp_path: Path, write: str) -> None:
    ids = [" lead", "trail ", "tab\t", 'q"q', "a,b", "new\nline", "both\r\ny", "é☃", "#x", "\\", "'", "NULL", ""]
    nodes = pa.table({"id": ids, "x": pa.array([[1.0] * 6] * len(ids), pa.list_(pa.float32()))})
    edges = pa.table({"src": ids[:3], "dst": ids[1:4]})
    graph = Graph(spark.createDataFrame(nodes), spark.createDataFrame(edges))
    settings = Settings(write=write)
    assert score(graph, build("sage"), tmp_path / "o", format="csv", settings=settings, spark=spark).rows == len(ids)
    found = []
    for part in (tmp_path / "o").glob("part-*.csv"):
        with open(part, newline="", encoding="utf-8") as file:
            found += [row["id"] for row in csv.DictReader(file)]
    assert sorted(found) == sorted(ids)


# ---- full disks


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 192 KB."""
    path = tmp_path / "small"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192k", "none", path], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only root can make a small disk")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)  # a worker of Spark may still be about to close a file


FULL = r"{0}/o: cannot be written: No space left on device \([0-9,]+ of 196,608 bytes are free in {0}\)"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """50,000 nodes: 2 MB of scores."""
    at = tmp_path_factory.mktemp("large")
    nodes = pa.table({"id": range(50_000), "x": pa.array([[1.0] * 6] * 50_000, pa.list_(pa.float32()))})
    pq.write_table(nodes, at / "nodes.parquet")
    pq.write_table(pa.table({"src": [1], "dst": [2]}), at / "edges.parquet")
    graph = Graph.of_files(str(at / "nodes.parquet"), str(at / "edges.parquet"))
    assert graph is not None
    return prepare(graph, str(at / "g"), blocks=2)


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_a_full_disk_here(small: Path, large: PreparedGraph, no_session: None, format: str) -> None:
    with pytest.raises(StorageError) as caught:
        score(large, build("sage"), small / "o", format=format)
    assert re.fullmatch(FULL.format(small), str(caught.value))
    assert os.listdir(small) == []


@pytest.mark.parametrize("write", ["worker", "spark"])
def test_a_full_disk_in_spark(spark: SparkSession, small: Path, large: PreparedGraph, write: str) -> None:
    with pytest.raises(StorageError) as caught:
        score(large, build("sage"), small / "o", settings=Settings(write=write), spark=spark)
    assert re.fullmatch(FULL.format(small), str(caught.value))
    assert os.listdir(small) == []


def test_a_disk_that_cannot_be_written(small: Path, at: Path, no_session: None) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    with pytest.raises(StorageError, match=r"small/x/o: cannot be written: Read-only file system$"):
        score(open_graph(str(at / "graph")), at / "model", small / "x" / "o")
    with pytest.raises(SettingError, match="a mount point, which cannot be replaced"):
        score(open_graph(str(at / "graph")), at / "model", small)


def test_a_manifest_is_read_whatever_it_says(at: Path, no_session: None) -> None:
    """Somebody's file by our marker's name: nothing is believed that is not there."""
    graph, out = open_graph(str(at / "graph")), at / "o"
    out.mkdir()
    for files in ("x", [1], [{"name": 3}], [{"name": "../../nodes/part-00000.parquet", "bytes": None}], None):
        text = json.dumps({"product": "graphsweep", "kind": "scores", "files": files})
        (out / MARKER).write_text(text)
        (out / "mine").write_text("x")
        before = contents(at)
        with pytest.raises(StorageError, match=r"there are files that graphsweep did not write.*: mine;"):
            score(graph, at / "model", out, overwrite=True)
        assert contents(at) == before
    model = Model.load(at / "model")
    (out / "mine").unlink()
    score(graph, model, out, overwrite=True)
    found = opened(Place.of(out))
    assert found is not None
    assert (at / "nodes" / "part-00000.parquet").exists()
