"""jobs/nightly.sh: scores are published when `verify` has passed them; after a failure the same command goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline

ROOT = Path(pipeline.__file__).parent.parent
FLIGHTS = ROOT / "data/flights"
pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
DAY, NEXT = "2026-11-28", "2026-11-29"


def _night(
    folder: Path, day: str, nodes: Path = FLIGHTS / "nodes.parquet", first_on_path: Path = BIN
) -> subprocess.CompletedProcess[str]:
    tables = [str(nodes), str(FLIGHTS / "edges.parquet")]
    options = ["--", "--edge-features", "distance"]
    return subprocess.run(
        [str(ROOT / "jobs/nightly.sh"), *tables, str(FLIGHTS / "model"), str(folder), day, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{first_on_path}:{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("night")
    done = _night(folder, DAY)
    assert done.returncode == 0, done.stderr
    return folder


def test_scores_of_the_night_are_published(folder: Path) -> None:
    assert os.readlink(folder / "latest") == f"scores/{DAY}"
    assert pq.read_table(folder / "latest").num_rows == 514


def test_the_same_night_again_does_nothing_twice(folder: Path) -> None:
    again = _night(folder, DAY)
    assert again.returncode == 0, again.stderr
    assert "already there" in again.stdout
    assert "514 nodes are scored already" in again.stdout


def test_tables_that_are_wrong_publish_nothing(folder: Path, tmp_path: Path) -> None:
    nodes = pq.read_table(FLIGHTS / "nodes.parquet")
    pq.write_table(nodes.slice(1), tmp_path / "nodes.parquet")
    refused = _night(folder, NEXT, tmp_path / "nodes.parquet")
    assert refused.returncode == 2
    assert os.readlink(folder / "latest") == f"scores/{DAY}"


def test_scores_that_verify_does_not_pass_are_not_published(folder: Path, tmp_path: Path) -> None:
    """verify's exit code is that of the job; verify itself is tested in test_verify.py."""
    command = tmp_path / "graphsweep"
    command.write_text(f'#!/bin/sh\n[ "$1" != verify ] || exit 3\nexec {BIN}/graphsweep "$@"\n')
    command.chmod(0o755)
    assert _night(folder, NEXT, first_on_path=tmp_path).returncode == 3
    assert pq.read_table(folder / "scores" / NEXT).num_rows == 514
    assert os.readlink(folder / "latest") == f"scores/{DAY}"
    assert _night(folder, NEXT).returncode == 0
    assert os.readlink(folder / "latest") == f"scores/{NEXT}"
