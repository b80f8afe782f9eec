"""The entry points for spark-submit: run for real, in the session that it configures, and without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
JOBS = ("prepare", "infer", "explain", "verify", "doctor")
SAYS = ("graph of 200 nodes", "scored   200 nodes", "superstep 2", "PASS", "ok   kernels")
SPARK_CONF = sorted((ROOT / "conf").glob("spark-*.conf"))

# A process in which there is no torch, wherever it is installed; it runs a script as spark-submit does.
WITHOUT_TORCH = """
import importlib.machinery, runpy, sys
find = importlib.machinery.PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.partition('.')[0] in ('torch', 'torch_geometric') else find(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(find_others)
sys.argv = sys.argv[1:]
try:
    import torch
except ModuleNotFoundError:
    runpy.run_path(sys.argv[0], run_name='__main__')
"""


def environment(**settings):
    """The checkout on the path and this Python for driver and workers."""
    python = {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **python, **settings}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Tables and a model."""
    directory, graph = tmp_path_factory.mktemp("jobs"), whole("mixed")
    pa.parquet.write_table(graph.nodes(), directory / "nodes.parquet")
    pa.parquet.write_table(graph.edges(), directory / "edges.parquet")
    build("sage").save(directory / "model")
    return directory


def arguments(job, place):
    given = {
        "prepare": ("nodes=nodes.parquet", "edges=edges.parquet", "output=g"),
        "infer": ("graph=g", "model=model", "output=o"),
        "explain": ("graph=g", "model=model"),
        "verify": ("graph=g", "model=model", "output=o"),
        "doctor": ("path=.",),
    }[job]
    return [part for text in given for part in (f"--{text.partition('=')[0]}", str(place / text.partition("=")[2]))]


@pytest.fixture(scope="module")
def ran(place):
    """The same place, after all jobs have run, one after the other, where torch cannot be imported."""
    for job, says in zip(JOBS, SAYS, strict=True):
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, str(ROOT / "jobs" / f"{job}.py"), *arguments(job, place)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
        assert "WARN" not in done.stderr, "a first run looks clean"
    return place


def test_jobs_run_without_torch(ran):
    assert pa.parquet.read_table(ran / "o").num_rows == 200


SUBMIT = shutil.which("spark-submit") or str(Path(sys.executable).with_name("spark-submit"))


@pytest.mark.skipif(not os.path.exists(SUBMIT), reason="no spark-submit")
def test_spark_submit_decides_on_the_session(ran):
    configured = ["--master", "local[1]", "--properties-file", str(ROOT / "conf" / "spark-local.conf")]
    job = [str(ROOT / "jobs" / "infer.py"), "--graph", str(ran / "g"), "--model", str(ran / "model")]

    def submit(*more):  # it sends both streams of Python to its own stdout
        command = [SUBMIT, *configured, *job, "--output", str(ran / "submitted"), *more]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)

    done = submit("--tier", "distributed")
    assert done.returncode == 0, done.stderr
    assert "(local[1]), ready after" in done.stdout
    written = pa.parquet.read_table(ran / "submitted").sort_by("id")
    assert written.num_rows == 200
    again = submit()  # a mistake: our message and our exit code, no stack trace of Spark's around it
    assert again.returncode == 2
    assert again.stdout.count("exists already; give another path, or --overwrite") == 1
    assert "Exception" not in again.stdout + again.stderr
    alone = submit("--overwrite")
    assert (alone.returncode, "ready after" in alone.stdout) == (0, False)
    assert "tier     fused, without Spark" in alone.stdout, "its master is this machine, which needs no session"
    assert pa.parquet.read_table(ran / "submitted").sort_by("id").equals(written)


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_a_few_lines(job):
    assert len((ROOT / "jobs" / f"{job}.py").read_text().splitlines()) < 12


# ---- conf/spark-*.conf


def properties(file):
    lines = [line.strip() for line in file.read_text().splitlines()]
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("file", SPARK_CONF, ids=lambda file: file.name)
def test_properties_are_spark_s_and_ascii(file):
    """spark-submit leaves out what does not begin with "spark.", and says so only in a warning."""
    assert properties(file)
    assert all(key.startswith("spark.") for key in properties(file))
    assert file.read_text().isascii(), "Java reads properties as Latin-1"


def test_properties_that_decide_about_speed_and_safety():
    for file in SPARK_CONF:
        found = properties(file)
        assert found["spark.sql.execution.arrow.maxBytesPerBatch"] == "64m"
        assert found["spark.shuffle.compress"] == "false"
        assert found["spark.executorEnv.OMP_NUM_THREADS"] == "1"
        assert "spark.executor.pyspark.memory" not in found
    assert [file.name for file in SPARK_CONF] == ["spark-cluster.conf", "spark-local.conf"]
