"""What Spark has been told, before there is a session: by spark-submit, by its files, by the environment.

Comes in: the environment. Goes out: settings, whether somebody else has decided what the session is, and why Spark is
asked for, if it is. Starts no session. What it cannot be sure of, it takes for a reason to ask Spark.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.spark.resources import local_master

SUBMITTED = "PYSPARK_GATEWAY_PORT"  # in the environment of what spark-submit starts
ARGUMENTS = "PYSPARK_SUBMIT_ARGS"  # of the spark-submit that starts a JVM for a Python process
PLAIN_ARGUMENTS = "pyspark-shell"
# of a process that has its Spark elsewhere; and of one whose paths without a scheme may be elsewhere
REMOTE = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "DATABRICKS_RUNTIME_VERSION")
CLUSTER = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")
# set by somebody who wants to be told, or to read later, what Spark did
WATCHED = ("spark.extraListeners", "spark.sql.queryExecutionListeners", "spark.plugins")
DEFAULT_FS = ("spark.hadoop.fs.defaultFS", "spark.hadoop.fs.default.name")  # the second is Hadoop's old name of it


@dataclass(frozen=True)
class SparkSetup:
    """What others have told Spark."""

    settings: Mapping[str, str]
    decided: bool
    """They have decided what the session is: none of its settings is ours to choose."""
    why: str | None
    """Why Spark is to do the work, whatever this machine could do alone; None: nobody asks for it."""


def spark_setup(environment: Mapping[str, str]) -> SparkSetup:
    """Without a session. In a process of spark-submit its JVM is asked (0.4 s, of which 0.3 are the import of pyspark),
    which knows arguments, files and Hadoop's settings; else Spark's own files are read."""
    remote = next((f"{name} is set" for name in REMOTE if name in environment), None) or _connect(environment)
    if SUBMITTED in environment:
        settings: Mapping[str, str] = submitted()
        return SparkSetup(settings, True, remote or why_spark(settings))
    directory = _conf_directory(environment)
    settings = dict(_defaults(directory))
    if "spark.master" not in settings and environment.get("MASTER"):
        settings["spark.master"] = environment["MASTER"]
    arguments = environment.get(ARGUMENTS, PLAIN_ARGUMENTS).strip() != PLAIN_ARGUMENTS
    script = os.path.exists(os.path.join(directory, "spark-env.sh"))
    elsewhere = settings.get("spark.remote") or _is_connect(settings) or not _is_local(settings)
    why = (
        remote
        or next((f"{name} is set" for name in CLUSTER if name in environment), None)
        or (f"{ARGUMENTS} is set" if arguments else None)
        or (f"there is a spark-env.sh in {directory}" if script else None)
        or next((f"there is a {name} in {directory}" for name in _sites(directory)), None)
        or why_spark(settings)
    )
    return SparkSetup(settings, bool(remote or arguments or script or elsewhere), why)


def why_spark(settings: Mapping[str, str]) -> str | None:
    """Why settings ask for Spark: tasks would run elsewhere, paths without a scheme are not of this machine's disks, or
    somebody wants to know what Spark did."""
    for name in ("spark.remote", *WATCHED):
        if settings.get(name, "").strip():
            return f"{name} is {settings[name]}"
    if _is_connect(settings):
        return "spark.api.mode is connect"
    if not _is_local(settings):
        return f"spark.master is {settings['spark.master']}"
    for name in DEFAULT_FS:
        if not settings.get(name, "file:///").startswith("file:"):
            return f"{name} is {settings[name]}"
    logged = settings.get("spark.eventLog.enabled", "false")
    return None if logged.lower() == "false" else f"spark.eventLog.enabled is {logged}"


def _is_local(settings: Mapping[str, str]) -> bool:
    return local_master(settings.get("spark.master", "local")) is not None


def _is_connect(settings: Mapping[str, str]) -> bool:
    return settings.get("spark.api.mode", "classic").lower() != "classic"


def _connect(environment: Mapping[str, str]) -> str | None:
    """Whether a session is one of Spark Connect if nothing else is said, as PySpark decides it."""
    if environment.get("SPARK_API_MODE", "classic").lower() != "classic":
        return f"SPARK_API_MODE is {environment['SPARK_API_MODE']}"
    mode = environment.get("SPARK_CONNECT_MODE")
    if mode == "1" or (mode is None and importlib.util.find_spec("pyspark_connect") is not None):
        return "Spark Connect is this PySpark's default"
    return None


# ---- in a process of spark-submit


@functools.cache
def submitted() -> dict[str, str]:
    """What spark-submit was told, by arguments and by files, and the default file system that Hadoop makes of it.

    `SparkConf` in Python is empty before a session has been started: its JVM, which is there already, is asked.
    """
    from pyspark.java_gateway import launch_gateway

    gateway = launch_gateway()  # type: ignore[no-untyped-call]
    try:
        conf = gateway.jvm.SparkConf()
        settings = {pair._1(): pair._2() for pair in conf.getAll()}
        hadoop = gateway.jvm.org.apache.spark.deploy.SparkHadoopUtil.get().newConfiguration(conf)
        return {**settings, DEFAULT_FS[0]: hadoop.get("fs.defaultFS")}
    finally:
        gateway.close()


# ---- Spark's files


def _conf_directory(environment: Mapping[str, str]) -> str:
    """Where Spark's start looks for its files: of the Spark that is named, or of the one that is installed; a directory
    that is not there if none is."""
    if environment.get("SPARK_CONF_DIR"):
        return environment["SPARK_CONF_DIR"]
    home = environment.get("SPARK_HOME")
    if not home:
        spec = importlib.util.find_spec("pyspark")
        home = next(iter((spec and spec.submodule_search_locations) or [os.path.join(os.devnull, "spark")]))
        distribution = os.path.join(home, "spark-distribution")
        home = distribution if os.path.isdir(distribution) else home
    return os.path.join(home, "conf")


def _sites(directory: str) -> list[str]:
    """Settings of Hadoop and Hive."""
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith("-site.xml"))
    except OSError:
        return []


def _defaults(directory: str) -> Iterator[tuple[str, str]]:
    try:
        with open(os.path.join(directory, "spark-defaults.conf"), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return
    for key, value in properties(text):
        if key.startswith("spark."):
            yield key, value.strip()


def properties(text: str) -> Iterator[tuple[str, str]]:
    r"""Keys and values as Java reads them.

    >>> list(properties("# note\nspark.a  1\nspark.b = x \\\n  y\nspark.c: spark\\://h\\:7"))
    [('spark.a', '1'), ('spark.b', 'x y'), ('spark.c', 'spark://h:7')]
    """
    lines = iter(text.splitlines())
    for line in lines:
        line = line.lstrip()
        if not line or line[0] in "#!":
            continue
        while re.search(r"(?<!\\)(?:\\\\)*\\$", line):
            line = line[:-1] + next(lines, "").lstrip()
        found = re.match(r"((?:\\.|[^\\\s=:])*)\s*[=:]?\s*(.*)", line)
        assert found is not None, "it matches the empty text too"
        yield _unescaped(found[1]), _unescaped(found[2])


def _unescaped(text: str) -> str:
    named = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    code = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
    return code.sub(lambda match: chr(int(match[1], 16)) if match[1] else named.get(match[2], match[2]), text)
