"""The DAGs of jobs/dags: run in a real Airflow, which is made for these tests in an environment of its own.

GRAPHSWEEP_AIRFLOW names the Python of one that is there already; see tests/jobs/own_airflow.py. Without an index of
packages the tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import Model
from pipeline.places.marker import MARKER
from tests.jobs.dags import DAGS, FLIGHTS, PUBLISHED, ROOT, given, webhook
from tests.jobs.own_airflow import environment
from tests.packages import Unreachable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Of an Airflow."""
    named = os.environ.get("GRAPHSWEEP_AIRFLOW")
    if named is not None:
        yield named
        return
    place = tmp_path_factory.mktemp("airflow") / "environment"
    try:
        yield environment(place)
    except Unreachable as why:
        pytest.skip(str(why))
    shutil.rmtree(place)


def settings(at):
    """Of an Airflow that keeps everything in a folder."""
    return os.environ | {
        "AIRFLOW_HOME": str(at / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{at}/airflow.db",
    }


def call(python, variables, arguments):
    command = [str(python), *(str(argument) for argument in arguments)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


@pytest.fixture(scope="module")
def database(python, tmp_path_factory):
    """A new one, which each test gets a copy of: Airflow takes 10 s to make it."""
    at = tmp_path_factory.mktemp("database")
    call(python, settings(at), ["-m", "airflow", "db", "migrate"])
    return at / "airflow.db"


@pytest.fixture
def hook():
    with webhook() as found:
        yield found


@pytest.fixture
def airflow(python, database, tmp_path, hook):
    """Runs DAGs: `airflow(runs, VARIABLE=…)` → what came of each."""
    variables = settings(tmp_path) | {
        "AIRFLOW_VAR_GRAPHSWEEP_ALERT": hook[1],
        "AIRFLOW_VAR_GRAPHSWEEP_JOBS": str(ROOT / "jobs"),
        "AIRFLOW_CONN_SPARK_DEFAULT": '{"conn_type": "spark", "host": "local[2]"}',
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # its spark-submit
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
    }
    shutil.copy(database, tmp_path / "airflow.db")
    program = Path(__file__).parent / "dags_run.py"

    def run(runs, **more):
        return json.loads(call(python, variables | more, [program, DAGS, json.dumps(runs)]).splitlines()[-1])

    return run


def test_taskflow(airflow, hook, tmp_path):
    """A step that fails is tried again; a run that is given again does nothing; wrong scores are not published, not
    tried again, and people are told once."""
    good = Model.load(FLIGHTS / "model")
    good.save(tmp_path / "good")
    name = next(iter(good.weights))
    Model(good.program, {**good.weights, name: good.weights[name] * 1.1}, good.columns).save(tmp_path / "other")
    (tmp_path / "model").symlink_to("good")
    command = tmp_path / "graphsweep"
    command.write_text(
        "#!/bin/sh\n"
        f"cd {tmp_path}\n"
        'if [ "$1" = infer ] && [ ! -e failed ]; then\n'
        '  touch failed; echo \'{"outcome": "spark failed", "message": "try again"}\'; exit 4\nfi\n'
        'case "$1 $*" in verify*2026-11-28*) ln -sfn other model;; esac\n'  # the model is replaced after infer has run
        f'exec {sys.executable} -m graphsweep "$@"\n'
    )
    command.chmod(0o755)
    told = given(tmp_path / "out", tmp_path / "model")
    days = ("2026-11-27", "2026-11-27", "2026-11-28")
    found = airflow([("graphsweep_nightly", day, told) for day in days], AIRFLOW_VAR_GRAPHSWEEP_COMMAND=str(command))
    assert found["errors"] == {}
    assert found["dags"] == ["graphsweep_nightly", "graphsweep_nightly_spark"]
    first, again, wrong = found["runs"]
    assert first["tasks"]["infer"] == ["success", 2]
    assert again["tasks"]["infer"][0] == "success"
    assert first["state"] == again["state"] == "success"
    assert wrong["state"] == "failed"
    assert wrong["tasks"]["infer"] == ["success", 1]
    assert wrong["tasks"]["verify"] == ["failed", 1]
    assert wrong["tasks"]["publish"][0] == "upstream_failed"
    assert os.readlink(tmp_path / "out" / "latest") == PUBLISHED
    (text,) = hook[0]
    assert text.startswith("graphsweep_nightly.verify failed in ")
    assert text.endswith("the scores are not those of the model; latest leads to the old ones")


def test_spark_submit(airflow, hook, tmp_path):
    told = given(tmp_path / "out", FLIGHTS / "model")
    (found,) = airflow([("graphsweep_nightly_spark", "2026-11-27", told)])["runs"]
    assert found["state"] == "success"
    assert {name: tried for name, (_, tried) in found["tasks"].items()} == dict.fromkeys(found["tasks"], 1)
    assert os.readlink(tmp_path / "out" / "latest") == PUBLISHED
    assert json.loads((tmp_path / "out" / "latest" / MARKER).read_text())["rows"] == 514
    assert hook[0] == []
