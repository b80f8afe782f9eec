"""What tasks answer on a real cluster whose executors differ, and what a handshake makes of answers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import StorageError
from pipeline.places import through_spark
from pipeline.spark import handshake as module
from pipeline.spark.agreement import REMEDY
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.probe import look
from tests.spark.standalone import ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.spark.standalone import Standalone

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
OTHER_PYTHON = "import sys\nsys.version_info = (3, 9, 99, 'final', 0)\n"


def another_python() -> str | None:
    """One of another minor version that starts, if there is one on this machine."""
    found = [shutil.which(f"python3.{minor}") for minor in range(10, 20)]
    found += map(str, sorted(Path.home().glob(".pyenv/versions/3.1?.*/bin/python3")))
    for path in found:
        if path is not None:
            done = subprocess.run([path, "-c", "import sys; print(sys.version_info.minor)"], capture_output=True)
            if done.returncode == 0 and int(done.stdout) != sys.version_info.minor:
                return path
    return None


@pytest.fixture(scope="module")
def said(standalone: Standalone, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What the handshake says of executors of each kind: one spark-submit, a session for each."""
    place = tmp_path_factory.mktemp("differing")

    def environment(name: str, *before: Path, **files: str) -> dict[str, str]:
        """Executors that find some modules first."""
        directory = place / name
        directory.mkdir()
        for file, content in files.items():
            (directory / f"{file}.py").write_text(content)
        return {"spark.executorEnv.PYTHONPATH": ":".join(map(str, [directory, *before, ROOT]))}

    shutil.copytree(ROOT / "pipeline", place / "copy" / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(place / "copy", place / "changed")
    with open(place / "changed" / "pipeline" / "kernels" / "sort.py", "a") as file:
        file.write("# another version\n")
    cases = {
        "the same": {"spark.default.parallelism": "6"},
        "a copy": environment("copied", place / "copy"),
        "changed": environment("other", place / "changed"),
        "no graphsweep": environment("bare", sitecustomize=HIDE.format(name="pipeline")),
        "no numba": environment("uncompiled", sitecustomize=HIDE.format(name="numba")),
        "no scipy": environment("unscientific", sitecustomize=HIDE.format(name="scipy")),
        "no pyarrow": environment("arrowless", sitecustomize=HIDE.format(name="pyarrow")),
        "another Python": environment("old", sitecustomize=OTHER_PYTHON),
        "no Python": {"python": str(place / "nowhere" / "python")},
        "a broken Python": {"python": str(place / "broken")},
    }
    (place / "broken").write_text("#!/bin/sh\necho libpython: not found >&2\nexit 127\n")
    (place / "broken").chmod(0o755)
    if (other := another_python()) is not None:
        cases["another Python"] = {"python": other}
    (place / "cases.json").write_text(json.dumps(cases))
    made = place / "shared"
    made.mkdir()
    done = standalone.submit(Path(__file__).with_name("differing.py"), place / "cases.json", made)
    answers = dict(json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("SAID "))
    assert list(answers) == list(cases), done.stdout
    assert list(made.iterdir()) == [], "no probe is left"
    return {**answers, "place": str(place)}


def test_executors_like_this_process(said: Mapping[str, Any]) -> None:
    """Six tasks, of which two run at once; a copy of the package is the same package."""
    for name in ("the same", "a copy"):
        found = said[name]
        assert (found["local"], found["tasks"]) == (False, 2), found
        assert found["task_memory"] <= 384 << 20, "what the settings give, or less"
        assert found["blind"]
        assert not any(found["blind"].values())
        assert found["barred"]
        assert not any(found["barred"].values())


DIFFERENT = {
    "changed": "run another graphsweep than this process: its sources in {place}/changed/pipeline are not those in "
    f"{ROOT}/pipeline",
    "no graphsweep": "find no graphsweep (no module named 'pipeline')",
    "no numba": "cannot import what graphsweep needs (ModuleNotFoundError: No module named 'numba')",
    "no scipy": "cannot import what graphsweep needs (ModuleNotFoundError: No module named 'scipy')",
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_executors_that_differ(said: Mapping[str, Any], name: str) -> None:
    text = DIFFERENT[name].format(place=said["place"])
    assert said[name] == {"error": "ClusterError", "says": f"the tasks on host {socket.gethostname()} {text}: {REMEDY}"}


def test_executors_that_cannot_even_answer(said: Mapping[str, Any]) -> None:
    """Spark says that an exception was thrown, and pages of Java. The machine it names only where no Python starts."""
    for name, text in {
        "no pyarrow": "the tasks have no module pyarrow",
        "another Python": "the tasks run Python 3.",
        "no Python": f"the tasks on host 127.0.0.1 cannot start Python: there is no {said['place']}/nowhere/python",
        "a broken Python": "the tasks on host 127.0.0.1 cannot start Python: libpython: not found",
    }.items():
        assert said[name]["error"] == "ClusterError", name
        assert said[name]["says"].startswith(text), said[name]
        assert said[name]["says"].endswith(REMEDY)
    assert f", and this process Python 3.{sys.version_info.minor}:" in said["another Python"]["says"]


# ---- without a cluster


def test_nothing_is_asked_of_a_local_session(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ask", lambda *_: pytest.fail("a job was run"))
    for session, tasks in ((spark, 2), (None, None)):
        found = handshake(session, [Probe(f"{tmp_path}/x", made=True)])
        assert found.local
        assert tasks is None or found.tasks == tasks
        assert found.sees("/anything")
        assert found.writes("/anything")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ready", [[2], [1], [3, 2], [99] * module.MOST_ROUNDS])
def test_executors_that_join_are_waited_for_and_not_for_ever(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, ready: list[int]
) -> None:
    """`ready`: into how many tasks Spark would cut a job after each round, which is of two here. A list that is too
    short fails, so does one that is too long."""
    left = iter(ready)
    monkeypatch.setattr(module, "_partitions_now", lambda _: next(left))
    assert len(module._ask(spark, {"hash": "none of ours", "token": "x", "places": []})) == 2
    assert list(left) == []


def test_the_default_file_system_is_not_asked_for(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one that does not answer."""
    monkeypatch.setattr(through_spark, "default_filesystem", lambda _: pytest.fail("looked up"))
    handshake(spark, [Probe("/x", made=True), Probe("file:///x"), Probe("wasbs://a/x")])


SHARED, OWN, GIVEN = "/net/out", "/own/out", "/net/table"
FOUND = Handshake(
    False, 2, 1, 1,
    blind={SHARED: (), "/net": (), OWN: ("a", "b"), "/own": ("a", "b"), GIVEN: ("c",)},
    barred={SHARED: (), "/net": (), OWN: ("a", "b", "c", "d"), "/own": ("a",)},
)  # fmt: skip


def test_what_is_in_a_directory_that_was_asked_about_is_seen_as_it_is() -> None:
    assert FOUND.sees(SHARED)
    assert FOUND.writes("/net/.out-123/part")
    assert not FOUND.sees("/own/x")
    assert not FOUND.sees(f"{GIVEN}/part"), "the nearest one decides"
    assert FOUND.writes("file:///net/x"), "a scheme of disks is none"
    assert not FOUND.sees("file:/net/../net//table")
    with pytest.raises(AssertionError, match="nobody was asked about /elsewhere"):
        FOUND.sees("/elsewhere")
    with pytest.raises(AssertionError, match="nobody was asked about /network"):
        FOUND.sees("/network")


def test_a_relative_path_is_what_was_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever of the two forms it comes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table").write_text("rows")
    places = [Probe("table"), Probe("out", made=True)]
    asked = [{"path": place.probed, "made": place.made} for place in places]
    seen = [{"seen": look(str(tmp_path / "table"))}, {"seen": None}]
    blind, barred = module._seen(places, asked, [answer("a", 1, 0, None, *seen)], "token")
    found = Handshake(False, 1, 1, 1, blind, barred)
    for table in ("table", f"{tmp_path}/table", f"file:{tmp_path}/table"):
        assert found.sees(table)
    for out in ("out", f"{tmp_path}/out", "./x"):
        assert not found.writes(out)
    with pytest.raises(StorageError, match=r"^out: the tasks on host a do not share its directory"):
        found.require_written("out", "")


def test_what_is_said_of_what_is_not_shared() -> None:
    FOUND.require_seen(SHARED, "")
    FOUND.require_written(SHARED, "")
    with pytest.raises(StorageError) as caught:
        FOUND.require_seen(GIVEN, "do something")
    assert str(caught.value) == "/net/table: the tasks on host c do not see what is here; do something"
    with pytest.raises(StorageError) as caught:
        FOUND.require_written(OWN, "do something")
    assert str(caught.value) == (
        "/own/out: the tasks on hosts a, b, c, … do not share its directory with this process, or may not write there; "
        "do something"
    )


def answer(host: str, pid: int, shared: int = 0, own: int | None = None, *seen: dict[str, Any]) -> dict[str, Any]:
    return {"host": host, "pid": pid, "memory": [shared, own], "seen": list(seen)}


def test_a_worker_that_takes_two_tasks_counts_once() -> None:
    assert module._at_once([answer("a", 1), answer("a", 1), answer("a", 2), answer("b", 1)]) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("given", "answers", "memory"),
    [
        (100, [answer("a", 1, 1000)], 100),
        (1000, [answer("a", 1, 1000)], 600),
        (1000, [answer("a", 1, 1000), answer("a", 2, 1000), answer("b", 1, 9000)], 300),
        (1000, [answer("a", 1, 1000), answer("b", 1, 500)], 300),
        (1000, [answer("a", 1, 9000, 70), answer("b", 1, 9000)], 70),
        (None, [answer("a", 1, 9000)], 5400),
    ],
)
def test_memory_is_what_the_worst_task_has(given: int | None, answers: list[dict[str, Any]], memory: int) -> None:
    assert module._memory(given, answers) == memory


def test_every_task_has_to_see_a_place(tmp_path: Path) -> None:
    """Answers made by hand: b has another table, and c a disk of its own."""
    (tmp_path / "table").write_text("rows")
    places = [Probe(f"{tmp_path}/table"), Probe(f"{tmp_path}/out", made=True)]
    asked = [{"path": place.probed, "made": place.made} for place in places]
    (tmp_path / "left").write_text("token")
    same = {"seen": look(f"{tmp_path}/table")}
    wrote, lost = {"seen": "token", "left": "left"}, {"seen": "token", "left": "elsewhere"}
    answers = [
        answer("a", 1, 0, None, same, wrote),
        answer("b", 1, 0, None, {"seen": "other"}, lost),
        answer("c", 1, 0, None, {"seen": None}, {"seen": None}),
    ]
    table, out = (place.path for place in places)
    blind, barred = module._seen(places, asked, answers, "token")
    assert blind == {table: ("b", "c"), out: ("c",), str(tmp_path): ("c",)}
    assert barred == {out: ("b", "c"), str(tmp_path): ("b", "c")}
    (tmp_path / "table").unlink()
    blind, _ = module._seen(places, asked, answers, "token")
    assert blind[table] == ("a", "b", "c"), "what is not here is not the same anywhere"
