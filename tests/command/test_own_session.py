"""The session of the entry points: what it needs, whose it is, and that a first run is quiet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.command import own_session
from pipeline.command.own_session import check_java, spark_is_optional, spark_session
from pipeline.errors import GraphsweepError

pytestmark = pytest.mark.slow


@pytest.fixture
def java(tmp_path, monkeypatch):
    """A Java that says what it is told to say."""

    def install(says: str) -> None:
        (tmp_path / "bin").mkdir()
        file = tmp_path / "bin" / "java"
        file.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
        file.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    return install


@pytest.mark.parametrize(
    "says", ['openjdk version "17.0.15" 2025-04-15', 'java version "21" 2023', 'x version "26-ea"']
)
def test_java_that_will_do(java, says):
    java(says)
    check_java()


@pytest.mark.parametrize(("says", "major"), [('openjdk version "11.0.2" 2019', 11), ('java version "1.8.0_202"', 8)])
def test_java_that_is_too_old(java, says, major):
    java(says)
    with pytest.raises(GraphsweepError, match=f"needs Java 17 or newer; .*java is Java {major} .*Install one: `apt"):
        check_java()


def test_java_that_is_none(java):
    java("command not understood")
    with pytest.raises(GraphsweepError, match=r"does not say its version: command not understood. Install Java 17"):
        check_java()


def test_no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(GraphsweepError, match=r"there is none: JAVA_HOME is .*, which holds no bin/java. Install it"):
        check_java()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GraphsweepError, match="JAVA_HOME is not set, and there is no java on the PATH"):
        check_java()


def test_the_active_session_is_used_and_stays(spark):
    with spark_session(small=True, meanwhile=pytest.fail) as found:
        assert found is spark
    assert spark.range(3).count() == 3


def test_a_session_of_our_own_is_quiet_and_runs_this_python():
    """Without a virtual environment's PATH, as cron and editors start it."""
    code = (
        "import sys\nfrom pipeline.command.own_session import spark_session\n"
        "def work(batches):\n"
        "    assert sys.executable == PYTHON\n"
        "    yield from batches\n"
        "PYTHON = sys.executable\n"
        "called = []\n"
        "with spark_session(small=True, meanwhile=lambda: called.append(1)) as spark:\n"
        "    assert called == [1]\n"
        "    assert spark.conf.get('spark.ui.enabled') == 'false'\n"
        "    assert 'TieredStopAtLevel=1' in spark.conf.get('spark.driver.extraJavaOptions')\n"
        "    assert spark.range(9).mapInArrow(work, 'id long').count() == 9\n"
        "print(spark.version)\n"
    )
    settings = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=settings, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("4.")


def in_a_process(code: str, **environment: str) -> list[str]:
    """What code says in a process of its own, where nothing is set that means Spark."""
    names = ("SPARK_", "PYSPARK_", "HADOOP_", "YARN_", "MASTER", "DATABRICKS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**kept, "SPARK_LOCAL_IP": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


IN_A_THREAD = """
import threading
from pyspark import SparkContext
from pyspark.sql import SparkSession
from pipeline.command.own_session import spark_is_optional, spark_session
from pipeline.spark.session import active_session

def in_a_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]

def use():
    with spark_session() as found:
        return found.range(2).count(), found

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.log.level", "OFF")
theirs = builder.getOrCreate()
assert in_a_thread(active_session) is theirs
assert not in_a_thread(spark_is_optional)
count, found = in_a_thread(use)
assert (count, found) == (2, theirs)
assert theirs.range(3).count() == 3, "the user's session goes on"
theirs.stop()
assert active_session() is None

context = SparkContext.getOrCreate()
assert not spark_is_optional()
assert in_a_thread(use)[0] == 2
assert not context._jsc.sc().isStopped(), "the user's context goes on, which had no session"
SparkSession.active().stop()

assert in_a_thread(use)[0] == 2
assert active_session() is None and SparkContext._active_spark_context is None, "our own is stopped"
print("done")
"""


def test_a_users_session_is_used_in_any_thread_and_never_stopped() -> None:
    """Spark's active session is one of a thread; the command can run in any."""
    assert in_a_process(IN_A_THREAD)[-1] == "done"


def test_databricks_has_a_session_that_nobody_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not own_session._somebodys() or "pyspark" in sys.modules
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert own_session._somebodys()
    assert not spark_is_optional()


def test_settings_of_sparks_own_file_go_before_ours(tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.driver.memory 700m\nspark.shuffle.compress true\n")
    code = (
        "from pipeline.command.own_session import spark_is_optional, spark_session\n"
        "assert spark_is_optional()\n"
        "with spark_session(small=True) as spark:\n"
        "    for name in ('spark.driver.memory', 'spark.shuffle.compress', 'spark.ui.enabled', 'spark.master'):\n"
        "        print(spark.conf.get(name))\n"
    )
    assert in_a_process(code, SPARK_CONF_DIR=str(tmp_path)) == ["700m", "true", "false", "local[*]"]


def test_a_session_that_others_decided_has_none_of_our_settings(tmp_path: Path) -> None:
    """A cluster's settings are its own, from wherever they come: here two executors on this machine."""
    (tmp_path / "spark-defaults.conf").write_text("spark.log.level OFF\nspark.driver.memory 600m\n")
    code = (
        "from pipeline.command.own_session import EMBEDDED, spark_is_optional, spark_session\n"
        "assert not spark_is_optional()\n"
        "with spark_session(small=True) as spark:\n"
        "    print(spark.conf.get('spark.master'), spark.conf.get('spark.driver.memory'))\n"
        "    print([name for name in EMBEDDED if spark.conf.get(name, None) == EMBEDDED[name]])\n"
    )
    said = in_a_process(code, SPARK_CONF_DIR=str(tmp_path), MASTER="local-cluster[1,1,1024]")
    assert said[0] == "local-cluster[1,1,1024] 600m"
    assert said[1] in ("[]", "['spark.sql.execution.arrow.maxBytesPerBatch']"), "which is some Sparks' own default"
