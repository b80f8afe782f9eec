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
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import psutil

import pipeline
from pipeline.command.submitted import SparkSetup, spark_setup
from pipeline.errors import GraphsweepError
from pipeline.spark.handshake import trust_workers
from pipeline.spark.session import active_session, setting

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

OLDEST_JAVA = 17
OLDEST_PYSPARK = 4
INSTALL_JAVA = "`apt install openjdk-17-jre-headless`, `brew install openjdk@17` or `conda install openjdk=17`"

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
    # workers would search the user's folder first, where anything may be called pipeline (before Python 3.11 they do)
    "spark.executorEnv.PYTHONSAFEPATH": "1",
}


# Of a session on this machine for small data, or for data that the JVM never sees: 1.5 of 14 s, and 6 to 10 of 40
# core-seconds for 2^20 nodes. Where the JVM moves large data, this costs two thirds more of its time.
SMALL_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@contextmanager
def spark_session(
    verbose: bool = False, small: bool = False, meanwhile: Callable[[], None] | None = None
) -> Iterator[SparkSession]:
    """The session that is there; else one as spark-submit, Spark's files, Spark Connect or Databricks say; else one of
    our own. What was there before is there afterwards.

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
    there = active_session()
    if there is not None:
        yield there
        return
    check_pyspark()
    started = time.perf_counter()
    ours = not _somebodys()
    known = spark_setup(os.environ)
    spark = _as_decided(known) if known.decided else _embedded(known.settings, verbose, small, meanwhile)
    master = setting(spark, "spark.master") or "Spark Connect"
    log.info("Spark %s (%s), ready after %.1f s", spark.version, master, time.perf_counter() - started)
    try:
        yield spark
    finally:
        if ours:
            spark.stop()


def spark_is_optional() -> bool:
    """Whether this machine may do without Spark what it can do alone: nobody has a session, and no setting asks for
    Spark. What spark-submit starts with a master of this machine has no session yet either: with one, raw tables of
    16.8M edges to scores took 34 s on 2 cores, and 17 without."""
    if active_session() is not None or _somebodys():
        return False
    why = spark_setup(os.environ).why
    if why is not None:
        log.debug("by Spark, because %s", why)
    return why is None


def _somebodys() -> bool:
    """Whether Spark is running in this process, or was when it started: it is not ours to stop."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return True
    if "pyspark" not in sys.modules:  # importing it takes a second, and would not make a session
        return False
    from pyspark import SparkContext

    return SparkContext._active_spark_context is not None


def _as_decided(known: SparkSetup) -> SparkSession:
    """A session of which others have decided everything; two things PySpark does not hand on from spark-submit."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("graphsweep")
    if known.settings.get("spark.remote"):
        builder = builder.remote(known.settings["spark.remote"])
    elif "spark.api.mode" in known.settings:
        builder = builder.config("spark.api.mode", known.settings["spark.api.mode"])
    return builder.getOrCreate()


def _embedded(
    settings: Mapping[str, str], verbose: bool, small: bool, meanwhile: Callable[[], None] | None
) -> SparkSession:
    """A session on this machine, with our settings where Spark's own file has none."""
    from pyspark.sql import SparkSession

    check_java()
    if meanwhile is not None:
        meanwhile()
    # workers run what the driver runs; Spark would take the first python3 on the PATH
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("graphsweep")
    memory = min(psutil.virtual_memory().total // 4, 8 << 30)
    chosen = {**EMBEDDED, "spark.driver.memory": f"{memory >> 20}m", **_python_path()}
    if small:
        chosen["spark.driver.extraJavaOptions"] = SMALL_JVM
    for key, value in chosen.items():
        if key not in settings:
            builder = builder.config(key, value)
    if verbose:
        return _trusted(builder.getOrCreate())
    with tempfile.TemporaryFile() as greeting:
        try:
            with _stderr_into(greeting.fileno()):
                return _trusted(builder.getOrCreate())
        except Exception as error:
            greeting.seek(0)
            text = greeting.read().decode(errors="replace").strip()
            raise GraphsweepError(f"Spark cannot be started: {error}\n{text}") from error


def _trusted(spark: SparkSession) -> SparkSession:
    """A session that was started here, whose workers run this Python; they are asked only if somebody chose another, or
    they would look for graphsweep in the user's folder."""
    if os.environ["PYSPARK_PYTHON"] == sys.executable and sys.version_info >= (3, 11):
        trust_workers(spark)
    return spark


def _python_path() -> dict[str, str]:
    """Where workers find graphsweep, if PYTHONPATH would give them something else of its name."""
    searched = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    spec = PathFinder.find_spec("pipeline", searched) if "PYTHONPATH" in os.environ else None
    if spec is None or spec.origin == pipeline.__file__:
        return {}
    return {"spark.executorEnv.PYTHONPATH": os.path.dirname(os.path.dirname(pipeline.__file__))}


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


def check_pyspark() -> None:
    """GraphsweepError, saying what to install, unless there is a pyspark that is new enough. graphsweep does not bring
    one: the cluster's own has to stay."""
    needs = f"Spark is needed for this, through pyspark {OLDEST_PYSPARK} or newer"
    try:
        from pyspark import __version__ as found
    except ImportError as error:
        raise GraphsweepError(
            f"{needs}, and there is none ({error}). Install the version of your cluster, as pip install "
            "'pyspark==4.1.*'; or, for Spark on this machine, pip install 'graphsweep[spark]'"
        ) from error
    if int(found.partition(".")[0]) < OLDEST_PYSPARK:
        raise GraphsweepError(f"{needs}; this Python has pyspark {found}. Take a cluster with Spark 4, and its pyspark")


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
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)(?:\.(\d+))?', text.stderr + text.stdout)
    if found is None:
        first = (text.stderr + text.stdout).strip().partition("\n")[0]
        raise GraphsweepError(f"{java} does not say its version: {first}. Install Java {OLDEST_JAVA}: {INSTALL_JAVA}")
    major = int(found[2] or 0) if found[1] == "1" else int(found[1])
    if major < OLDEST_JAVA:
        raise GraphsweepError(
            f"Spark needs Java {OLDEST_JAVA} or newer; {java} is Java {major} ({where}). Install one: {INSTALL_JAVA}"
        )
