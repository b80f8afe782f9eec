"""What a program that a real spark-submit starts knows of what that was told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.spark.standalone import submitted

pytestmark = pytest.mark.slow

CHILD = """
import json, os
from pipeline.command.own_session import spark_is_optional
from pipeline.command.submitted import spark_setup
print("SAID", json.dumps([spark_is_optional(), spark_setup(os.environ).why, spark_setup(os.environ).decided]))
"""

HDFS = "<configuration><property><name>fs.defaultFS</name><value>{}</value></property></configuration>"
FS = "spark.hadoop.fs.defaultFS is hdfs://a:8020"
SUBMITS = [
    (["--master", "local[2]"], {}, {}, None),
    (["--master", "spark://127.0.0.1:1"], {}, {}, "spark.master is spark://127.0.0.1:1"),
    (["--properties-file", "{}/p.conf"], {}, {"p.conf": "spark.master spark://a:1"}, "spark.master is spark://a:1"),
    ([], {"SPARK_CONF_DIR": "{}"}, {"spark-defaults.conf": "spark.eventLog.enabled true"},
     "spark.eventLog.enabled is true"),
    ([], {"SPARK_CONF_DIR": "{}"}, {"spark-env.sh": "export MASTER=spark://b:2"}, "spark.master is spark://b:2"),
    (["--conf", "spark.hadoop.fs.defaultFS=hdfs://a:8020"], {}, {}, FS),
    ([], {"HADOOP_CONF_DIR": "{}"}, {"core-site.xml": HDFS.format("hdfs://a:8020")}, FS),
    ([], {"HADOOP_CONF_DIR": "{}"}, {"core-site.xml": HDFS.format("file:///")}, None),
    (["--remote", "sc://127.0.0.1:1"], {}, {}, "spark.remote is sc://127.0.0.1:1"),
    (["--conf", "spark.api.mode=connect"], {}, {}, "spark.api.mode is connect"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "environment", "files", "why"), SUBMITS, ids=str)
def test_what_a_real_spark_submit_was_told(
    tmp_path: Path, options: list[str], environment: dict[str, str], files: dict[str, str], why: str | None
) -> None:
    """No session is started to find out: there is nothing at these addresses."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "child.py").write_text(CHILD)
    done = submitted(
        [option.format(tmp_path) for option in options],
        tmp_path / "child.py",
        environment={name: value.format(tmp_path) for name, value in environment.items()},
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("SAID ")]
    assert said, done.stdout
    assert json.loads(said[0][5:]) == [why is None, why, True]
