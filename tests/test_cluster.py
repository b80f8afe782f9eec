"""What crosses processes: the tests marked `cluster`, in a session of their own with two executor processes.

A process has one Spark session, so they run in another one, started here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_two_executors() -> None:
    command = [sys.executable, "-m", "pytest", "--cluster", "-q", "-m", "cluster", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
