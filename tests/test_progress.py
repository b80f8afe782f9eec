"""Progress: lines where there is no terminal, a bar where there is one, nothing where nobody watches; all commands."""

from __future__ import annotations

import io
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import pipeline.progress
from pipeline import cli
from pipeline.progress import BARS, LINES, NOBODY, Bar, watched_by, watching
from tests.formulas import build
from tests.whole import whole


class Clock:
    """Seconds that go on when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pipeline.progress, "time", found)
    return found


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_come_every_so_often(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "graphsweep")
    with watched_by(LINES), Bar("verifying", 1000, "node") as bar:
        for _ in range(10):
            clock.now += 9
            bar.add(100)
    assert [record.getMessage() for record in caplog.records] == [
        "verifying: 200 of 1,000 nodes, about 72 s left",
        "verifying: 600 of 1,000 nodes, about 36 s left",
    ]
    (first, _) = caplog.records
    assert first.__dict__["event"] == "progress"
    assert first.__dict__["facts"] == {
        "what": "verifying", "done": 200, "total": 1000, "unit": "node", "seconds": 18.0, "seconds_left": 72.0
    }  # fmt: skip


def test_a_line_comes_even_if_nothing_is_done(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "graphsweep")
    with watched_by(LINES), Bar("superstep 1 of 3", 3, "block") as bar:
        clock.now += 11
        bar.to(0)
    assert [record.getMessage() for record in caplog.records] == ["superstep 1 of 3: 0 of 3 blocks"]


def test_nobody_is_told_anything(
    clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "graphsweep")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert watching() == NOBODY
    with watched_by(NOBODY), Bar("verifying", 10, "node") as bar:
        clock.now += 100
        bar.add()
    assert (screen.getvalue(), caplog.records) == ("", [])


def test_a_bar_says_what_is_done_and_seconds_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with watched_by(BARS), Bar("verifying", 4, "node") as bar:
        bar.add(3)
        bar.to(99)  # never more than there are
    assert "verifying" in screen.getvalue()
    assert "4/4" in screen.getvalue()


def test_a_notebook_with_widgets_draws_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", object())  # type: ignore[arg-type]
    monkeypatch.setattr(pipeline.progress, "find_spec", lambda name: None)
    assert watching() == NOBODY
    monkeypatch.setattr(pipeline.progress, "find_spec", lambda name: object())
    assert watching() == BARS
    assert pipeline.progress._tqdm().__module__.startswith("tqdm")


def test_who_watches_is_of_one_thread() -> None:
    found: list[str] = []
    with watched_by(BARS):
        thread = threading.Thread(target=lambda: found.append(watching()))
        thread.start()
        thread.join()
        assert watching() == BARS
    assert (found, watching()) == ([NOBODY], NOBODY)


@pytest.mark.parametrize(("options", "lines"), [((), True), (("--quiet",), False), (("--log-format", "json"), True)])
def test_every_command_that_works_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None, options: tuple[str, ...], lines: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(whole("mixed").nodes(), "nodes.parquet")
    pq.write_table(whole("mixed").edges(), "edges.parquet")
    build("sage").save("model")
    monkeypatch.setattr(pipeline.progress, "FIRST", 0.0)
    monkeypatch.setattr(pipeline.progress, "EVERY", 0.0)
    monkeypatch.setattr("pipeline.run.progress.SHORT", 0.0)

    def said(*command: str) -> Any:
        done = CliRunner().invoke(cli.app, [*command, *options])
        assert done.exit_code == 0, done.output
        return done.stderr

    prepared = said("prepare", "--nodes", "nodes.parquet", "--edges", "edges.parquet", "--output", "g", "--blocks", "3")
    scored = said("infer", "--graph", "g", "--model", "model", "--output", "o")
    verified = said("verify", "--graph", "g", "--model", "model", "--output", "o", "--sample", "3", "--limit", "2000")
    assert ("preparing the graph: 1 of" in prepared) == lines
    assert ("superstep 2: all 3 blocks are done" in scored) == lines
    assert ("superstep 2: 200 nodes, computed in" in scored) == lines
    assert "verifying" not in verified  # one group of nodes: it is done when it is said
