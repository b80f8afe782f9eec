"""Whole commands whose tables, graphs and scores lie in HDFS: Hadoop's own name node and data node on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.job.status import status
from pipeline.places.filesystem import _filesystem
from pipeline.places.marker import MARKER
from pipeline.run.work import Work
from tests.bits import by_id
from tests.formulas import build
from tests.packages import Unreachable
from tests.places import hdfs
from tests.places.hdfs import Folder
from tests.spark.standalone import QUIET, ROOT, submitted
from tests.test_object_store import done, expected, prepared, raw, refused, run, scores
from tests.whole import whole

pytestmark = pytest.mark.slow

BLOCKS = 3


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("hdfs_native")
    try:
        with hdfs.cluster(tmp_path_factory.mktemp("hdfs")) as address:
            yield address
    except Unreachable as why:
        pytest.skip(str(why))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("sage", "gat"):
        build(name).save(tmp_path / name)
    return tmp_path


@pytest.fixture
def full(address: str, request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """With the tables in it."""
    folder = Folder(address, f"/{request.node.name}")
    for name, table in (("nodes", whole("mixed").nodes()), ("edges", whole("mixed").edges())):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        folder.put(f"in/{name}.parquet", (tmp_path / f"{name}.parquet").read_bytes())
    return folder


def folders(place: Folder) -> set[str]:
    return {name.partition("/")[0] for name in place.names()}


def test_prepare_infer_verify_and_overwrite(full: Folder, models: Path, no_session: None) -> None:
    graph = prepared(full)
    infer = ["infer", "--graph", graph, "--model", models / "sage", "--output", full / "o"]
    done(*infer)
    assert by_id(scores(full, "o")) == expected("sage")
    verify = ["verify", "--graph", graph, "--model", models / "sage", "--output", full / "o", *raw(full)[:4]]
    assert "100 of 100" in done(*verify).output
    assert "exists already; give another path, or --overwrite" in refused(*infer)
    done("infer", "--graph", graph, "--model", models / "gat", "--output", full / "o", "--overwrite")
    assert by_id(scores(full, "o")) == expected("gat")
    assert folders(full) == {"in", "graph", "o"}, "and nothing else is left"


def test_a_killed_run_goes_on(full: Folder, models: Path, no_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["infer", *raw(full), "--blocks", BLOCKS, "--model", models / "sage", "--output", full / "o"]
    given += ["--work-dir", full / "w"]
    note = Work.note

    def noted(self: Work, *of: Any) -> None:
        note(self, *of)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Work, "note", noted)
        assert run(*given).exit_code not in (0, 2)
    assert status(full / "w").supersteps_done == 1
    assert "1 of 3 supersteps are done already" in done(*given).output
    assert by_id(scores(full, "o")) == expected("sage")
    assert [name for name in full.names() if name.startswith("w/")] == [f"w/{MARKER}"]
    assert folders(full) == {"in", "o", "w"}


def test_tasks_of_spark(full: Folder, models: Path) -> None:
    """Each block by a task of its own, which reads, sends and writes there."""
    given = [
        *raw(full),
        "--blocks",
        BLOCKS,
        "--model",
        models / "sage",
        "--output",
        full / "o",
        "--work-dir",
        full / "w",
    ]
    conf = [part for pair in QUIET.items() for part in ("--conf", "=".join(pair))]
    ended = submitted(["--master", "local[2]", *conf], ROOT / "jobs" / "infer.py", *given, "--tier", "distributed")
    assert ended.returncode == 0, ended.stdout
    assert "Parquet" not in ended.stdout
    assert by_id(scores(full, "o")) == expected("sage")


def test_without_the_package_spark_reads_and_writes(full: Folder, models: Path, tmp_path: Path) -> None:
    """By its own connector; what Python has to reach is refused."""
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "hdfs_native.py").write_text("raise ImportError")
    conf = [part for pair in QUIET.items() for part in ("--conf", "=".join(pair))]
    given = [*raw(full), "--blocks", BLOCKS, "--model", models / "sage", "--output", full / "o"]
    path = {"PYTHONPATH": f"{tmp_path / 'without'}:{ROOT}"}
    ended = submitted(["--master", "local[2]", *conf], ROOT / "jobs" / "infer.py", *given, environment=path)
    assert ended.returncode == 0, ended.stdout
    assert by_id(scores(full, "o")) == expected("sage")


def test_without_the_package_a_graph_is_refused(
    address: str, models: Path, no_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdfs_native", None)
    _filesystem.cache_clear()
    try:
        said = refused("infer", "--graph", f"hdfs://{address}/g", "--model", models / "sage", "--output", models / "o")
    finally:
        _filesystem.cache_clear()
    assert "give one that Python can see too" in said
    assert "hdfs:// (with the package hdfs-native, or libhdfs, on all machines)" in said
