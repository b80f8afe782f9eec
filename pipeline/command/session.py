"""The Spark session of the entry points: the one that is there, or one on this machine.

Comes in: the environment, which only entry points read. Goes out: a SparkSession. Knows nothing of graphs; the library
itself takes the session of the DataFrames that it is given.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from pipeline.errors import GraphsweepError
from pipeline.resources import local_master
from pipeline.workers import active_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

OLDEST_JAVA = 17
INSTALL_JAVA = "`apt install openjdk-17-jre-headless`, `brew install openjdk@17` or `conda install openjdk=17`"

# in the environment of what spark-submit starts; of one that has its Spark elsewhere; of one whose paths may be there
SUBMITTED = "PYSPARK_GATEWAY_PORT"
REMOTE = ("SPARK_REMOTE", "DATABRICKS_RUNTIME_VERSION")
CLUSTER = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")

# Of a session on this machine. The master is not among them: without any, spark-submit takes local[*].
EMBEDDED = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    # explicit, because its default is not the same in all versions
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
    # float32 noise does not compress; it costs as much time as the shuffle itself
    "spark.shuffle.compress": "false",
    # threads of glibc's allocator keep what they free: two arenas instead of eight per core
    "spark.executorEnv.MALLOC_ARENA_MAX": "2",
}


# Of a session on this machine for small data, or for data that the JVM never sees: 1.5 of 14 s, and 6 to 10 of 40
# core-seconds for 2^20 nodes. Where the JVM moves large data, this costs two thirds more of its time.
SMALL_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@contextmanager
def spark_session(
    verbose: bool = False, small: bool = False, meanwhile: Callable[[], None] | None = None
) -> Iterator[SparkSession]:
    """The active session; else the one that spark-submit, Spark Connect or Databricks configured; else one of our own.

    Parameters
    ----------
    verbose : bool
        Show what Spark says while it starts.
    small : bool
        The JVM has little to do: a session of our own starts quickly rather than running fast.
    meanwhile : callable, optional
        Called just before a session of our own starts, which takes 5 s and leaves cores idle. Returns at once.

    Raises
    ------
    GraphsweepError
        If Spark is to be started here and there is no Java, or one that is too old.
    """
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    if active is not None:
        yield active
        return
    started = time.perf_counter()
    spark = (
        SparkSession.builder.appName("graphsweep").getOrCreate()
        if _configured()
        else _embedded(verbose, small, meanwhile)
    )
    master = spark.conf.get("spark.master", "Spark Connect")
    log.info("Spark %s (%s), ready after %.1f s", spark.version, master, time.perf_counter() - started)
    try:
        yield spark
    finally:
        spark.stop()


def spark_is_optional() -> bool:
    """Whether this machine may do without Spark what it can do alone: nobody has a session, and no setting asks for a
    cluster. What spark-submit starts with a master of this machine has no session yet either: with one, raw tables of
    16.8M edges to scores took 34 s on 2 cores, and 17 without."""
    if active_session() is not None or any(name in os.environ for name in (*REMOTE, *CLUSTER)):
        return False
    return _is_of_this_machine(_submitted() if SUBMITTED in os.environ else _defaults())


def _is_of_this_machine(settings: Mapping[str, str]) -> bool:
    """Whether tasks would run here, paths without a scheme are those of this machine, and nobody wants to read later
    what Spark did."""
    here = local_master(settings.get("spark.master", "local")) is not None
    files = settings.get("spark.hadoop.fs.defaultFS", "file:///").startswith("file:")
    return here and files and settings.get("spark.eventLog.enabled", "false") != "true"


def _submitted() -> dict[str, str]:
    """What spark-submit was told, by arguments and by its files."""
    from pyspark.conf import SparkConf

    return dict(SparkConf().getAll())


def _defaults() -> dict[str, str]:
    """What a session of our own would be told by Spark's file of settings, if there is one."""
    directory = os.environ.get("SPARK_CONF_DIR") or os.path.join(os.environ.get("SPARK_HOME", ""), "conf")
    try:
        with open(os.path.join(directory, "spark-defaults.conf")) as file:
            found = (re.match(r"\s*(spark\.[^\s=:]+)\s*[\s=:]\s*(.*?)\s*$", line) for line in file)
            return {match[1]: match[2] for match in found if match}
    except OSError:
        return {}


def _configured() -> bool:
    """Whether somebody else has decided what the session is: its settings are not to be touched."""
    return any(name in os.environ for name in (SUBMITTED, *REMOTE))


def _embedded(verbose: bool, small: bool, meanwhile: Callable[[], None] | None) -> SparkSession:
    from pyspark.sql import SparkSession

    check_java()
    if meanwhile is not None:
        meanwhile()
    # workers run what the driver runs; Spark would take the first python3 on the PATH
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("graphsweep")
    for key, value in EMBEDDED.items():
        builder = builder.config(key, value)
    memory = min(psutil.virtual_memory().total // 4, 8 << 30)
    builder = builder.config("spark.driver.memory", f"{memory >> 20}m")
    if small:
        builder = builder.config("spark.driver.extraJavaOptions", SMALL_JVM)
    if verbose:
        return builder.getOrCreate()
    with tempfile.TemporaryFile() as greeting:
        try:
            with _stderr_into(greeting.fileno()):
                return builder.getOrCreate()
        except Exception as error:
            greeting.seek(0)
            said = greeting.read().decode(errors="replace").strip()
            raise GraphsweepError(f"Spark cannot be started: {error}\n{said}") from error


@contextmanager
def _stderr_into(file: int) -> Iterator[None]:
    """What is started here writes its stderr into a file, for as long as it lives.

    A JVM greets with a page of warnings before anybody can tell it not to. Errors come back as exceptions; --verbose
    shows everything.
    """
    sys.stderr.flush()
    own = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


def check_java() -> None:
    """GraphsweepError, saying what to install, unless there is a Java that Spark can use."""
    home = os.environ.get("JAVA_HOME")
    java = os.path.join(home, "bin", "java") if home else shutil.which("java")
    where = f"JAVA_HOME is {home}" if home else "JAVA_HOME is not set"
    if java is None or not os.access(java, os.X_OK):
        lacks = "which holds no bin/java" if home else "and there is no java on the PATH"
        raise GraphsweepError(
            f"Spark needs Java {OLDEST_JAVA} or newer, and there is none: {where}, {lacks}. Install it: {INSTALL_JAVA}"
        )
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)(?:\.(\d+))?', said.stderr + said.stdout)
    if found is None:
        first = (said.stderr + said.stdout).strip().partition("\n")[0]
        raise GraphsweepError(f"{java} does not tell its version: {first}. Install Java {OLDEST_JAVA}: {INSTALL_JAVA}")
    major = int(found[2] or 0) if found[1] == "1" else int(found[1])
    if major < OLDEST_JAVA:
        raise GraphsweepError(
            f"Spark needs Java {OLDEST_JAVA} or newer; {java} is Java {major} ({where}). Install one: {INSTALL_JAVA}"
        )
