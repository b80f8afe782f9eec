"""Prepare with a work directory: killed in any step, the same command goes on, and gives the bytes of one that nobody
has disturbed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, open_graph, prepare
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.job.status import status
from pipeline.places.marker import MARKER, read_marker
from pipeline.places.place import Place
from pipeline.places.working import reached
from pipeline.run.work import work_directory
from tests.graphs import mixed

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]

BLOCKS = 3
GIVEN: list[object] = ["prepare", "--edge-features", "weight,attr"]
PLAIN = ("pack", "build", "answer")
DROPPING = ("pack", "collect", "find_missing", "drop_edges", "answer")

# The console command, in a process that says which part of which step it does, and kills itself before one of them, or
# when it has noted a step, or before or after the graph is put in place. It is a child of a process that has everything
# loaded: a new Python for each of some hundred commands would take minutes.
SERVER = """
import json, os, signal, sys
from pipeline.cli import main
from pipeline.errors import unwritable
from pipeline.preparing import by_step, publish, work
from pipeline.preparing.in_memory import blocks_from_tables
from tests.graphs import mixed
import pipeline.job.prepare, pipeline.preparing.in_tasks

def at(moment):
    print("at", moment, file=sys.stderr, flush=True)
    if moment == when:
        os.kill(os.getpid(), signal.SIGKILL)
    if moment + "!" == when:
        raise unwritable("there", OSError(28, os.strerror(28)))

write, note, put = by_step.write_part, work.Steps.note, publish.Publication.publish
def write_part(path, part, rows):
    at(f"{os.path.basename(os.path.dirname(path))}-{part}")
    return write(path, part, rows)
def noted(self, step, written):
    at(f"end of {step}")
    note(self, step, written)
    at(f"after {step}")
def publishes(self, *given):
    at("put")
    put(self, *given)
    at("done")
by_step.write_part, work.Steps.note, publish.Publication.publish = write_part, noted, publishes
module = sys.modules["pipeline.prepare"]
threads, module.InThreads = module.InThreads, lambda number: threads(1)  # one part after the other

for drop in (False, True):  # compiled, once for all
    blocks_from_tables(mixed().nodes, mixed().edges, 3, edge_features=["weight", "attr"], drop_dangling=drop)
when = "never"
try:
    main(["status", "/nowhere"])  # what the command line loads when it has arguments
except SystemExit:
    pass
for line in sys.stdin:
    when, arguments, said = json.loads(line)
    child = os.fork()
    if not child:
        sys.stdout = sys.stderr = open(said, "w")
        code = 70
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


class Command(NamedTuple):
    """What came of one."""

    returncode: int
    stderr: str


class At(NamedTuple):
    """A directory of a test, and who runs commands there."""

    path: Path
    server: subprocess.Popen[str]

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __str__(self) -> str:
        return str(self.path)

    def glob(self, pattern: str) -> Iterable[Path]:
        return self.path.glob(pattern)

    def run(self, when: str, arguments: list[object]) -> Command:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        said = self.path / "said"
        self.server.stdin.write(json.dumps([when, list(map(str, arguments)), str(said)]) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return Command(code, said.read_text())


@pytest.fixture
def at(tmp_path: Path, server: subprocess.Popen[str]) -> At:
    pq.write_table(mixed().nodes, tmp_path / "nodes.parquet", row_group_size=120)
    pq.write_table(mixed().edges, tmp_path / "edges.parquet", row_group_size=400)
    return At(tmp_path, server)


def run(at: At, when: str = "never", *more: object, work: bool = True) -> Command:
    given = [*GIVEN, "--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--blocks", BLOCKS]
    given += ["--output", at / "graph" if work else at / "undisturbed", *more]
    return at.run(when, [*given, *(["--work-dir", at / "work"] if work else [])])


def killed(at: At, when: str, *more: object) -> list[str]:
    found = run(at, when, *more)
    assert found.returncode == -signal.SIGKILL, found.stderr
    return done_in(found)


def ended(at: At, *more: object) -> list[str]:
    """What a run does that is not killed; its bytes are right, and nothing is left."""
    found = run(at, "never", *more)
    assert found.returncode == 0, found.stderr
    if not (at / "undisturbed").exists():
        assert run(at, "never", *[each for each in more if each != "--overwrite"], work=False).returncode == 0
    assert content(at / "graph") == content(at / "undisturbed")
    assert os.listdir(at / "work") == [MARKER]
    assert status(at / "work").state == "done"
    return done_in(found)


def done_in(found: Command) -> list[str]:
    return [line.removeprefix("at ") for line in found.stderr.splitlines() if line.startswith("at ")]


def content(path: Path) -> dict[str, bytes]:
    """Every file of a prepared graph; the id of the prepare, which is of the same length in all, is left out."""
    id = open_graph(path).manifest["prepare"]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)).replace(id, ""): file.read_bytes().replace(id.encode(), b"") for file in files}


