"""What `graphsweep status` says of a work directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.errors import StorageError
from pipeline.job.status import status
from pipeline.places.marker import MARKER
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.run.test_tiers import BLOCKS, prepared_graph
from tests.whole import whole

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]

# the console command, in a process that waits, or kills itself, before one block of one superstep
COMMAND = """
import os, signal, sys, time
from pipeline.cli import main
from pipeline.run import by_superstep
how, superstep, block = sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))
real = by_superstep.run_block
def work(run, files, number, index):
    if (number, index) == (superstep, block):
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        print("waits", flush=True)
        time.sleep(600)
    yield from real(run, files, number, index)
by_superstep.run_block = work
main()
"""


def command(at: Path, how: str, superstep: int, block: int) -> list[str]:
    given = ["--graph", at / "graph", "--model", at / "model", "--output", at / "o", "--work-dir", at / "work"]
    (at / "one.toml").write_text("threads = 1")
    options = ["infer", *map(str, given), "--conf", str(at / "one.toml")]
    return [sys.executable, "-c", COMMAND, how, str(superstep), str(block), *options]


@pytest.fixture
def at(tmp_path: Path) -> Path:
    prepared_graph("mixed", tmp_path, reverse=True)
    build("sage").save(tmp_path / "model")
    return tmp_path


def say(*given: object) -> subprocess.CompletedProcess[str]:
    main = "from pipeline.cli import main; main()"
    return subprocess.run([sys.executable, "-c", main, *map(str, given)], capture_output=True, text=True, timeout=120)


def test_a_run_that_was_killed_and_is_ended_by_the_same_command(at: Path) -> None:
    done = subprocess.run(command(at, "killed", 1, 2), capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    found = status(at / "work")
    assert (found.state, found.supersteps, found.supersteps_done) == ("stopped", 3, 1)
    assert (found.blocks, found.blocks_done) == (BLOCKS, 2)
    assert found.bytes == sum(file.stat().st_size for file in (at / "work").glob("*/superstep-0/*"))

    said = say("status", at / "work")
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert lines[0].startswith(f"{at}/work: a run that was begun 20")
    assert lines[0].endswith("Z has stopped; the same command goes on")
    assert lines[1].startswith("done     1 of 3 supersteps in ")
    assert lines[2] == "now      superstep 1: 2 of 3 blocks"
    for_programs = json.loads(say("status", at / "work", "--json").stdout)
    assert for_programs["state"] == "stopped"
    assert for_programs["blocks_done"] == 2

    again = subprocess.run(command(at, "killed", -1, -1), capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert by_id(pq.read_table(at / "o")) == in_process("sage", whole("mixed"), BLOCKS)
    assert status(at / "work").state == "done"
    assert say("status", at / "work").stdout.endswith("; all 3 supersteps\n")


def test_a_run_that_is_running(at: Path) -> None:
    with subprocess.Popen(command(at, "waits", 2, 0), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
            found = status(at / "work")
            assert (found.state, found.supersteps_done, found.blocks_done) == ("running", 2, 0)
            refused = say("infer", "--graph", at / "graph", "--model", at / "model", "--output", at / "p", "--work-dir",
                          at / "work")  # fmt: skip
            assert refused.returncode == 2
            assert "another run" in refused.stderr
            assert not (at / "p").exists()
        finally:
            process.kill()
    assert status(at / "work").state == "stopped"


def test_what_is_no_work_directory(at: Path) -> None:
    for path in (at / "graph", at / "absent", at):
        with pytest.raises(StorageError, match="is no work directory of a run"):
            status(path)
    said = say("status", at / "graph")
    assert said.returncode == 2
    assert "is no work directory of a run" in said.stderr
    os.mkdir(at / "work")
    (at / "work" / MARKER).write_text(json.dumps({"product": "graphsweep", "kind": "work", "state": "begun"}))
    with pytest.raises(StorageError, match="its marker is damaged"):
        status(at / "work")


def test_a_foreign_directory_is_refused_before_tables_are_read(at: Path) -> None:
    """In no time, and with nothing prepared on the way."""
    os.mkdir(at / "mine")
    (at / "mine" / "data.csv").write_text("a")
    raw = ["--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet"]
    said = say("infer", *raw, "--model", at / "model", "--output", at / "o", "--work-dir", at / "mine")
    assert said.returncode == 2
    assert "mine: exists, and is no work directory of ours" in said.stderr
    assert os.listdir(at / "mine") == ["data.csv"]
