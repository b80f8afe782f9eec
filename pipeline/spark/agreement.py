"""Whether the processes that run tasks can be trusted to compute what this process would: the same graphsweep, the same
Python, libraries that compile the same code.

Comes in: what this process and each task have said of themselves (witness.py), or the error of a task that could not
say anything. Goes out: one ClusterError with all machines and the remedy, or lines to warn of. Knows no Spark.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.errors import ClusterError
from pipeline.spark.failures import failed_host

Facts = Mapping[str, Any]
"""What `witness.testify` says."""

REMEDY = (
    "install the same wheel on every machine, or ship one environment with the job (spark-submit --archives "
    "env.tar.gz#env), and let PYSPARK_PYTHON point to its Python"
)
MOST_HOSTS = 3


def agree(here: Facts, tasks: Sequence[Facts]) -> list[str]:
    """Lines to warn of: what may change the last bits of a result, or nothing at all.

    Raises
    ------
    ClusterError
        If there is a machine whose tasks would fail, or would run other code than this process.
    """
    for differs in (_python, _package, _imports, _numba):
        found: dict[str, list[Facts]] = {}
        for task in tasks:
            text = differs(here, task)
            if text is not None:
                found.setdefault(text, []).append(task)
        if found:
            said = "; ".join(f"{_on_hosts(those, tasks)} {text}" for text, those in found.items())
            raise ClusterError(f"{said}: {REMEDY}")
    return [*_other_versions(here, tasks), *_other_processors(tasks)]


def agree_here(here: Facts, worker: Facts) -> None:
    """ClusterError, in the words of one machine, if the workers of a local session are not as this process is."""
    for differs in (_python, _package, _imports, _numba):
        text = differs(here, worker)
        if text is not None:
            remedy = "" if _is_other_module(worker) else _remedy_here()
            raise ClusterError(f"{WORKERS}, {worker['executable']}, {text}{remedy}")


def refused_here(error: Exception) -> ClusterError | None:
    """The same of a worker that failed before it could answer; None if that is no matter of what is installed."""
    known = _said(str(error))
    return None if known is None else ClusterError(f"{WORKERS} {known}{_remedy_here()}")


WORKERS = "the Python workers of this Spark session"


def _remedy_here() -> str:
    return (
        f'. Let them run the Python of this process: os.environ["PYSPARK_PYTHON"] = sys.executable before the session '
        f"is made, or PYSPARK_PYTHON={sys.executable} in the environment; this session has to be stopped first. "
        "Unless it is set, Spark takes the first python3 on the PATH"
    )


def _python(here: Facts, task: Facts) -> str | None:
    if task["byteorder"] != here["byteorder"]:
        return f"are on a {task['byteorder']}-endian machine, and this process is on a {here['byteorder']}-endian one"
    if _minor(task["python"]) != _minor(here["python"]):
        return f"run Python {task['python']}, and this process Python {here['python']}"
    return None


def _package(here: Facts, task: Facts) -> str | None:
    if task["hash"] == here["hash"] and task["hash"] is not None:
        return None
    if task["where"] is None:
        return "find no graphsweep (no module named 'pipeline')"
    if _is_other_module(task):
        return (
            f"take {task['where']} for graphsweep, whose package has that name too; rename that file, or start in "
            "another folder"
        )
    if task["hash"] is None:
        return f"find graphsweep in {task['where']}, whose sources cannot be read"
    return f"run another graphsweep than this process: its sources in {task['where']} are not those in {here['where']}"


def _is_other_module(task: Facts) -> bool:
    """Whether a module of the user's has the package's name."""
    return task["hash"] is None and str(task["where"]).endswith(".py")


def _imports(here: Facts, task: Facts) -> str | None:
    missing = next((text for text in task["libraries"].values() if not _is_version(text)), None) or task.get("lacks")
    return None if missing is None else f"cannot import what graphsweep needs ({missing})"


def _numba(here: Facts, task: Facts) -> str | None:
    there, ours = task["libraries"]["numba"], here["libraries"]["numba"]
    return None if _minor(there) == _minor(ours) else f"compile with Numba {there}, and this process with {ours}"


def _other_versions(here: Facts, tasks: Sequence[Facts]) -> list[str]:
    lines = []
    for library, ours in here["libraries"].items():
        others = [task for task in tasks if task["libraries"][library] != ours]
        if others:
            versions = ", ".join(sorted({task["libraries"][library] for task in others}))
            lines.append(
                f"{_on_hosts(others, tasks)} have {library} {versions}, and this process {ours}: the last bits of "
                f"results can depend on it"
            )
    return lines


def _other_processors(tasks: Sequence[Facts]) -> list[str]:
    kinds = sorted({task["cpu"] for task in tasks})
    if len(kinds) < 2:
        return []
    return [
        f"the machines have processors of {len(kinds)} kinds ({', '.join(kinds)}): the last bits of a block's results "
        f"depend on where it is computed. The same everywhere: spark.executorEnv.NUMBA_CPU_NAME = generic"
    ]


def refused(error: Exception) -> ClusterError | None:
    """What is said of a task that failed before it could answer; None if that is no matter of what is installed."""
    text = str(error)
    known = _said(text)
    if known is None:
        return None
    host = failed_host(text)
    return ClusterError(f"the tasks{f' on host {host}' if host else ''} {known}: {REMEDY}")


def _said(text: str) -> str | None:
    """What the error of a task says of what is installed where it ran."""
    for pattern, message in FAILURES:
        found = re.search(pattern, text)
        if found:
            return message.format(*found.groups())
    return None


FAILURES = (
    (r"PYTHON_VERSION_MISMATCH\S* Python in worker has different version: (\S+) than that in driver: ([\d.]+)",
     "run Python {0}, and this process Python {1}"),
    (r"No module named '?([\w.]+)'?", "have no module {0}"),
    (r"PACKAGE_NOT_INSTALLED\S* (\S+ >= \S+) must be installed", "have no {0}"),
    (r"UNSUPPORTED_PACKAGE_VERSION\S* (\S+ >= \S+) must be installed; however, your version is (\S+?)\.?(?:\s|$)",
     "have an older version of a library ({1}); Spark needs {0}"),
    (r'Cannot run program "([^"]+)"', "cannot start Python: there is no {0}"),
    (r"Error from python worker:\s*([^\n]+)", "cannot start Python: {0}"),
)  # fmt: skip


def _on_hosts(some: Iterable[Facts], tasks: Iterable[Facts]) -> str:
    """the tasks on host a; the tasks on 5 of 8 hosts (a, b, c, …)"""
    hosts, all_hosts = sorted({task["host"] for task in some}), {task["host"] for task in tasks}
    if len(hosts) == 1:
        return f"the tasks on host {hosts[0]}"
    named = ", ".join(hosts[:MOST_HOSTS]) + (", …" if len(hosts) > MOST_HOSTS else "")
    return f"the tasks on {len(hosts)} of {len(all_hosts)} hosts ({named})"


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _is_version(text: str) -> bool:
    return text[:1].isdigit()
