"""A prepare that is killed, at every step that touches a file, and the one that comes after it; and full disks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import open_graph
from tests.graphs import mixed

pytestmark = pytest.mark.slow

# One process forks a child for each step, which counts what it does with files and is killed when its number has come.
STEPS = """
import json, os, signal, sys
from pathlib import Path
from pipeline import Graph, open_graph, prepare
import pipeline.prepare, pipeline.preparing.publish

base, overwrite = Path(sys.argv[1]), sys.argv[2] == "overwrite"
path = base / "deep" / "graph"
EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree", "open")

def run(overwrite, kill_at=None):
    left = [kill_at]
    def audit(event, arguments):
        touched = event in EVENTS and str(path.parent) in str(arguments[0])
        if touched and (event != "open" or "w" in str(arguments[1])):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    if kill_at:
        sys.addaudithook(audit)
    graph = Graph.of_files(f"{base}/nodes.parquet", f"{base}/edges.parquet", edge_features="weight")
    prepare(graph, path, blocks=2, overwrite=overwrite)

def forked(*arguments):
    child = os.fork()
    if not child:
        code = 1
        try:
            run(*arguments)
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]

def state():
    if not (path / "manifest.json").exists():
        return None
    found = open_graph(path)
    assert sum(len(found.block(index).ids["node"]) for index in range(2)) == found.nodes
    return found.manifest["prepare"]

told = []
if overwrite:
    assert forked(False) == 0
for step in range(1, 1000):
    if not overwrite and (path / "manifest.json").exists():
        import shutil
        shutil.rmtree(base / "deep")
    before = state()
    ended = forked(overwrite, step)
    after = state()
    if ended == 0:
        break
    assert ended == signal.SIGKILL, ended
    assert not (overwrite and after is None), "the old graph stays until the new one is there"
    done = after != before  # killed after the switch: the graph is there
    again = forked(overwrite or done)
    names = sorted(os.listdir(path))
    told.append([step, done, again, len(names), sorted(os.listdir(base / "deep"))])
print(json.dumps(told))
"""


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    pq.write_table(mixed().nodes, tmp_path / "nodes.parquet")
    pq.write_table(mixed().edges, tmp_path / "edges.parquet")
    return tmp_path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize("overwrite", ["new", "overwrite"])
def test_a_prepare_that_is_killed_is_repeated(tables: Path, overwrite: str) -> None:
    """It succeeds at once, and nothing is left of the one that was killed; an old graph can be read in between."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STEPS, str(tables), overwrite],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    assert len(steps) > 8
    assert {switched for _, switched, *_ in steps} == {False, True}, "killed before and after the switch"
    for step, _, again, names, beside in steps:
        assert (again, names, beside) == (0, 2, ["graph"]), f"killed at step {step}"


RACE = "from pipeline.cli import main; main()"


def test_of_processes_that_start_at_once_one_wins(tables: Path) -> None:
    command = [sys.executable, "-c", RACE, "prepare", "--nodes", f"{tables}/nodes.parquet"]
    command += ["--edges", f"{tables}/edges.parquet", "--output", f"{tables}/graph", "--blocks", "2"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ends = [(process.communicate()[1], process.returncode) for process in running]
    assert sorted(code for _, code in ends) == [0, 2, 2, 2], ends
    assert all("is writing there" in said or "exists already" in said for said, code in ends if code), ends
    assert sorted(os.listdir(tables)) == ["edges.parquet", "graph", "nodes.parquet"]
    assert len(os.listdir(tables / "graph")) == 2
    assert open_graph(tables / "graph").nodes == 300


# ---- full disks


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "full"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


FULL = r"graphsweep: {0}: cannot be written: No space left on device \([0-9,]+ of 102,400 bytes are free in {1}\)\n"


def prepared(tables: Path, output: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", RACE, "prepare", "--nodes", f"{tables}/nodes.parquet", "--quiet"]
    command += ["--edges", f"{tables}/edges.parquet", "--edge-features", "weight,attr", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_full_disk_is_said_and_nothing_is_left(tables: Path, full: Path) -> None:
    (full / "theirs").write_bytes(b"x" * (70 << 10))
    code, said = prepared(tables, full / "deep" / "graph")
    assert code == 2
    assert re.fullmatch(FULL.format(f"{full}/deep/graph", f"{full}/deep/graph"), said)
    assert os.listdir(full) == ["theirs"]


def test_a_disk_without_room_for_anything(tables: Path, full: Path) -> None:
    size = 100 << 10
    (full / "theirs").write_bytes(b"x" * size)
    code, said = prepared(tables, full / "graph")
    assert code == 2
    assert re.fullmatch(FULL.format(f"{full}/graph", f"{full}(/graph)?"), said), "a folder may need no room of its own"
    assert os.listdir(full) == ["theirs"]


def test_a_full_disk_for_rows_that_wait(tables: Path, full: Path) -> None:
    """Rows that memory has no room for wait in files beside the blocks."""
    from pipeline import Graph, prepare
    from pipeline.errors import StorageError

    graph = Graph.of_files(f"{tables}/nodes.parquet", f"{tables}/edges.parquet", edge_features=["weight", "attr"])
    assert graph is not None
    with pytest.raises(StorageError, match=rf"{full}/graph: cannot be written: No space left on device"):
        prepare(graph, full / "graph", blocks=3, task_memory=4000)
    assert os.listdir(full) == []


def test_a_full_disk_for_raw_tables(tables: Path, full: Path) -> None:
    from pipeline import Graph
    from pipeline.errors import StorageError
    from pipeline.places.scratch import Scratch
    from pipeline.planning import prepare_for
    from pipeline.settings import Settings
    from tests.formulas import build

    (full / "theirs").write_bytes(b"x" * (76 << 10))
    nodes = mixed().nodes.append_column("more", mixed().nodes["age"])
    pq.write_table(nodes, tables / "nodes.parquet")
    options = {"features": {"x": ["age", "age", "age", "age", "age", "more"]}}
    graph = Graph.of_files(f"{tables}/nodes.parquet", f"{tables}/edges.parquet", **options)
    assert graph is not None
    words = (
        r"cannot be written: No space left .* free in .*\); raw tables are prepared there: the setting scratch gives"
    )
    with pytest.raises(StorageError, match=words):
        prepare_for(graph, build("no_edges"), Settings(), Scratch(str(full)))
    assert os.listdir(full) == ["theirs"]
