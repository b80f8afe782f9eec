"""Progress: marks never fail, the bar follows them, and nothing is shown or left where nobody watches."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import time

import pytest

from pipeline.command.messages import messages
from pipeline.progress import BARS, LINES, watched_by
from pipeline.run.progress import POLL_SECONDS, Progress, mark


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(monkeypatch):
    """A terminal in stderr's place. Not a fixture: pytest puts its own there between setup and test."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_marks_are_files_and_a_repeated_one_counts_once(tmp_path):
    for superstep, block in [(0, 0), (0, 1), (0, 1), (1, 0)]:
        mark(str(tmp_path), superstep, block)
    assert sorted(os.listdir(tmp_path)) == ["0-0", "0-1", "1-0"]


def test_a_mark_never_fails(tmp_path):
    mark(None, 0, 0)
    mark(str(tmp_path / "missing"), 0, 0)


def test_the_bar_follows_the_marks(monkeypatch):
    terminal = watched(monkeypatch)
    with watched_by(BARS), Progress.watched() as progress:
        progress.expect(supersteps=2, blocks=2)
        assert progress.directory is not None
        for superstep, block in [(0, 0), (0, 1), (1, 0)]:
            mark(progress.directory, superstep, block)
    shown = terminal.getvalue()
    assert "superstep 2 of 2" in shown
    assert "3/4" in shown
    assert not os.path.exists(progress.directory)


def test_the_directory_goes_even_if_the_run_fails(monkeypatch):
    watched(monkeypatch)
    with watched_by(BARS):
        progress = Progress.watched()
    with pytest.raises(RuntimeError), progress:
        raise RuntimeError
    assert progress.directory is not None
    assert not os.path.exists(progress.directory)


def test_log_lines_do_not_run_into_the_bar(monkeypatch):
    terminal = watched(monkeypatch)
    with messages(), Progress.watched() as progress:
        progress.expect(supersteps=2, blocks=2)
        mark(progress.directory, 0, 0)
        time.sleep(2 * POLL_SECONDS)
        logging.getLogger("graphsweep").info("half of it")
        time.sleep(2 * POLL_SECONDS)
    lines = re.split("[\r\n]", terminal.getvalue())
    assert any(re.fullmatch(r"[\d:]{8} half of it", line) for line in lines), lines


def test_quiet_where_nobody_watches(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress.watched() as progress:
        progress.expect(supersteps=2, blocks=2)
        assert progress.directory is None
    assert screen.getvalue() == ""


def test_a_line_when_a_superstep_has_ended(caplog, monkeypatch):
    monkeypatch.setattr("pipeline.run.progress.SHORT", 0.0)
    caplog.set_level(logging.INFO, "graphsweep")
    with watched_by(LINES), Progress.watched() as progress:
        progress.expect(supersteps=2, blocks=2)
        for block in (0, 1):
            assert not caplog.records
            mark(progress.directory, 0, block)
            time.sleep(2 * POLL_SECONDS)
        assert len(caplog.records) == 1  # before the run has ended
    (line,) = caplog.records
    assert re.fullmatch(
        r"superstep 0: all 2 blocks are done, \d+ s after the run began; it was number 1 of 2", line.getMessage()
    )
    assert line.facts.items() >= {"superstep": 0, "blocks": 2, "supersteps": 2}.items()


def test_a_short_run_says_nothing_meanwhile(caplog):
    caplog.set_level(logging.INFO, "graphsweep")
    with watched_by(LINES), Progress.watched() as progress:
        progress.expect(supersteps=1, blocks=1)
        mark(progress.directory, 0, 0)
        time.sleep(2 * POLL_SECONDS)
    assert not caplog.records


def test_a_given_directory_is_not_deleted(tmp_path, monkeypatch):
    terminal = watched(monkeypatch)
    with watched_by(BARS), Progress(str(tmp_path)) as progress:
        progress.expect(1, 1)
        mark(progress.directory, 0, 0)
    assert tmp_path.is_dir()
    assert "1/1" in terminal.getvalue()
