"""`doctor`: each thing that can be missing is found, and the line says what to change."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import ClusterError, GraphsweepError
from pipeline.job import doctor
from pipeline.job.doctor import Diagnosis, diagnose
from pipeline.job.sessions import Sessions
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake


class Spark:
    """What is asked of a session."""

    version = "4.3.0"

    class conf:
        @staticmethod
        def get(name: str, default: str) -> str:
            return {"spark.master": "spark://a:7077"}.get(name, default)


def nothing() -> None:
    return None


def missing() -> None:
    raise GraphsweepError("Spark needs Java 17 or newer, and there is none")


@contextmanager
def session(small: bool, meanwhile: Any) -> Iterator[Any]:
    yield Spark()


@pytest.fixture
def shake(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What tasks answer, in place of those of a cluster."""
    said: dict[str, Any] = {"local": False, "tasks": 2, "task_memory": 4 << 30, "task_cores": 1}

    def asked(spark: Any, places: Any = ()) -> Handshake:
        if "error" in said:
            raise said["error"]
        assert all(Path(place.path).parent.is_dir() for place in places), "this process looks before tasks are asked"
        barred = {place.path: said.get("barred", ()) for place in places}
        if (at := said.get("barred_at")) is not None:
            barred = {path: ("b",) if path.startswith(at) else () for path in barred}
        blind = {name: value for name, value in said.items() if name not in ("barred", "barred_at")}
        return Handshake(**blind, blind=barred, barred=barred)

    monkeypatch.setattr(doctor, "handshake", asked)
    return said


def found(
    *paths: str,
    optional: bool = False,
    start: Any = session,
    pyspark: Any = nothing,
    java: Any = nothing,
    settings: Settings | None = None,
) -> Diagnosis:
    return diagnose(paths, settings or Settings(), Sessions(lambda: optional, start), pyspark, java)


def line(diagnosis: Diagnosis, name: str) -> str:
    return str(next(each for each in reversed(diagnosis.findings) if each.name == name))


def test_all_is_well(shake: dict[str, Any], tmp_path: Path) -> None:
    said = found(str(tmp_path))
    assert not said.failed, said
    assert [each.name for each in said.findings] == [
        "python", "kernels", "memory", "scratch", "pyspark", "spark", "workers", "memory", "storage"
    ]  # fmt: skip
    assert line(said, "spark") == "ok   spark    4.3.0 (spark://a:7077)"
    assert line(said, "workers") == "ok   workers  2 tasks at once, the same graphsweep and Python"
    assert line(said, "memory") == "ok   memory   4.3 GB for the Python worker of a task"
    assert line(said, "storage") == f"ok   storage  {tmp_path}: all tasks see it, and can write there"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_shared(shake: dict[str, Any], tmp_path: Path) -> None:
    shake["barred"] = ("b", "c")
    said = found(str(tmp_path))
    assert said.failed
    assert line(said, "storage").startswith(f"fail storage  {tmp_path}/")
    assert "the tasks on hosts b, c do not share its directory with this process" in line(said, "storage")
    assert "mount the same folder on all machines, or take an object store" in line(said, "storage")


def test_a_folder_that_is_not_there(shake: dict[str, Any], tmp_path: Path) -> None:
    said = line(found(f"{tmp_path}/none"), "storage")
    assert said == f"fail storage  {tmp_path}/none: no such folder. Give a folder that is there, and that you may write"


def test_a_place_that_this_process_cannot_reach(shake: dict[str, Any]) -> None:
    said = line(found("viewfs://lake/x"), "storage")
    assert said.startswith("fail storage  viewfs://lake/x/x: a place of viewfs: can be reached by Spark only"), said