@pytest.mark.parametrize("dropping", [False, True])
def test_killed_at_every_step_one_after_the_other(at: At, dropping: bool) -> None:
    """Each run goes on where the one before it was killed, and does nothing twice."""
    more, steps = (["--drop-dangling"], DROPPING) if dropping else ([], PLAIN)
    before: list[str] = []
    for step in steps:
        for when in (f"{step}-1", f"end of {step}", f"after {step}"):
            before += killed(at, when, *more)
    for when in ("put", "done"):
        before += killed(at, when, *more)
    last = ended(at, *more)
    assert last == [], "the graph was in its place already"
    parts = [name for name in before if "-" in name]
    assert {name for name in parts if parts.count(name) != 1} == {f"{step}-1" for step in steps}, parts
    assert {name.partition("-")[0] for name in parts} == set(steps)


@pytest.mark.parametrize("when", ["pack-1", "after pack", "build-0", "end of build", "answer-2", "put"])
def test_killed_once(at: At, when: str) -> None:
    killed(at, when)
    assert not (at / "graph" / "manifest.json").exists()
    ended(at)


def test_nobody_kills_it(at: At) -> None:
    done = ended(at)
    assert [name for name in done if name.startswith("end of")] == [f"end of {step}" for step in PLAIN]


def test_what_a_step_has_left_is_removed_when_the_next_is_done(at: At) -> None:
    folders = {}
    for step in PLAIN:
        killed(at, f"after {step}")
        (own,) = (path for path in (at / "work").iterdir() if path.is_dir())
        folders[step] = sorted(os.listdir(own))
    assert folders == {step: [step] for step in PLAIN}


def test_an_old_graph_stays_until_the_new_one_is_there(at: At) -> None:
    assert run(at, "never", work=False).returncode == 0
    shutil.copytree(at / "undisturbed", at / "graph")
    old = content(at / "graph")
    killed(at, "answer-1", "--overwrite")
    open_graph(at / "graph").block(1)
    killed(at, "put", "--overwrite")
    manifest = json.loads((at / "graph" / "manifest.json").read_text())
    ended(at, "--overwrite")
    assert content(at / "graph") == old
    assert open_graph(at / "graph").manifest["prepare"] != manifest["prepare"]
    assert len(os.listdir(at / "graph")) == 2


# ---- by another way than it was begun


def of_files(at: At, **options: Any) -> Graph:
    found = Graph.of_files(f"{at}/nodes.parquet", f"{at}/edges.parquet", edge_features=["weight", "attr"], **options)
    assert found is not None
    return found


@pytest.mark.parametrize("blocks", [None, 5])
def test_blocks_are_those_of_who_began(at: At, monkeypatch: pytest.MonkeyPatch, blocks: int | None) -> None:
    """A machine that would choose others goes on with them."""
    monkeypatch.setattr("pipeline.preparing.sizes.BLOCK_NODES", 100)
    expected = prepare(of_files(at), at / "undisturbed", blocks)
    failed(at, monkeypatch, "answer", blocks)
    monkeypatch.setattr("pipeline.preparing.sizes.BLOCK_NODES", 1 << 17)
    found = prepare(of_files(at), at / "graph", blocks, work_dir=at / "work")
    assert found.blocks == expected.blocks == (blocks or 3)
    assert content(at / "graph") == content(at / "undisturbed")


def failed(at: At, monkeypatch: pytest.MonkeyPatch, step: str, blocks: int | None = BLOCKS) -> None:
    """A prepare whose disk breaks in the middle of a step."""
    with monkeypatch.context() as patched:
        module = sys.modules["pipeline.preparing.by_step"]
        patched.setattr(module, "write_part", breaking(module.write_part, f"{step}/00001"))
        with pytest.raises(StorageError, match="broken"):
            prepare(of_files(at), at / "graph", blocks, work_dir=at / "work")


def breaking(write: Callable[..., Any], at: str) -> Callable[..., Any]:
    def writes(path: str, *given: Any) -> Any:
        if path.endswith(at):
            raise StorageError("broken")
        return write(path, *given)

    return writes


# ---- what is not the same


