"""The core of the suite through a real server of Spark Connect, within the limits of serverless compute.

A process has one kind of session, so the tests run in another one, started here: `pytest --connect`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.bits import by_id, in_process
from tests.conftest import SETTINGS
from tests.formulas import build
from tests.spark.connect_server import connect_server
from tests.spark.standalone import python_environment
from tests.versions import outcome, row, through_connect, versions
from tests.whole import whole

pytestmark = pytest.mark.slow


def test_through_spark_connect(record_property: Callable[[str, object], None]) -> None:
    pytest.importorskip("grpc", reason="needs pyspark[connect]")
    started = time.monotonic()
    done = through_connect(sys.executable)
    cells = ("this run", outcome(done), f"{time.monotonic() - started:.0f}")
    record_property("compatibility", row(versions(sys.executable), *cells))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_the_console_command_with_spark_remote(tmp_path: Path) -> None:
    """Nobody makes a session for it; the client has no Java."""
    pytest.importorskip("grpc", reason="needs pyspark[connect]")
    build("graph_norm").save(str(tmp_path / "model"))
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    arguments = ["infer", "--nodes", "nodes.parquet", "--edges", "edges.parquet", "--model", "model", "--output", "o"]
    with connect_server(tmp_path, SETTINGS) as url:
        environment = {**python_environment(), "SPARK_REMOTE": url, "JAVA_HOME": str(tmp_path / "none")}
        done = subprocess.run(
            [sys.executable, "-m", "graphsweep", *arguments, "--blocks", "3", "--tier", "distributed", "--json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["spark"]
    assert by_id(pq.read_table(tmp_path / "o")) == in_process("graph_norm", whole("mixed"), 3)
