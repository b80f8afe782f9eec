"""Real commands that are killed or told to end: the old table stays, the next run succeeds, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, prepare
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.slow

# The command, in a process that is sent a signal by itself at the n-th call of a function.
CHILD = """
import os, signal, sys
from pathlib import Path
from pipeline.cli import main

what, number, how = sys.argv[1], int(sys.argv[2]), getattr(signal, sys.argv[3])
calls = 0

def stopping(call):
    def counting(*arguments, **options):
        global calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), how)
        return call(*arguments, **options)
    return counting

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, children ignore it
if what == "rename":
    os.rename = stopping(os.rename)
if what == "block":
    import pipeline.run.task
    pipeline.run.task.write_block = stopping(pipeline.run.task.write_block)
if what == "prepare":
    import pipeline.planning
    module = sys.modules["pipeline.planning"]  # the package's name is the function's
    module.prepare = stopping(module.prepare)
main(sys.argv[4:])
"""


def command(at: Path, *arguments: object, stop: tuple[str, int, str] = ("", 0, "SIGKILL")) -> tuple[int, str]:
    """Exit code, and what was said."""
    (at / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "JAVA_HOME": "/nowhere", "TMPDIR": str(at / "tmp")}
    given = [sys.executable, "-c", CHILD, *map(str, [*stop, "infer", *arguments])]
    done = subprocess.run(given, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def at(tmp_path: Path) -> Path:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    graph = Graph.of_files(str(tmp_path / "nodes.parquet"), str(tmp_path / "edges.parquet"))
    assert graph is not None
    prepare(graph, str(tmp_path / "graph"), blocks=3)
    build("sage").save(tmp_path / "model")
    build("gat").save(tmp_path / "other")
    (tmp_path / "out").mkdir()
    return tmp_path


def arguments(at: Path, model: str = "model") -> list[object]:
    return ["--graph", at / "graph", "--model", at / model, "--output", at / "out" / "o"]


def scores(at: Path) -> dict[int, list[float]]:
    table = pq.read_table(at / "out" / "o")
    return dict(zip(table["id"].to_pylist(), table["output"].to_pylist(), strict=True))


STOPS = [("block", 2), ("rename", 1), ("rename", 2)]


@pytest.mark.parametrize(("what", "number"), STOPS)
def test_a_killed_command(at: Path, what: str, number: int) -> None:
    assert command(at, *arguments(at))[0] == 0
    old = scores(at)
    code, _ = command(at, *arguments(at, "other"), "--overwrite", stop=(what, number, "SIGKILL"))
    assert code == -signal.SIGKILL
    if (what, number) != ("rename", 2):
        assert scores(at) == old, "until the new one is whole"
    else:
        assert not (at / "out" / "o").exists(), "between the two moves"
    assert len(os.listdir(at / "out")) > 1
    code, said = command(at, *arguments(at, "other"), "--overwrite", "--if-same", "skip")
    assert code == 0, said
    assert ("skipped  200 nodes are scored already, by run 20" in said) == ((what, number) == ("rename", 2)), said
    assert os.listdir(at / "out") == ["o"]
    assert scores(at) != old


def test_a_retry_needs_no_overwrite(at: Path) -> None:
    assert command(at, *arguments(at), stop=("block", 2, "SIGKILL"))[0] == -signal.SIGKILL
    code, said = command(at, *arguments(at))
    assert code == 0, said
    assert os.listdir(at / "out") == ["o"]
    assert len(scores(at)) == 200
    code, said = command(at, *arguments(at), "--if-same", "skip")
    assert (code, "skipped  200 nodes are scored already, by run 20" in said) == (0, True), said
    code, said = command(at, *arguments(at, "other"), "--if-same", "skip")
    assert code == 2
    assert said.endswith("o: exists already, and is not the same (the model); give another path, or --overwrite\n")


@pytest.mark.parametrize(
    ("what", "number", "how"),
    [("block", 2, "SIGTERM"), ("block", 2, "SIGINT"), ("prepare", 1, "SIGTERM"), ("rename", 1, "SIGHUP")],
)
def test_a_command_that_is_told_to_end(at: Path, how: str, what: str, number: int) -> None:
    raw = ["--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--blocks", 3]
    output = ["--model", at / "model", "--output", at / "out" / "new" / "o"]
    if what == "rename":
        assert command(at, *arguments(at))[0] == 0
        raw, output = ["--graph", at / "graph", "--overwrite"], arguments(at)[2:]
    code, said = command(at, *raw, *output, stop=(what, number, how))
    assert code == 130, said
    assert said.endswith("graphsweep: interrupted\n")
    assert "Traceback" not in said
    assert os.listdir(at / "out") == (["o"] if what == "rename" else [])
    assert os.listdir(at / "tmp") == []


def test_what_a_killed_command_left_of_its_scratch_graph(at: Path) -> None:
    raw = ["--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--model", at / "model", "--output"]
    assert command(at, *raw, at / "out" / "o", stop=("block", 1, "SIGKILL"))[0] == -signal.SIGKILL
    left = os.listdir(at / "tmp")
    assert len(left) == 2  # the graph, and how far the run is
    assert all((at / "tmp" / name / "_graphsweep.json").exists() for name in left)
    code, said = command(at, *raw, at / "out" / "o")
    assert code == 0, said
    assert os.listdir(at / "tmp") == []
    assert os.listdir(at / "out") == ["o"]


def test_two_commands_at_once(at: Path) -> None:
    """One wins, the other is refused; with --overwrite too."""
    environment = {**os.environ, "JAVA_HOME": "/nowhere"}
    for overwrite in ([], ["--overwrite"]):
        given = [sys.executable, "-c", CHILD, "", "0", "SIGKILL", "infer", *map(str, arguments(at)), *overwrite]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        both = [subprocess.Popen(given, env=environment, text=True, **pipes) for _ in range(2)]
        said = [process.communicate(timeout=300)[0] for process in both]
        codes = sorted(process.returncode for process in both)
        assert codes in ([0, 2], [0, 0] if overwrite else [0, 2]), said
        if codes == [0, 2]:
            assert any("is writing there; nothing was touched" in text or "exists already" in text for text in said)
        assert len(pq.read_table(at / "out" / "o")) == 200
        assert os.listdir(at / "out") == ["o"]


def test_inputs_are_refused_before_anything_starts(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_session", lambda *_, **__: pytest.fail("Spark was started"))
    raw = ["--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--model", at / "model"]
    (at / "conf.toml").write_text("")
    for output, said in (
        (at / "nodes.parquet", "is the node table"),
        (at, "holds the node table"),
        (at / "model" / "o", "lies in the model"),
        (at / "conf.toml", "is the settings' file"),
    ):
        for more in ([], ["--overwrite"], ["--overwrite", "--format", "csv"]):
            given = ["infer", *raw, "--conf", at / "conf.toml", "--output", output, *more]
            result = CliRunner().invoke(cli.app, list(map(str, given)))
            assert (result.exit_code, f"the output {said}" in result.stderr) == (2, True), result.output
    assert len(pq.read_table(at / "nodes.parquet")) == 200