def files(at: At) -> dict[str, int]:
    """But for locks, which processes that have died still had."""
    found = (path for path in [*(at / "work").rglob("*"), *(at / "graph").rglob("*")] if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in found if "lock" not in path.name}


OTHERS: dict[str, tuple[list[str], str]] = {
    "options": (["--undirected"], "a run with other columns or options"),
    "columns": (["--features", "age"], "a run with other columns or options"),
    "blocks": (["--blocks", "4"], "a run with another number of blocks"),
    "output": (["--output", "{at}/elsewhere"], "a run with another output"),
    "tables": (["--edges", "{at}/more.parquet"], "a run with other tables"),
    "both": (["--edges", "{at}/more.parquet", "--blocks", "4"], "a run with other tables and another number of blocks"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_work_directory_of_something_else_is_refused(at: At, name: str) -> None:
    given, words = OTHERS[name]
    shutil.copy(at / "edges.parquet", at / "more.parquet")
    killed(at, "build-1")
    before = files(at)
    found = run(at, "never", *[text.format(at=at) for text in given])
    assert found.returncode == 2
    rest = "run that one again, give another path, or remove the directory. Nothing was touched"
    assert f"{at}/work: holds what was left by {words}; {rest}" in found.stderr
    assert files(at) == before
    assert not (at / "elsewhere").exists()
    ended(at)


def test_another_version_is_refused(at: At) -> None:
    killed(at, "build-1")
    marker = json.loads((at / "work" / MARKER).read_text())
    marker["of"]["another version of graphsweep"] = "old"
    (at / "work" / MARKER).write_text(json.dumps(marker))
    found = run(at)
    assert found.returncode == 2
    assert "holds what was left by a run with another version of graphsweep; run that one again" in found.stderr


@pytest.mark.parametrize("when", ["pack-1", "build-1", "after answer"])
def test_tables_that_have_changed_are_prepared_from_the_beginning(at: At, when: str) -> None:
    """Half of the rows of one version and half of another would be the worst."""
    killed(at, when)
    pq.write_table(mixed().edges.slice(5), at / "edges.parquet", row_group_size=400)
    found = run(at)
    assert found.returncode == 0
    assert f"{at}/work: the edge table has changed since; prepared from the beginning" in found.stderr
    assert run(at, "never", work=False).returncode == 0
    assert content(at / "graph") == content(at / "undisturbed")
    assert open_graph(at / "graph").edges == mixed().edges.num_rows - 5


def test_infer_is_refused_a_prepare_and_the_other_way_round(at: At) -> None:
    killed(at, "build-1")
    before = files(at)
    with pytest.raises(StorageError, match="work: holds what was left by a prepare; run that one again"):  # noqa: SIM117
        with work_directory(Place.of(at / "work"), {"another model": 1}, {}):
            pass
    assert files(at) == before
    with work_directory(Place.of(at / "run"), {"another model": 1}, {}):
        pass
    with pytest.raises(StorageError, match="run: holds what was left by an infer; run that one again"):
        prepare(of_files(at), at / "other", 2, work_dir=at / "run")
    assert not (at / "other").exists()


def test_tables_that_are_not_known_again_are_refused(at: At) -> None:
    graph = Graph(mixed().nodes, mixed().edges)
    with pytest.raises(SettingError, match="the node table would not be known again by a second run, because"):
        prepare(graph, at / "graph", 2, work_dir=at / "work")
    assert not (at / "work").exists()
    assert not (at / "graph").exists()


@pytest.mark.parametrize("where", ["nodes.parquet", "graph", "graph/work", "."])
def test_a_work_directory_that_meets_something_is_refused(at: At, where: str) -> None:
    with pytest.raises(SettingError, match=r"the work directory (is|lies in|holds) the"):
        prepare(of_files(at), at / "graph", 2, work_dir=at / where)


def test_tables_that_cannot_be_used_leave_nothing(at: At) -> None:
    edges = mixed().edges
    pq.write_table(edges.set_column(0, "src", pa.array([10**9] * len(edges))), at / "edges.parquet")
    with pytest.raises(DataError, match="absent from the nodes"):
        prepare(of_files(at), at / "graph", 2, work_dir=at / "work")
    assert not (at / "work").exists()
    assert not (at / "graph").exists()


# ---- what is damaged


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
@pytest.mark.parametrize("file", ["work/*/build/00001", "graph/blocks-*/target=2/static.parquet"])
def test_what_is_damaged_is_not_gone_on_with(at: At, file: str, harm: str) -> None:
    """A power failure, or a disk that rots."""
    killed(at, "answer-1")
    (path,) = at.glob(file)
    damage(path, harm)
    found = run(at)
    assert found.returncode == 0, found.stderr
    assert "what is there of the step build is damaged; prepared from the beginning" in found.stderr
    assert run(at, "never", work=False).returncode == 0
    assert content(at / "graph") == content(at / "undisturbed")


@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
@pytest.mark.parametrize("file", ["work/*/build/00000", "graph/blocks-*/target=0/static.parquet"])
def test_a_damaged_part_of_a_step_is_done_again(at: At, file: str, harm: str) -> None:
    killed(at, "build-2")
    (path,) = at.glob(file)
    damage(path, harm)
    assert [name for name in ended(at) if name.startswith("build")] == ["build-0", "build-2"]


def damage(path: Path, harm: str) -> None:
    data = path.read_bytes()
    at = data.index(b"PAR1", 4) if data.endswith(b"PAR1") else len(data)
    middle = min(at, len(data)) // 3
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:middle] + bytes(byte ^ 1 for byte in data[middle : middle + 64]) + data[middle + 64 :])


