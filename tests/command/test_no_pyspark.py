"""An environment without pyspark: what runs in one process runs, and where Spark is needed the message says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.command.own_session import check_pyspark
from pipeline.errors import GraphsweepError
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pyspark", "py4j", "pandas"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.startswith("pyspark") else real(name, package)
from pipeline.cli import main
main(sys.argv[1:])
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    return tmp_path


def go(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", HIDE, *arguments]
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_what_runs_in_one_process(here: Path) -> None:
    raw = ["--nodes", "nodes.parquet", "--edges", "edges.parquet"]
    done = go(here, "prepare", *raw, "--output", "graph")
    assert done.returncode == 0, done.stderr
    done = go(here, "infer", "--graph", "graph", "--model", "model", "--output", "scores")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(here / "scores").num_rows == 200
    done = go(here, "verify", "--graph", "graph", "--model", "model", "--output", "scores")
    assert done.returncode == 0, done.stderr


def test_what_needs_spark(here: Path) -> None:
    done = go(here, "prepare", "--nodes", "main.graph.accounts", "--edges", "edges.parquet", "--output", "graph")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "graphsweep: Spark is needed for this, through pyspark 4 or newer, and there is none (No module named "
        "'pyspark'). Install the version of your cluster, as pip install 'pyspark==4.1.*'; or, for Spark on this "
        "machine, pip install 'graphsweep[spark]'"
    )
    assert not (here / "graph").exists()


def test_an_old_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    check_pyspark()
    monkeypatch.setattr("pyspark.__version__", "3.5.6")
    with pytest.raises(
        GraphsweepError, match=r"^Spark is needed for this, through pyspark 4 or newer; this Python has "
    ):
        check_pyspark()
