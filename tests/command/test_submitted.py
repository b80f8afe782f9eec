"""What Spark has been told before there is a session: by its files, by the environment. A real spark-submit is in
tests/command/test_spark_submit.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.command.submitted import SUBMITTED, properties, spark_setup, why_spark

SETTINGS = [
    ({}, None),
    ({"spark.master": "local[4]"}, None),
    ({"spark.master": "local[*,2]"}, None),
    ({"spark.master": "local-cluster[2,1,1024]"}, "spark.master is local-cluster[2,1,1024]"),
    ({"spark.master": "spark://a:1"}, "spark.master is spark://a:1"),
    ({"spark.masters.x": "yarn"}, None),
    ({"spark.remote": "sc://a:1"}, "spark.remote is sc://a:1"),
    ({"spark.api.mode": "connect"}, "spark.api.mode is connect"),
    ({"spark.api.mode": "Connect"}, "spark.api.mode is connect"),
    ({"spark.api.mode": "classic"}, None),
    # what /graph means there
    ({"spark.hadoop.fs.defaultFS": "hdfs://a:8020"}, "spark.hadoop.fs.defaultFS is hdfs://a:8020"),
    ({"spark.hadoop.fs.default.name": "hdfs://a:8020"}, "spark.hadoop.fs.default.name is hdfs://a:8020"),
    ({"spark.hadoop.fs.defaultFS": "file:///"}, None),
    # somebody wants to read it, or to be told
    ({"spark.eventLog.enabled": "true"}, "spark.eventLog.enabled is true"),
    ({"spark.eventLog.enabled": "TRUE"}, "spark.eventLog.enabled is TRUE"),
    ({"spark.eventLog.enabled": "False"}, None),
    ({"spark.extraListeners": "a.B"}, "spark.extraListeners is a.B"),
    # not to be known from here
    ({"spark.master": "${env:CHOSEN}"}, "spark.master is ${env:CHOSEN}"),
]


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "spark-defaults.conf"


@pytest.mark.parametrize("form", ["{} {}", "  {}={}", "{}\t:  {}  ", "{} \\\n   {}"])
@pytest.mark.parametrize(("settings", "why"), SETTINGS, ids=str)
def test_a_file_of_settings(settings_file: Path, settings: dict[str, str], why: str | None, form: str) -> None:
    lines = ["# spark.master yarn", "! spark.master yarn", "spark.app.name x", "other.master yarn"]
    settings_file.write_text("\n".join([*lines, *(form.format(*pair) for pair in settings.items())]))
    found = spark_setup({"SPARK_CONF_DIR": str(settings_file.parent)})
    assert found.why == why
    assert found.settings == {"spark.app.name": "x", **settings}
    assert why_spark(settings) == why


def test_what_java_reads_of_a_file() -> None:
    text = r"""
        spark.a=1
        spark.b : spark\://h\:7
        spark.c one \
                two
        spark.d = back\\
        spark.e
        spark.f \u0061\tb
        spark\=g h
    """
    assert dict(properties(text)) == {
        "spark.a": "1",
        "spark.b": "spark://h:7",
        "spark.c": "one two",
        "spark.d": "back\\",
        "spark.e": "",
        "spark.f": "a\tb",
        "spark=g": "h",
    }


def test_where_the_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a Spark that is named; else of the one that is installed; never ./conf of where somebody happens to be."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "spark-defaults.conf").write_text("spark.master yarn")
    assert spark_setup({"SPARK_HOME": str(tmp_path)}).why == "spark.master is yarn"
    assert spark_setup({"SPARK_HOME": str(tmp_path), "SPARK_CONF_DIR": str(tmp_path / "other")}).why is None
    monkeypatch.chdir(tmp_path)
    assert spark_setup({}).why is None
    installed = tmp_path / "site" / "pyspark"
    (installed / "conf").mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    (installed / "conf" / "spark-defaults.conf").write_text("spark.master mesos://a")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert spark_setup({}).why == "spark.master is mesos://a"


@pytest.mark.parametrize("name", ["spark-env.sh", "core-site.xml", "hdfs-site.xml", "hive-site.xml"])
def test_files_that_only_spark_can_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "log4j2.properties").write_text("")
    assert spark_setup({"SPARK_CONF_DIR": str(tmp_path)}).why is None
    (tmp_path / name).write_text("")
    assert name in (spark_setup({"SPARK_CONF_DIR": str(tmp_path)}).why or "")


ENVIRONMENTS = [
    ({}, None, False),
    ({"PYSPARK_SUBMIT_ARGS": "pyspark-shell"}, None, False),
    ({"PYSPARK_SUBMIT_ARGS": "--master yarn pyspark-shell"}, "PYSPARK_SUBMIT_ARGS is set", True),
    ({"MASTER": "spark://a:1"}, "spark.master is spark://a:1", True),
    ({"MASTER": "local[2]"}, None, False),
    ({"HADOOP_CONF_DIR": "/x"}, "HADOOP_CONF_DIR is set", False),
    ({"YARN_CONF_DIR": "/x"}, "YARN_CONF_DIR is set", False),
    ({"SPARK_REMOTE": "sc://a"}, "SPARK_REMOTE is set", True),
    ({"SPARK_CONNECT_MODE_ENABLED": "1"}, "SPARK_CONNECT_MODE_ENABLED is set", True),
    ({"DATABRICKS_RUNTIME_VERSION": "17.3"}, "DATABRICKS_RUNTIME_VERSION is set", True),
    ({"SPARK_API_MODE": "connect"}, "SPARK_API_MODE is connect", True),
    ({"SPARK_API_MODE": "classic"}, None, False),
    ({"SPARK_CONNECT_MODE": "1"}, "Spark Connect is this PySpark's default", True),
    ({"SPARK_CONNECT_MODE": "0"}, None, False),
]


@pytest.mark.parametrize(("environment", "why", "decided"), ENVIRONMENTS, ids=str)
def test_the_environment(tmp_path: Path, environment: dict[str, str], why: str | None, decided: bool) -> None:
    found = spark_setup({"SPARK_CONF_DIR": str(tmp_path), **environment})
    assert (found.why, found.decided) == (why, decided)


def test_a_master_of_the_file_goes_before_that_of_the_environment(settings_file: Path) -> None:
    settings_file.write_text("spark.master local[3]")
    found = spark_setup({"SPARK_CONF_DIR": str(settings_file.parent), "MASTER": "spark://a:1"})
    assert (found.why, found.settings["spark.master"]) == (None, "local[3]")


def test_the_name_that_tells_of_spark_submit_is_pysparks() -> None:
    import pyspark.java_gateway

    assert SUBMITTED in Path(pyspark.java_gateway.__file__).read_text()
