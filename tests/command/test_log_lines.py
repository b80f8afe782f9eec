"""--log-format json: everything on stderr is one object a line, whatever becomes of the command."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, prepare
from pipeline.command.log_lines import KEPT, wants_lines
from pipeline.events import event
from tests.formulas import build
from tests.whole import whole


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None) -> Path:
    build("sage").save(tmp_path / "model")
    prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), tmp_path / "g", 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(text: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert list(line)[:4] == list(KEPT)
        assert datetime.fromisoformat(line["time"].replace("Z", "+00:00")).utcoffset() is not None
    return lines


def lines_of(*command: str, code: int = 0) -> list[dict[str, Any]]:
    done = CliRunner().invoke(cli.app, [*command, "--log-format", "json"])
    assert done.exit_code == code, done.output
    return parsed(done.stderr)


def test_a_run_from_begin_to_end(at: Path) -> None:
    lines = lines_of("infer", "--graph", "g", "--model", "model", "--output", "o")
    assert [line["event"] for line in lines] == ["begin", "graph", "plan", *["superstep"] * 3, "end"]
    assert [line["superstep"] for line in lines if line["event"] == "superstep"] == [0, 1, 2]
    assert (lines[1]["nodes"], lines[1]["edges"], lines[2]["tier"], lines[2]["spark"]) == (200, 1500, "fused", False)
    assert lines[-1].items() >= {"command": "infer", "outcome": "done", "exit_code": 0, "level": "info"}.items()


def test_an_error_is_a_line(at: Path) -> None:
    lines = lines_of("infer", "--graph", 'nix\n"', "--model", "model", "--output", "o", code=2)
    assert [line["event"] for line in lines] == ["begin", "end"]
    assert lines[1].items() >= {"level": "error", "outcome": "refused", "exit_code": 2}.items()
    assert lines[1]["message"].startswith('nix\n": no prepared graph here')
    assert "exception" not in lines[1]
    verbose = lines_of("infer", "--graph", "nix", "--model", "model", "--output", "o", "--verbose", code=2)
    assert verbose[-1]["exception"].startswith("Traceback")


def test_a_mistake_of_ours_and_an_interrupt(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> Any:
        def raised(_: str) -> None:
            raise error

        return raised

    monkeypatch.setattr("pipeline.job.status.status", fail(RuntimeError("broken")))
    end = lines_of("status", "w", code=1)[-1]
    assert (end["event"], end["message"], end["exit_code"]) == ("end", "RuntimeError: broken", 1)
    assert "in raised" in end["exception"]
    monkeypatch.setattr("pipeline.job.status.status", fail(KeyboardInterrupt()))
    assert lines_of("status", "w", code=130)[-1]["outcome"] == "interrupted"


def test_warnings_are_lines(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(_: str) -> None:
        warnings.warn("of something", UserWarning, stacklevel=1)
        logging.getLogger("graphsweep").info("twice 100%", extra=event("odd", message="no", time=1, share=float("nan")))

    monkeypatch.setattr("pipeline.job.status.status", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        lines = lines_of("status", "w", code=1)
    assert [line["event"] for line in lines] == ["begin", "warning", "odd", "end"]
    assert (lines[1]["message"], lines[1]["category"]) == ("of something", "UserWarning")
    assert (lines[2]["message"], lines[2]["share"]) == ("twice 100%", "nan")


def test_scores_that_differ_end_with_their_code(at: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(whole("mixed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), at / "edges.parquet")
    lines_of("prepare", "--nodes", "nodes.parquet", "--edges", "edges.parquet", "--output", "made")
    lines_of("infer", "--graph", "made", "--model", "model", "--output", "o")
    pq.write_table(pq.read_table(at / "o").slice(1), at / "fewer.parquet")
    lines = lines_of("verify", "--graph", "made", "--model", "model", "--output", "fewer.parquet", code=3)
    assert lines[-1].items() >= {"event": "end", "outcome": "differs", "exit_code": 3}.items()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("infer --mdel m --log-format json", "No such option: --mdel"),
        ("infer --log-format=json --graph= --model m --output o", "--graph is empty; is a variable unset?"),
        ("nix --log-format json", "No such command 'nix'"),
    ],
)
def test_options_that_cannot_be_read(at: Path, command: str, message: str) -> None:
    run = [sys.executable, "-c", "from pipeline.cli import main; main()", *command.split()]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    (line,) = parsed(done.stderr)
    assert (done.returncode, line["event"], line["exit_code"], line["outcome"]) == (2, "end", 2, "refused")
    assert message in line["message"]


def test_what_asks_for_lines() -> None:
    assert wants_lines(["infer", "--log-format", "json"])
    assert wants_lines(["--log-format=json"])
    assert not wants_lines(["--log-format", "text", "json"])


def test_another_format_is_refused(at: Path) -> None:
    done = CliRunner().invoke(cli.app, ["status", "w", "--log-format", "xml"])
    assert done.exit_code == 2
    assert "'xml' is not one of text, json" in done.stderr
