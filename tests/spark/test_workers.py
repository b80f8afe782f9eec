"""Python workers of a session on one machine that are not as the driver is: said once, in one message, before any work.

Each in a process of its own, in a folder where a module of the user's has the name of the package. Which Python workers
run is decided when a session is made, so each session is a new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.slow

ROOT = str(Path(pipeline.__file__).parent.parent)

SESSIONS = """
import os, sys
import graphsweep
from pyspark.sql import SparkSession

def attempt(python):
    os.environ["PYSPARK_PYTHON"] = python
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.log.level", "OFF").getOrCreate()
    frames = (spark.createDataFrame([(1, 1.0)], ["id", "x"]), spark.createDataFrame([(1, 1)], ["src", "dst"]))
    try:
        graphsweep.prepare(graphsweep.Graph(*frames), "graph")
        print("SAID prepared")
    except graphsweep.GraphsweepError as error:
        print("SAID", error)
    spark.stop()

for python in sys.argv[1:]:
    attempt(python)
os.remove("pipeline.py")
attempt(sys.executable)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text("raise RuntimeError('the module of the user was run')\n")
    (tmp_path / "bare").write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without what is installed
    (tmp_path / "bare").chmod(0o755)
    return tmp_path


def run(folder: Path, *arguments: str, searched: str = ROOT) -> subprocess.CompletedProcess[str]:
    gone = ("PYSPARK_PYTHON", "PYTHONSAFEPATH")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": searched},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_what_is_said_of_workers_that_are_not_as_this_process_is(folder: Path) -> None:
    (folder / "main").mkdir()
    script = folder / "main" / "sessions.py"
    script.write_text(SESSIONS)
    done = run(folder, str(script), sys.executable, str(folder / "bare"))
    said = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert done.returncode == 0, done.stderr
    remedy = (
        '. Let them run the Python of this process: os.environ["PYSPARK_PYTHON"] = sys.executable before the session '
        f"is made, or PYSPARK_PYTHON={sys.executable} in the environment; this session has to be stopped first. Unless "
        "it is set, Spark takes the first python3 on the PATH"
    )
    assert said[0] == (
        f"SAID the Python workers of this Spark session, {sys.executable}, take {folder / 'pipeline.py'} for "
        "graphsweep, whose package has that name too; rename that file, or start in another folder"
    )
    assert said[1] == f"SAID the Python workers of this Spark session have no module pyarrow{remedy}"
    assert said[2:] == ["SAID prepared"]


@pytest.mark.parametrize("first", ["of the folder", "of the package"])
def test_a_session_of_the_command_runs_its_own_package_in_a_folder_that_has_another(folder: Path, first: str) -> None:
    """Also where PYTHONPATH begins with the folder, as with an empty entry."""
    pq.write_table(whole("mixed").nodes(), folder / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), folder / "edges.parquet")
    build("sage").save(folder / "model")
    searched = f"{ROOT}:" if first == "of the package" else f":{ROOT}"
    command = "infer --nodes nodes.parquet --edges edges.parquet --model model --output scores --tier distributed"
    done = run(folder, "-c", "from graphsweep import cli; cli.main()", *command.split(), searched=searched)
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "scores").num_rows == len(whole("mixed").ids)
