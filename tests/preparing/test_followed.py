"""How far a prepare is: counted by files that are there, said while it works, in this process and in a session."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

import pipeline.preparing.followed
import pipeline.progress
from pipeline import Graph, prepare
from pipeline.blocks import storage
from pipeline.preparing.followed import blocks_written, followed, parts_made
from pipeline.preparing.stored import StepFiles
from pipeline.progress import LINES, NOBODY, watched_by
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Lines as often as anybody looks."""
    caplog.set_level(logging.INFO, "graphsweep")
    monkeypatch.setattr(pipeline.progress, "FIRST", 0.0)
    monkeypatch.setattr(pipeline.progress, "EVERY", 0.0)
    monkeypatch.setattr(pipeline.preparing.followed, "POLL_SECONDS", 0.001)
    return caplog


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if (text := record.getMessage()).startswith("preparing the graph: ")]


def test_files_of_blocks_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    folder.mkdir()
    count = blocks_written(str(folder), 2)
    assert count is not None
    assert count() == 0
    storage.write_rows(str(folder), 1, storage.STATIC, [])
    (folder / "target=0").mkdir()
    (folder / "target=0" / ".static-1234").touch()  # is being written
    assert count() == 1
    for block in range(2):
        for file in storage.FILES:
            storage.write_rows(str(folder), block, file, [])
    assert count() == 4


def test_files_of_steps_are_counted(tmp_path: Path) -> None:
    """A step that has ended counts whole, though its files are gone; so does one of an earlier call."""
    files, parts = StepFiles(str(tmp_path)), {"pack": 5, "build": 3, "answer": 3}
    count, again = parts_made(files, parts, []), parts_made(files, parts, ["pack"])
    assert (count(), again()) == (0, 5)
    (tmp_path / "pack").mkdir()
    for name in ("00000", "00003", "00004-ab12"):
        (tmp_path / "pack" / name).touch()
    assert count() == 2
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "00001").touch()
    assert (count(), again()) == (6, 6)


def test_nobody_watches_or_nobody_can_see(often: pytest.LogCaptureFixture) -> None:
    def never() -> int:
        raise AssertionError("nobody asks")

    with watched_by(NOBODY), followed(3, never):
        pass
    with watched_by(LINES), followed(3, None):
        pass
    assert said(often) == []


def test_an_error_of_the_work_comes_through(often: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="of the work"), watched_by(LINES), followed(3, lambda: 1):
        raise ValueError("of the work")


def test_step_by_step_in_this_process(
    tmp_path: Path, no_session: None, often: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = _looks(monkeypatch)
    pq.write_table(whole("mixed").nodes(), tmp_path / "n.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "e.parquet")
    with watched_by(LINES):
        prepare(Graph(tmp_path / "n.parquet", tmp_path / "e.parquet"), tmp_path / "g", 8, work_dir=tmp_path / "w")
    assert looked == [18], "two tables, two steps of eight blocks"
    assert all(" of 18 parts" in line for line in said(often))


def test_in_the_tasks_of_a_session(
    spark: SparkSession, tmp_path: Path, often: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["pipeline.prepare"], "DRIVER_BYTES", -1)  # as if the tables were large
    looked = _looks(monkeypatch)
    with watched_by(LINES):
        prepare(whole("mixed").graph(spark), tmp_path / "g", 3)
    assert looked == [6], "two files of each block"
    assert said(often)[0] == "preparing the graph: 0 of 6 parts"


def _looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each Bar is told that there are."""
    found: list[int] = []
    real = pipeline.preparing.followed.Bar

    def noted(what: str, total: int, unit: str) -> Any:
        found.append(total)
        return real(what, total, unit)

    monkeypatch.setattr(pipeline.preparing.followed, "Bar", noted)
    return found