def test_a_marker_that_is_damaged(at: At) -> None:
    killed(at, "build-1")
    marker = json.loads((at / "work" / MARKER).read_text())
    for harm in ({"seed": None}, {"steps": [1]}):
        (at / "work" / MARKER).write_text(
            json.dumps({name: value for name, value in {**marker, **harm}.items() if value is not None})
        )
        found = run(at)
        assert found.returncode == 2, found.stderr
        assert "work: its marker is damaged" in found.stderr


# ---- what people ask


def test_status(at: At) -> None:
    killed(at, "pack-1")
    said = str(status(at / "work"))
    assert said.splitlines()[0].endswith("Z has stopped; the same command goes on")
    assert "work: a prepare that was begun 20" in said
    assert "done     0 of 3 steps: none" in said
    assert "now      pack: 1 pieces of the tables" in said
    assert "missing  build, answer" in said
    killed(at, "build-2")
    found = status(at / "work")
    assert (found.state, found.graph, found.steps, found.steps_done) == ("stopped", "preparing", PLAIN, 1)
    assert (found.blocks, found.parts_done, found.supersteps) == (BLOCKS, 2, 0)
    assert found.bytes == sum(file.stat().st_size for file in (at / "work").glob("*/pack/*"))
    assert "now      build: 2 of 3 blocks" in str(found)
    killed(at, "put")
    assert "now      the graph is being put in its place" in str(status(at / "work"))
    ended(at)
    assert str(status(at / "work")).endswith("; all 3 steps of prepare")
    assert status(at / "work").steps_done == 3


def test_two_at_once(at: At) -> None:
    """The second is refused, whoever it is."""
    waits = (
        "import signal\nfrom pipeline.cli import main\nfrom pipeline.preparing import by_step\n"
        "def answers(*given):\n    print('waits', flush=True)\n    signal.pause()\n"
        "by_step._advance = answers\nmain()\n"
    )
    given = [*GIVEN, "--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--blocks", BLOCKS]
    given += ["--output", at / "graph", "--work-dir", at / "work"]
    command = [sys.executable, "-c", waits, *map(str, given)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("waits")  # of two threads
            assert status(at / "work").state == "running"
            found = run(at)
            assert found.returncode == 2
            assert "another run" in found.stderr
            assert "is writing there; nothing was touched" in found.stderr
        finally:
            process.kill()
    ended(at)


def test_an_error_of_the_disk_leaves_what_is_done(at: At) -> None:
    found = run(at, "build-1!")
    assert found.returncode == 2
    assert "No space left on device" in found.stderr
    assert [name for name in ended(at) if name.startswith("build")] == ["build-1"], "the others were at work then"


def limited(at: At, bytes: int) -> subprocess.CompletedProcess[str]:
    """The same with files of at most so many bytes: what a quota does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, bytes))

    given = [*GIVEN, "--nodes", at / "nodes.parquet", "--edges", at / "edges.parquet", "--blocks", BLOCKS]
    given += ["--output", at / "graph", "--work-dir", at / "work", "--quiet"]
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, given)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, preexec_fn=limit)


def test_a_quota_of_the_work_directory(at: At) -> None:
    found = limited(at, 6000)
    assert found.returncode == 2
    assert found.stderr.startswith(f"graphsweep: {at}/work/")
    assert "/pack: cannot be written: File too large" in found.stderr
    assert read_marker(reached(Place.of(at / "work"))) is not None
    ended(at)
