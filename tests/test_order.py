"""Tests without Spark run first, those of a session next, slow ones last, in one process and in several; the run says
how long each stage took."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
CONFTEST = """
import pytest
from tests.order import Order

def pytest_configure(config):
    config.addinivalue_line("markers", "slow: of the third stage")
    config.addinivalue_line("markers", "with_spark: of the second stage")
    config.pluginmanager.register(Order(), "order")

@pytest.fixture
def spark():
    return None

@pytest.fixture
def session(spark):
    return spark
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
    assert lines == [("first", "2"), ("third", "2")]


def test_files_of_clusters_are_run_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "tests" / "spark").mkdir(parents=True)
    for name in ("standalone", "executors", "own_disks"):
        (tmp_path / "tests" / "spark" / f"test_{name}.py").write_text(SLOW + TEST)
    done = run(tmp_path, "-n", "2", "--dist", "loadfile")
    workers = re.findall(r"\[(gw\d)\].* PASSED", done.stdout)
    assert len(workers) == 3, done.stdout
    assert len(set(workers)) == 1


MIXED = """
import pytest

def test_of_a_session(session): pass

@pytest.mark.slow
def test_slow(): pass

def test_quick(): pass
"""


@pytest.mark.parametrize("options", [[], ["-n", "1", "--dist", "loadfile"], ["-n", "2", "--dist", "loadfile"]], ids=str)
def test_a_file_may_have_tests_of_all_stages(tmp_path: Path, options: list[str]) -> None:
    done = run(tmp_path, *options, test_a=MIXED, test_b=MIXED)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"test_\w+\.py::test_(\w+) PASSED|PASSED test_\w+\.py::test_(\w+)", done.stdout)
    names = [one or other for one, other in passed]
    assert sorted(names) == sorted(["quick", "of_a_session", "slow"] * 2)
    if "2" not in options:
        assert names == ["quick"] * 2 + ["of_a_session"] * 2 + ["slow"] * 2
    lines = re.findall(r"^(\w+) stage: (\d+) tests", done.stdout, re.M)
    assert lines == [("first", "2"), ("second", "2"), ("third", "2")]


@pytest.mark.parametrize(
    ("marks", "names"),
    [("not slow and not with_spark", {"quick"}), ("with_spark", {"of_a_session"}), ("slow", {"slow"})],
)
def test_a_stage_alone(tmp_path: Path, marks: str, names: set[str]) -> None:
    done = run(tmp_path, "-m", marks, test_a=MIXED)
    assert set(re.findall(r"test_a\.py::test_(\w+) PASSED", done.stdout)) == names
