"""Which way blocks send to each other, and the same bits by each, by the tasks of a session."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from pipeline import prepare, score
from pipeline.errors import SettingError, StorageError
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import shipped_bytes
from pipeline.prepared import PreparedGraph
from pipeline.result.report import Report
from pipeline.run import by_superstep
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, Probe
from pipeline.spark.probe import rooted
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.places.s3 import server
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BLOCKS = 3


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepare(whole("mixed").graph(spark), tmp_path_factory.mktemp("graphs") / "mixed", blocks=BLOCKS)


def run(spark: SparkSession, graph: PreparedGraph, at: Path, name: str, settings: Settings) -> Report:
    report = score(graph, build(name), at / "o", settings=settings, spark=spark)
    assert by_id(pq.read_table(at / "o")) == in_process(name, whole("mixed"), BLOCKS)
    return report


def is_shuffled(report: Report, graph: PreparedGraph) -> bool:
    """A row of sage is sent to each block that reads it; in files it is once."""
    counts, plan = Counts.of(graph.manifest), Plan.of(build("sage"))
    return report.supersteps[0].shipped == shipped_bytes(counts, plan.steps[0])


@pytest.mark.parametrize("name", ["sage", "gat", "graph_norm"])
def test_the_tasks_of_a_session_map_files(
    spark: SparkSession, prepared: PreparedGraph, tmp_path: Path, name: str
) -> None:
    settings = Settings(tier="distributed", scratch=str(tmp_path / "scratch"))
    report = run(spark, prepared, tmp_path, name, settings)
    assert report.tier == "distributed"
    assert not is_shuffled(report, prepared)
    assert [step.shipped is not None for step in report.supersteps] == [True] * len(report.supersteps)
    assert os.listdir(tmp_path) == ["o"], "the files of the run are gone"


def test_the_tasks_of_a_session_send_through_an_object_store(
    spark: SparkSession, prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what spark.executorEnv would give them; once to go on after a kill, and once instead of the shuffle."""
    for name, value in server().environment.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(spark.sparkContext.environment, name, value)
    bucket = server().bucket("exchange")
    run(spark, prepared, tmp_path, "gat", Settings(tier="distributed", work_dir=bucket / "work"))
    assert bucket.names() == ["work/_graphsweep.json"]
    # of this bucket, for the server is that of other tests, too
    puts = {path for method, path in server().requests if method == "PUT" and path.startswith("/exchange/work/")}
    made = {path.rpartition("/")[2] for path in puts if "/superstep-0/" in path}
    # pyarrow sometimes puts "…/superstep-0/" again when it removes the last file of it
    assert len(made - {""}) == BLOCKS
    settings = Settings(tier="distributed", transport="files", scratch=bucket / "scratch")
    (tmp_path / "files").mkdir()
    run(spark, prepared, tmp_path / "files", "sage", settings)
    assert bucket.names() == ["work/_graphsweep.json"], "what was in the scratch directory is gone"


def test_what_a_session_has_begun_threads_end(
    spark: SparkSession, prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A work directory is the same for both: here the last superstep is left to the other."""
    settings = Settings(work_dir=str(tmp_path / "work"))
    real = by_superstep.InTasks.__call__

    def fails_last(self: by_superstep.InTasks, work: object, blocks: object, ddl: str) -> object:
        if ddl == by_superstep.RECEIPT_DDL:
            raise ConnectionError("the driver is gone")
        return real(self, work, blocks, ddl)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(by_superstep.InTasks, "__call__", fails_last)
        with pytest.raises(ConnectionError):
            score(prepared, build("sage"), tmp_path / "o", settings=settings, spark=spark)
    assert sorted(path.name for path in (tmp_path / "work").glob("*/*")) == ["rows", "superstep-1"]
    computed: list[int] = []
    work = by_superstep.run_block
    monkeypatch.setattr(by_superstep, "run_block", lambda *given: computed.append(given[2]) or work(*given))
    monkeypatch.setattr(sys.modules["pipeline.score"], "session_of", lambda graph, spark: None)
    score(prepared, build("sage"), tmp_path / "o", settings=settings)
    assert computed == [2] * BLOCKS
    assert by_id(pq.read_table(tmp_path / "o")) == in_process("sage", whole("mixed"), BLOCKS)


def test_the_shuffle_when_it_is_asked_for(spark: SparkSession, prepared: PreparedGraph, tmp_path: Path) -> None:
    report = run(spark, prepared, tmp_path, "sage", Settings(tier="distributed", transport="shuffle"))
    assert is_shuffled(report, prepared)


@pytest.mark.parametrize("settings", [{"read": "spark"}, {"write": "spark"}])
def test_what_spark_moves_goes_through_the_shuffle(
    spark: SparkSession, prepared: PreparedGraph, tmp_path: Path, settings: dict[str, str]
) -> None:
    report = run(spark, prepared, tmp_path, "sage", Settings(tier="distributed", **settings))
    assert is_shuffled(report, prepared)
    wanted = Settings(tier="distributed", transport="files", **settings)
    with pytest.raises(SettingError, match="transport files and work_dir cannot be; leave them out"):
        score(prepared, build("sage"), tmp_path / "p", settings=wanted, spark=spark)
    assert not (tmp_path / "p").exists()


def test_what_tasks_of_other_machines_do_not_see_is_refused(
    spark: SparkSession, prepared: PreparedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cluster whose machines have disks of their own, but for the graph and the output."""
    asked: list[str] = []

    def shaken(session: object, probes: list[Probe]) -> Handshake:
        asked[:] = [rooted(probe.path) for probe in probes]
        barred = {at: () if at.endswith(("/o", "manifest.json")) else ("worker-1",) for at in asked}
        return Handshake(False, 2, 1 << 30, 1, dict.fromkeys(asked, ()), barred)

    monkeypatch.setattr(sys.modules["pipeline.score"], "handshake", shaken)
    work, scratch = str(tmp_path / "work"), str(tmp_path / "scratch")
    for settings, what in [
        (Settings(tier="distributed", work_dir=work), "work: .*worker-1.*work_dir: set it to a directory that all"),
        (Settings(tier="distributed", transport="files", scratch=scratch), r"worker-1.*scratch: set it to a directory"),
    ]:
        with pytest.raises(StorageError, match=what):
            score(prepared, build("sage"), tmp_path / "o", settings=settings, spark=spark)
    assert os.listdir(tmp_path) == []
    report = score(prepared, build("sage"), tmp_path / "o", settings=Settings(tier="distributed"), spark=spark)
    assert is_shuffled(report, prepared), "auto"
    assert not any("exchange" in at for at in asked)
