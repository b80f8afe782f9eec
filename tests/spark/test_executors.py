"""What tasks answer on a real cluster whose executors differ."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.spark.agreement import REMEDY
from tests.spark.standalone import ROOT, Standalone

pytestmark = pytest.mark.slow

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
    for name in DOCTOR:
        cases[name]["doctor"] = str(place)
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
    found = {key: value for key, value in said[name].items() if key != "doctor"}
    assert found == {"error": "ClusterError", "says": f"the tasks on host {socket.gethostname()} {text}: {REMEDY}"}


DOCTOR = ("changed", "no numba", "another Python")


@pytest.mark.parametrize("name", DOCTOR)
def test_doctor_has_one_line_about_executors_that_differ(said: Mapping[str, Any], name: str) -> None:
    """What the handshake says; everything else is well."""
    lines = said[name]["doctor"].splitlines()
    assert [line for line in lines if not line.startswith(("ok ", "warn"))] == [f"fail workers  {said[name]['says']}"]
    assert any(line.startswith("ok   spark") for line in lines)


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
