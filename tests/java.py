"""A Java for the tests that starts Spark in a third of the time: nearly all that its JVMs do in a test is to begin.

Comes in: the machine's Java and PySpark. Goes out: a folder to be JAVA_HOME, whose `java` gives a JVM of Spark two
things more: the classes of Spark as an earlier JVM parsed and checked them (an archive of classes, "CDS"), and the
compiler that begins soonest. A session, two jobs and a table cost 14.5 core-seconds of the JVM without, 4.3 with both;
the tests start some hundred. `python -m tests.java ARCHIVE` makes an archive in 30 core-seconds; a run of several
processes does so beside its first tests, if the checkout has none. A JVM does not use an archive that was made of other
jars or by another Java: it is then as slow as always. A larger heap, young generation or metaspace changes nothing: 60
small queries take 18 core-seconds of the JVM with each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """#!/bin/sh
case " $* " in
  *" org.apache.spark.launcher.Main "*) set -- -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "$@" ;;
  *" org.apache.spark."*)
    case "$*" in *:+Use*GC*) ;; *) set -- -XX:+UseSerialGC "$@" ;; esac
    case "$*" in *ArchiveClassesAtExit*) use= ;; *) use="{archive}" ;; esac
    [ -e "$use" ] && set -- "-XX:SharedArchiveFile=$use" "$@"
    set -- -XX:TieredStopAtLevel=1 -Xlog:disable "$@" ;;
esac
exec "{java}" "$@"
"""


class Java:
    """A plugin. Sets JAVA_HOME for this process and its children; workers of pytest-xdist inherit it."""

    def __init__(self) -> None:
        self.making: subprocess.Popen[bytes] | None = None

    def pytest_configure(self, config: pytest.Config) -> None:
        java, cache = _java(), getattr(config, "cache", None)  # none: pytest was told to keep nothing
        if java is None or cache is None or os.name != "posix" or hasattr(config, "workerinput"):
            return
        home = cache.mkdir("java")
        archive = home / f"spark-{_fingerprint(java)}.jsa"
        (home / "bin").mkdir(exist_ok=True)
        command = home / "bin" / "java"
        own = command.with_name(f"java-{os.getpid()}")  # two runs in one checkout
        own.write_text(COMMAND.format(java=java, archive=archive))
        own.chmod(0o755)
        own.replace(command)
        os.environ["JAVA_HOME"] = str(home)
        if not archive.exists() and getattr(config.option, "numprocesses", None):
            for old in home.glob("spark-*.jsa*"):
                old.unlink(missing_ok=True)
            call = [sys.executable, "-W", "ignore", "-m", "tests.java", str(archive)]
            nowhere = subprocess.DEVNULL  # it says which classes it leaves out
            self.making = subprocess.Popen(call, cwd=config.rootpath, stdin=nowhere, stdout=nowhere, stderr=nowhere)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        if self.making is not None:
            self.making.wait()


def _java() -> str | None:
    """The machine's own java, as Spark finds it; never the one that this file makes."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    return found and str(Path(found).resolve())


def _fingerprint(java: str) -> str:
    from importlib.util import find_spec

    spark = find_spec("pyspark")
    return hashlib.sha256(repr((java, spark and spark.origin)).encode()).hexdigest()[:12]


def make(archive: Path) -> None:
    """Play what tests do most, in one JVM, and keep the classes that it needed."""
    import tempfile

    import pyarrow as pa
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    os.environ["PYSPARK_PYTHON"] = sys.executable
    own = archive.with_name(f"{archive.name}-{os.getpid()}")
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraJavaOptions", f"-XX:ArchiveClassesAtExit={own}")
    with tempfile.TemporaryDirectory() as scratch:
        session = builder.config("spark.sql.warehouse.dir", f"{scratch}/warehouse").getOrCreate()
        rows = pa.table({"id": range(100), "name": ["a"] * 100, "x": [[0.5, 1.0]] * 100})
        table = session.createDataFrame(rows)
        for format in ("parquet", "csv", "json"):
            flat = table if format != "csv" else table.drop("x")
            flat.repartition(2).write.format(format).option("header", True).save(f"{scratch}/{format}")
            session.read.format(format).option("header", True).load(f"{scratch}/{format}").collect()
        sent = table.mapInArrow(lambda batches: batches, table.schema).repartitionByRange(2, "id")
        sent = sent.sortWithinPartitions("id")
        sent.join(table.groupBy("name").agg(F.count("id"), F.max("id")), "name").orderBy("id").toPandas()
        table.write.saveAsTable("kept")
        session.sql("select count(distinct id) from kept").toArrow()
        gateway = session.sparkContext._gateway
        session.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()  # as at the end of a program: the JVM leaves, and writes the archive
        gateway.proc.wait()
    own.replace(archive)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
