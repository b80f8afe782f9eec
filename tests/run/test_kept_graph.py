"""Raw tables with a work directory: what was prepared once is not prepared again, whenever the run was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import Graph, planning, score
from pipeline.errors import DataError, StorageError
from pipeline.job.status import status
from pipeline.places.marker import MARKER
from pipeline.settings import Settings
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.whole import whole

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]

BLOCKS = 3

# the console command, in a process that kills itself: while it prepares, after that, or before a block of a superstep
COMMAND = """
import os, signal, sys
from pipeline.cli import main
from pipeline import planning
from pipeline.run import by_superstep
when = sys.argv.pop(1)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
prepare, run_block = planning.prepare_in_steps, by_superstep.run_block
if when == "preparing":
    sys.modules["pipeline.prepare"].manifest_of = lambda *given: die()
def prepared(*given, **options):
    found = prepare(*given, **options)
    if when == "put":
        die()
    print("prepared anew", file=sys.stderr)
    return found
keep = planning._prepare_to_keep
def kept(*given):
    found = keep(*given)
    if when == "prepared":
        die()
    return found
planning._prepare_to_keep = kept
def work(run, files, number, index):
    if f"{number}-{index}" == when:
        die()
    yield from run_block(run, files, number, index)
planning.prepare_in_steps, by_superstep.run_block = prepared, work
main()
"""


@pytest.fixture
def at(tmp_path: Path) -> Path:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    (tmp_path / "one.toml").write_text("threads = 1")
    return tmp_path


def run(at: Path, when: str = "never", *more: str) -> subprocess.CompletedProcess[str]:
    given = ["--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--model", at / "model"]
    given += ["--output", at / "o", "--work-dir", at / "work", "--blocks", BLOCKS, "--conf", at / "one.toml"]
    command = [sys.executable, "-c", COMMAND, when, "infer", *map(str, given), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def killed(at: Path, when: str) -> subprocess.CompletedProcess[str]:
    found = run(at, when)
    assert found.returncode == -signal.SIGKILL, found.stderr
    assert not (at / "o").exists()
    return found


def ended(at: Path) -> str:
    """What a run that is not killed says; its bits are right, and nothing is left."""
    found = run(at)
    assert found.returncode == 0, found.stderr
    assert by_id(pq.read_table(at / "o")) == in_process("sage", whole("mixed"), BLOCKS)
    assert os.listdir(at / "work") == [MARKER]
    return found.stderr


def test_killed_once_in_every_part(at: Path) -> None:
    """Prepared anew by the one that is killed after it, and by none of those that come later."""
    killed(at, "preparing")
    said = str(status(at / "work"))
    assert "work: a prepare that was begun 20" in said
    assert "done     3 of 3 steps: pack, build, answer" in said
    assert "now      the graph is being put in its place" in said
    assert "prepared anew" not in killed(at, "put").stderr
    assert "prepared already" in killed(at, "prepared").stderr
    said = str(status(at / "work"))
    assert "graph    prepared; it is not prepared again, unless its tables change" in said
    assert "now      no superstep has begun" in said
    for when in ("0-0", "1-1", "2-2"):
        found = killed(at, when)
        assert "prepared anew" not in found.stderr
        assert f"prepared already: {200} nodes, 1500 edges" in found.stderr
    said = str(status(at / "work"))
    assert "graph    prepared" in said
    assert "done     2 of 3 supersteps" in said
    last = ended(at)
    assert "prepared anew" not in last
    assert "2 of 3 supersteps are done already" in last
    assert status(at / "work").state == "done"


def test_a_run_that_nobody_kills(at: Path) -> None:
    assert "prepared anew" in ended(at)
    assert status(at / "work").graph == ""


def test_other_tables_before_a_superstep_has_begun(at: Path) -> None:
    """Are prepared: nothing is lost."""
    killed(at, "prepared")
    table = whole("mixed").edges()
    pq.write_table(table.slice(0, table.num_rows), at / "edges.parquet")
    os.utime(at / "edges.parquet", (1, 1))
    found = ended(at)
    assert "prepared anew" in found
    assert "work: the edge table has changed since; prepared from the beginning" in found


def test_other_columns_before_a_superstep_has_begun_are_refused(at: Path) -> None:
    killed(at, "prepared")
    before = files(at)
    found = run(at, "never", "--undirected")
    assert found.returncode == 2
    assert "work: holds what was left by a run with other columns or options; run that one again" in found.stderr
    assert files(at) == before
    ended(at)


def files(at: Path) -> dict[str, int]:
    """But for the lock, which a process that has died still had."""
    found = (path for path in (at / "work").rglob("*") if path.is_file() and "lock" not in path.name)
    return {str(path): path.stat().st_mtime_ns for path in found}


def test_other_tables_after_that_are_refused(at: Path) -> None:
    killed(at, "1-1")
    before = files(at)
    os.utime(at / "edges.parquet", (1, 1))
    found = run(at)
    assert found.returncode == 2
    says = "work: holds what was left by a run with other tables, or of other columns or blocks; run that one again, "
    assert says in found.stderr
    assert files(at) == before
    assert not (at / "o").exists()


def of_files(at: Path, **options: Any) -> Graph:
    found = Graph.of_files(f"{at}/nodes.parquet", f"{at}/edges.parquet", **options)
    assert found is not None
    return found


def test_tables_that_cannot_be_used_leave_nothing(at: Path) -> None:
    table = whole("mixed").edges()
    changed = table.set_column(0, "src", [[5] * table.num_rows])
    pq.write_table(changed, at / "edges.parquet")
    with pytest.raises(DataError):
        score(of_files(at), build("sage"), at / "o", settings=Settings(work_dir=str(at / "work")))
    assert not (at / "work").exists()


def test_what_is_not_ours_is_not_touched(at: Path) -> None:
    (at / "work" / "graph").mkdir(parents=True)
    (at / "work" / "graph" / "mine").write_text("mine")
    with pytest.raises(StorageError, match="exists, and is no work directory of ours"):
        score(of_files(at), build("sage"), at / "o", settings=Settings(work_dir=str(at / "work")))
    assert os.listdir(at / "work" / "graph") == ["mine"]


def test_tables_in_memory_are_prepared_each_time(at: Path) -> None:
    """They are not known again: their graph is in the scratch directory, as without a work directory."""
    graph = Graph(whole("mixed").nodes(), whole("mixed").edges())
    settings = Settings(work_dir=str(at / "work"), scratch=str(at / "scratch"), blocks=BLOCKS)
    score(graph, build("sage"), at / "o", settings=settings)
    assert by_id(pq.read_table(at / "o")) == in_process("sage", whole("mixed"), BLOCKS)
    assert os.listdir(at / "work") == [MARKER]


def test_without_a_work_directory_nothing_is_kept(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    real = planning.prepare

    def noted(graph: Graph, path: str, *given: Any, **options: Any) -> Any:
        paths.append(path)
        return real(graph, path, *given, **options)

    monkeypatch.setattr(planning, "prepare", noted)
    score(of_files(at), build("sage"), at / "o", settings=Settings(scratch=str(at / "scratch")))
    assert [str(at / "scratch") in path for path in paths] == [True]
    assert not os.path.exists(paths[0])
