"""The session of the entry points: what it needs, whose it is, and that a first run is quiet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.command import session
from pipeline.command.session import check_java, spark_is_optional, spark_session
from pipeline.errors import GraphsweepError

CONFIGURED = ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION")
CLUSTER = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")


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
    with pytest.raises(GraphsweepError, match=r"does not tell its version: command not understood. Install Java 17"):
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


def test_a_configured_session_is_left_as_it_is(monkeypatch):
    for name in CONFIGURED:
        monkeypatch.delenv(name, raising=False)
    assert not session._configured()
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "17.3")
    assert session._configured()


def test_a_session_of_our_own_is_quiet_and_runs_this_python():
    """Without a virtual environment's PATH, as cron and editors start it."""
    code = (
        "import sys\nfrom pipeline.command.session import spark_session\n"
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


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no session, and the environment says nothing of any."""
    from pyspark.sql import SparkSession

    monkeypatch.setattr(SparkSession, "getActiveSession", lambda: None)
    for name in (*CONFIGURED, *CLUSTER, "SPARK_HOME", "SPARK_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)


SETTINGS = [
    ({}, True),
    ({"spark.master": "local[4]"}, True),
    ({"spark.master": "local[*,2]"}, True),
    ({"spark.master": "local-cluster[2,1,1024]"}, False),
    ({"spark.master": "spark://a:1"}, False),
    ({"spark.masters.x": "yarn"}, True),
    ({"spark.hadoop.fs.defaultFS": "hdfs://a:8020"}, False),  # what /graph means there
    ({"spark.hadoop.fs.defaultFS": "file:///"}, True),
    ({"spark.eventLog.enabled": "true"}, False),  # somebody wants to read it
]


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("form", ["{} {}", "  {}={}", "{}\t:  {}  "])
@pytest.mark.parametrize(("settings", "optional"), SETTINGS, ids=str)
def test_a_file_of_settings_may_ask_for_spark(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, str], optional: bool, form: str
) -> None:
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert spark_is_optional()
    lines = ["# spark.master yarn", "spark.app.name x", *(form.format(*pair) for pair in settings.items())]
    (tmp_path / "spark-defaults.conf").write_text("\n".join(lines))
    assert spark_is_optional() is optional


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(("settings", "optional"), SETTINGS, ids=str)
def test_spark_submit_may_ask_for_spark(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], optional: bool
) -> None:
    """With another master than this machine; what it was told is read from the process that it is."""
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    monkeypatch.setattr(session, "_submitted", lambda: settings)
    assert spark_is_optional() is optional


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("name", [*CLUSTER, "SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION"])
def test_paths_are_those_of_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """/graph is a path of its file system then, and not of this machine's."""
    assert spark_is_optional()
    monkeypatch.setenv(name, str(tmp_path))
    assert not spark_is_optional()
