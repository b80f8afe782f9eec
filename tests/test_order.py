"""Quick tests run before slow ones, in one process and in several, and the run says how long both stages took."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONFTEST = """
from tests.order import Order

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: of the second stage")
    config.pluginmanager.register(Order(), "order")
"""
SLOW = "import pytest\n\npytestmark = pytest.mark.slow\n"
TEST = "def test_it(): pass\n"


def run(at: Path, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in {"conftest": CONFTEST, **files}.items():
        (at / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *options]
    without = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    given = {**without, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=at, env=given, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [[], ["-n", "1", "--dist", "loadfile"], ["-n", "2", "--dist", "loadfile"]], ids=str)
def test_slow_files_come_last(tmp_path: Path, options: list[str]) -> None:
    # by name they would come the other way round; test_fuzz.py is a long one
    files = {"test_a": SLOW + TEST, "test_b": TEST, "test_c": TEST, "test_fuzz": SLOW + TEST}
    done = run(tmp_path, *options, **files)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"test_(\w+)\.py::test_it PASSED|PASSED test_(\w+)\.py", done.stdout)
    names = [one or other for one, other in passed]
    assert sorted(names) == ["a", "b", "c", "fuzz"]
    if "2" not in options:  # two processes may end two tests in either order
        assert names == ["b", "c", "fuzz", "a"]
    lines = re.findall(r"^(\w+) stage: (\d+) tests, done after [\d.]+ minutes; their own seconds", done.stdout, re.M)
    assert lines == [("first", "2"), ("second", "2")]


def test_files_of_clusters_are_run_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "tests" / "spark").mkdir(parents=True)
    for name in ("standalone", "executors", "own_disks"):
        (tmp_path / "tests" / "spark" / f"test_{name}.py").write_text(SLOW + TEST)
    done = run(tmp_path, "-n", "2", "--dist", "loadfile")
    workers = re.findall(r"\[(gw\d)\].* PASSED", done.stdout)
    assert len(workers) == 3, done.stdout
    assert len(set(workers)) == 1


def test_a_file_is_slow_or_it_is_not(tmp_path: Path) -> None:
    mixed = f"import pytest\n\n@pytest.mark.slow\n{TEST}\ndef test_other(): pass\n"
    done = run(tmp_path, test_mixed=mixed)
    assert done.returncode == 4
    assert "test_mixed.py: some of its tests are slow, some are not; make two files of it" in done.stderr
