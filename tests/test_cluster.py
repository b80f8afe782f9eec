"""What crosses processes: the tests marked `cluster`, in a session of their own with two executor processes.

A process has one Spark session, so they run in another one, started here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def test_two_executors() -> None:
    # to look for the mark in all files takes longer than these tests
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.cluster\n" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "--cluster", "-q", "-m", "cluster", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
