"""What fails, is killed, or meets another run on a real cluster: the old result stays, and there is never a mixture."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, prepare, score
from pipeline.job.status import status
from pipeline.places.marker import MARKER
from pipeline.plan.plan import Plan
from tests.formulas import build
from tests.preparing.test_by_step import content
from tests.spark.standalone import ROOT, Standalone, kill
from tests.whole import whole

pytestmark = pytest.mark.slow

Call = tuple[str, str, int | None]
"""Module, function, superstep or None: where a task fails or waits."""

WRITE: Call = ("pipeline.blocks.storage", "write_rows", None)
# what a task of a step of prepare calls first
PACK: Call = ("pipeline.preparing.pack", "pack", None)
BUILD: Call = ("pipeline.preparing.build", "build", None)
ANSWER: Call = ("pipeline.preparing.answer", "answer", None)


def compute(superstep: int) -> Call:
    return "pipeline.run.superstep", "compute", superstep


@dataclass(frozen=True)
class Work:
    """A directory for one test: graph, model, and an old result."""

    cluster: Standalone
    at: Path
    last: int
    """The number of the last superstep."""

    def infer(self, output: object) -> list[object]:
        return ["--graph", self.at / "graph", "--model", self.at / "model", "--output", output, "--tier", "distributed"]

    def conf(self, *calls: Call, waits: bool = False) -> dict[str, str]:
        """One core, so that two runs have room; and faults in tasks: they fail, or wait for `go`."""
        conf = {"spark.cores.max": "1", "spark.task.maxFailures": "1"}
        if not calls:
            return conf
        shutil.rmtree(self.at / "fault", ignore_errors=True)
        (self.at / "fault").mkdir()
        said = {"calls": calls, "waits": waits, "place": str(self.at / "fault")}
        path = f"{Path(__file__).with_name('faulty')}:{ROOT}"
        return {**conf, "spark.executorEnv.PYTHONPATH": path, "spark.executorEnv.FAULT": json.dumps(said)}

    def go(self, call: Call) -> None:
        (self.at / "fault" / f"go-{call[1]}").touch()

    def reached(self, call: Call) -> list[int]:
        """The numbers of the Python workers whose tasks have come there."""
        found = (self.at / "fault").glob(f"reached-{call[1]}-*")
        return [int(path.name.rpartition("-")[2]) for path in found]

    def wait_for(self, process: Popen[str], call: Call) -> list[psutil.Process]:
        """The Python workers that wait, as soon as there is one."""
        end = time.monotonic() + 240
        while not (found := self.reached(call)):
            if process.poll() is not None:
                pytest.fail(f"no task came to the fault: {process.communicate()[0]}")
            assert time.monotonic() < end, "no task came to the fault"
            time.sleep(0.1)
        return [psutil.Process(number) for number in found]

    def contents(self) -> Mapping[str, bytes]:
        """Of all that is there, but for what tells of faults."""
        files = (path for path in self.at.rglob("*") if path.is_file())
        return {
            name: path.read_bytes()
            for path in files
            if not (name := str(path.relative_to(self.at))).startswith("fault/")
        }


@pytest.fixture
def work(standalone: Standalone, tmp_path: Path) -> Work:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    prepare(tables(tmp_path), tmp_path / "graph", blocks=2)
    build("sage").save(tmp_path / "model")
    return Work(standalone, tmp_path, len(Plan.of(Model.load(tmp_path / "model")).steps) - 1)


def tables(at: Path) -> Graph:
    found = Graph.of_files(at / "nodes.parquet", at / "edges.parquet")
    assert found is not None
    return found


def rows(path: Path) -> int:
    return int(pq.read_table(path).num_rows)


def test_two_runs_into_one_place(work: Work) -> None:
    """While the first one computes, the second is refused, whatever it asks for."""
    first = work.cluster.begin("infer", *work.infer(f"file://{work.at}/o"), conf=work.conf(compute(0), waits=True))
    try:
        work.wait_for(first, compute(0))
        done = work.cluster.submit("infer", *work.infer(work.at / "o"), "--overwrite", conf=work.conf())
        assert done.returncode == 2, done.stdout
        assert f"{work.at}/o: another run (" in done.stdout
        assert ") is writing there; nothing was touched" in done.stdout
        work.go(compute(0))
        said, _ = first.communicate(timeout=240)
    finally:
        kill(first)
    assert first.returncode == 0, said
    assert rows(work.at / "o") == 200


def test_a_run_that_is_to_overwrite_fails_or_is_killed(work: Work) -> None:
    """In its last superstep, when files of other blocks may be written already. The next run heals what is left; it is
    one of this process alone, and so was the first."""
    score(work.at / "graph", work.at / "model", work.at / "o")
    before = work.contents()
    done = work.cluster.submit("infer", *work.infer(work.at / "o"), "--overwrite", conf=work.conf(compute(work.last)))
    assert work.reached(compute(work.last))
    assert done.returncode == 4, done.stdout
    assert "a fault that a test has asked for" in done.stdout
    assert work.contents() == before

    killed = work.cluster.begin(
        "infer", *work.infer(work.at / "o"), "--overwrite", conf=work.conf(compute(work.last), waits=True)
    )
    try:
        work.wait_for(killed, compute(work.last))
    finally:
        kill(killed)
    work.go(compute(work.last))
    assert {name: content for name, content in work.contents().items() if name in before} == before
    score(work.at / "graph", work.at / "model", work.at / "o", overwrite=True)
    assert rows(work.at / "o") == 200
    assert not list(work.at.glob(".*")), "nothing is left of the killed run"


def test_a_prepare_that_is_to_overwrite_fails(work: Work) -> None:
    before = work.contents()
    given = ["--nodes", work.at / "nodes.parquet", "--edges", work.at / "edges.parquet", "--output", work.at / "graph"]
    done = work.cluster.submit("prepare", *given, "--overwrite", "--blocks", 2, conf=work.conf(WRITE))
    assert work.reached(WRITE)
    assert done.returncode == 4, done.stdout
    assert work.contents() == before


def test_a_prepare_by_steps_loses_one_process_after_the_other(work: Work) -> None:
    """While a task of a step is at work: an executor, then the driver; of the same command again a Python worker, then
    the daemon that starts Python workers. The graph has the bytes of one that nobody disturbs."""
    prepare(tables(work.at), work.at / "undisturbed", blocks=2)
    given: list[object] = ["--nodes", work.at / "nodes.parquet", "--edges", work.at / "edges.parquet"]
    given += ["--output", work.at / "new", "--blocks", 2, "--work-dir", work.at / "work"]
    patient = {"spark.cores.max": "2", "spark.task.maxFailures": "4"}

    first = work.cluster.begin("prepare", *given, conf={**work.conf(PACK, BUILD, waits=True), **patient})
    try:
        _, executor = family(work.wait_for(first, PACK)[0])
        executor.kill()
        work.go(PACK)
        tasks = work.wait_for(first, BUILD)
    finally:
        kill(first)
    psutil.wait_procs(tasks, timeout=60)  # their executors see that the driver is gone
    assert not (work.at / "new" / "manifest.json").exists()
    assert status(work.at / "work").steps_done == 1

    second = work.cluster.begin("prepare", *given, conf={**work.conf(BUILD, ANSWER, waits=True), **patient})
    try:
        work.wait_for(second, BUILD)[0].kill()
        work.go(BUILD)
        daemon, _ = family(work.wait_for(second, ANSWER)[0])
        daemon.kill()
        work.go(ANSWER)
        said = second.communicate(timeout=240)[0]
    finally:
        kill(second)
    assert second.returncode == 0, said
    assert "1 of 3 steps are done already" in said
    assert content(work.at / "new") == content(work.at / "undisturbed")
    assert [path.name for path in (work.at / "work").iterdir()] == [MARKER]
    assert status(work.at / "work").state == "done"


def family(task: psutil.Process) -> tuple[psutil.Process, psutil.Process]:
    """The daemon and the executor that a Python worker is of."""
    daemon, executor = task.parents()[:2]
    assert executor.name() == "java", executor
    return daemon, executor


def test_a_graph_that_is_replaced_while_it_is_read(work: Work) -> None:
    """No scores, rather than scores of neither graph."""
    run = work.cluster.begin("infer", *work.infer(work.at / "o"), conf=work.conf(compute(0), waits=True))
    try:
        work.wait_for(run, compute(0))
        edges = whole("mixed").edges()
        pq.write_table(pa.concat_tables([edges, edges]), work.at / "edges.parquet")
        prepare(tables(work.at), work.at / "graph", blocks=2, overwrite=True)
        before = work.contents()
        work.go(compute(0))
        said, _ = run.communicate(timeout=240)
    finally:
        kill(run)
    assert run.returncode == 2, said
    assert f"{work.at}/graph: replaced while being read; run again" in said
    left = {name: content for name, content in work.contents().items() if not name.startswith(".")}
    assert left == {name: content for name, content in before.items() if not name.startswith(".")}
    assert not (work.at / "o").exists()
    assert not list(work.at.glob(".*"))


def test_executors_with_another_version(work: Work) -> None:
    """The command says it in one sentence, and nothing is begun."""
    shutil.copytree(ROOT / "pipeline", work.at / "other" / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    with open(work.at / "other" / "pipeline" / "kernels" / "sort.py", "a") as file:
        file.write("# another version\n")
    before = work.contents()
    conf = {**work.conf(), "spark.executorEnv.PYTHONPATH": f"{work.at}/other"}
    done = work.cluster.submit("infer", *work.infer(work.at / "o"), conf=conf)
    assert done.returncode == 2, done.stdout
    assert done.stdout.count("run another graphsweep than this process: its sources in") == 1, done.stdout
    assert {name for name in work.contents() if "__pycache__" not in name} == set(before)
    assert not (work.at / "o").exists()