def test_the_settings_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whether runs would fail is in the exit code."""
    (tmp_path / "conf.toml").write_text('task_memory = "3g"\n')

    def told(paths: Any, settings: Settings, *_: Any) -> Diagnosis:
        return Diagnosis((doctor.Finding("memory", doctor.FAIL, str(settings.task_memory)),))

    monkeypatch.setattr(doctor, "diagnose", told)
    done = CliRunner().invoke(cli.app, ["doctor", "--conf", str(tmp_path / "conf.toml")])
    assert (done.exit_code, done.stdout) == (2, f"fail memory   {3 << 30}\n")


def test_workers_that_differ(shake: dict[str, Any]) -> None:
    shake["error"] = ClusterError("the tasks on host b find no graphsweep")
    said = found()
    assert (said.failed, line(said, "workers")) == (True, "fail workers  the tasks on host b find no graphsweep")


def test_little_memory(shake: dict[str, Any]) -> None:
    shake["task_memory"] = 400 << 20
    said = found()
    assert not said.failed
    assert line(said, "memory") == (
        "warn memory   419 MB for the Python worker of a task. Set spark.executor.memoryOverhead, which is where "
        "Python's memory comes from"
    )


def test_enough_memory(shake: dict[str, Any]) -> None:
    shake["task_memory"] = 1 << 30
    assert line(found(), "memory") == "ok   memory   1.1 GB for the Python worker of a task"


def test_memory_that_a_task_is_given(shake: dict[str, Any]) -> None:
    said = found(settings=Settings(task_memory=2 << 30))
    assert line(said, "memory") == "ok   memory   2.1 GB for the Python worker of a task"


def test_little_on_this_machine(shake: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "local_memory", lambda: 300 << 20)
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: SimpleNamespace(free=(5 << 20) if path == str(tmp_path) else 0)
    )
    said = found(settings=Settings(scratch=str(tmp_path)))
    assert not said.failed
    assert str(said.findings[2]) == (
        "warn memory   315 MB for a run on this machine. Give the machine or the container more"
    )
    assert line(said, "scratch") == (
        f'warn scratch  5.2 MB free in {tmp_path}. Set "scratch", or TMPDIR, to a folder on a larger disk'
    )


def test_numba_that_does_not_compile(shake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arrays: Any) -> None:
        raise RuntimeError("no LLVM")

    monkeypatch.setattr(doctor, "add_words", broken)
    said = found()
    assert said.failed
    assert line(said, "kernels") == "fail kernels  Numba does not compile: no LLVM. Install Numba again"


def test_of_two_folders_one_is_not_shared(shake: dict[str, Any], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    shake["barred_at"] = str(there)
    said = [str(each) for each in found(str(here), str(there)).findings if each.name == "storage"]
    assert said[0] == f"ok   storage  {here}: all tasks see it, and can write there"
    assert said[1].startswith(f"fail storage  {there}/")


def test_no_java(shake: dict[str, Any], tmp_path: Path) -> None:
    """What this machine can do alone needs none; with a cluster's session nobody asks here."""
    shake |= {"local": True}
    said = found(str(tmp_path), optional=True, java=missing)
    assert not said.failed
    assert line(said, "java") == (
        "warn java     Spark needs Java 17 or newer, and there is none; what this machine can do alone works without"
    )
    assert line(said, "storage") == f"ok   storage  {tmp_path}: can be written"
    assert not found(java=missing).failed
    assert line(found(pyspark=missing), "pyspark").startswith("fail pyspark  Spark needs Java")


def test_a_session_that_does_not_start(shake: dict[str, Any]) -> None:
    @contextmanager
    def broken(small: bool, meanwhile: Any) -> Iterator[Any]:
        raise RuntimeError("no route to host")
        yield

    @contextmanager
    def refused(small: bool, meanwhile: Any) -> Iterator[Any]:
        raise GraphsweepError("Spark cannot be started: no room")
        yield

    said = found(start=refused)
    assert (said.failed, line(said, "spark")) == (True, "fail spark    Spark cannot be started: no room")
    said = found(start=broken)
    assert said.failed
    assert line(said, "spark") == ("fail spark    no session can be made: no route to host. --verbose shows all of it")


def test_a_cache_that_is_not_kept(shake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cache_directory", lambda: Path("/tmp/graphsweep-1234"))
    said = found()
    assert not said.failed
    assert line(said, "kernels") == (
        "warn kernels  compiled code is not kept, there is no folder for it that only this user can write "
        "(/tmp/graphsweep-1234 is removed). Each process compiles again, for half a minute: set NUMBA_CACHE_DIR to a "
        "folder on a local disk"
    )


def test_a_library_that_is_missing(shake: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = found()
    assert said.failed
    assert "pyarrow ModuleNotFoundError" in line(said, "python")


def test_on_the_command_line(spark: Any, tmp_path: Path) -> None:
    """For real, in a session on this machine."""
    done = CliRunner().invoke(cli.app, ["doctor", "--path", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output.splitlines()[-1])
    assert said["outcome"] == "done"
    assert {each["name"] for each in said["checks"]} >= {"python", "kernels", "spark", "workers", "storage"}
    done = CliRunner().invoke(cli.app, ["doctor", "--path", f"{tmp_path}/none", "--json"])
    said = json.loads(done.output.splitlines()[-1])
    assert (done.exit_code, said["outcome"]) == (2, "refused")
    assert os.listdir(tmp_path) == []
