"""Answers of tasks, made by hand: what is an error, what is warned of, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ClusterError
from pipeline.spark import handshake, witness
from pipeline.spark.agreement import REMEDY, agree, refused

HERE: dict[str, Any] = {
    "host": "driver",
    "python": "3.11.7",
    "byteorder": "little",
    "libraries": {"numba": "0.60.0", "numpy": "2.1.3", "pyarrow": "18.0.0"},
    "where": "/env/pipeline",
    "hash": "aa",
    "cpu": "znver3",
}


def task(host: str = "a", libraries: dict[str, str] | None = None, **said: Any) -> dict[str, Any]:
    return {**HERE, "host": host, **said, "libraries": {**HERE["libraries"], **(libraries or {})}}


def test_what_a_process_says_of_itself_agrees_with_itself() -> None:
    said = witness.testify({"hash": witness.package()["hash"], "places": [], "token": "t"})
    assert agree(witness.facts(), [said]) == []
    assert len(said["hash"]) == 64
    assert said["memory"][0] > 0


DIFFERENT = {
    "another graphsweep": (
        task(hash="bb", where="/old/pipeline"),
        "run another graphsweep than this process: its sources in /old/pipeline are not those in /env/pipeline",
    ),
    "none": (task(hash=None, where=None), "find no graphsweep (no module named 'pipeline')"),
    "no sources": (
        task(hash=None, where="/x/graphsweep.egg/pipeline"),
        "find graphsweep in /x/graphsweep.egg/pipeline, whose sources cannot be read",
    ),
    "another Python": (task(python="3.10.13", hash="bb"), "run Python 3.10.13, and this process Python 3.11.7"),
    "bytes the other way round": (
        task(byteorder="big"),
        "are on a big-endian machine, and this process is on a little-endian one",
    ),
    "no Numba": (
        task(libraries={"numba": "ModuleNotFoundError: No module named 'numba'"}),
        "cannot import what graphsweep needs (ModuleNotFoundError: No module named 'numba')",
    ),
    "no SciPy": (
        task(lacks="ModuleNotFoundError: No module named 'scipy'"),
        "cannot import what graphsweep needs (ModuleNotFoundError: No module named 'scipy')",
    ),
    "another Numba": (task(libraries={"numba": "0.59.1"}), "compile with Numba 0.59.1, and this process with 0.60.0"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_tasks_that_would_not_do_the_same(name: str) -> None:
    answer, text = DIFFERENT[name]
    with pytest.raises(ClusterError) as caught:
        agree(HERE, [task("b"), answer])
    assert str(caught.value) == f"the tasks on host a {text}: {REMEDY}"


def test_every_machine_is_counted_and_some_are_named() -> None:
    others = [task(f"h{number}", hash="bb") for number in (4, 3, 2, 1, 1)]
    with pytest.raises(ClusterError, match=r"^the tasks on 4 of 5 hosts \(h1, h2, h3, …\) run another graphsweep"):
        agree(HERE, [task("z"), *others])
    with pytest.raises(
        ClusterError, match=r"host h1 run .* in /x are not .*; the tasks on host h2 run .* in /y are not"
    ):
        agree(HERE, [task("h1", hash="bb", where="/x"), task("h2", hash="cc", where="/y")])


def test_sources_that_were_replaced_while_this_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts now runs the new ones."""
    monkeypatch.setattr(handshake, "package_hash", lambda: "before")
    said = witness.testify({"hash": "before", "places": [], "token": "t"})
    with pytest.raises(ClusterError, match="run another graphsweep than this process"):
        agree(handshake._here(), [said])


def test_this_process_without_sources() -> None:
    with pytest.raises(ClusterError, match=r"find graphsweep in /a.pyz/pipeline, whose sources cannot be read"):
        agree({**HERE, "hash": None}, [task(hash=None, where="/a.pyz/pipeline")])


def test_what_is_warned_of() -> None:
    assert agree(HERE, [task(libraries={"numba": "0.60.1", "numpy": "1.26.4"}), task("b", cpu="icelake-server")]) == [
        "the tasks on host a have numba 0.60.1, and this process 0.60.0: the last bits of results can depend on it",
        "the tasks on host a have numpy 1.26.4, and this process 2.1.3: the last bits of results can depend on it",
        "the machines have processors of 2 kinds (icelake-server, znver3): the last bits of a block's results depend "
        "on where it is computed. The same everywhere: spark.executorEnv.NUMBA_CPU_NAME = generic",
    ]


FAILED = "Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.7 executor 1): org.apache.spark.api.python.PythonException: {}"
FAILURES = {
    "pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker has different "
    "version: 3.10 than that in driver: 3.11, PySpark cannot run with different minor versions.":
        "run Python 3.10, and this process Python 3.11",
    "ModuleNotFoundError: No module named 'pyarrow'": "have no module pyarrow",
    "/usr/bin/python3: No module named pyspark": "have no module pyspark",
    "pyspark.errors.exceptions.base.PySparkImportError: [PACKAGE_NOT_INSTALLED] PyArrow >= 18.0.0 must be installed; "
    "however, it was not found.": "have no PyArrow >= 18.0.0",
    "[UNSUPPORTED_PACKAGE_VERSION] Pandas >= 2.2.0 must be installed; however, your version is 1.5.3.":
        "have an older version of a library (1.5.3); Spark needs Pandas >= 2.2.0",
    'java.io.IOException: Cannot run program "/env/bin/python": error=2, No such file or directory':
        "cannot start Python: there is no /env/bin/python",
    "org.apache.spark.SparkException:\nError from python worker:\n  libpython: not found\nPYTHONPATH was:\n  /x":
        "cannot start Python: libpython: not found",
}  # fmt: skip


@pytest.mark.parametrize("said", FAILURES)
def test_tasks_that_could_not_answer(said: str) -> None:
    error = refused(RuntimeError(FAILED.format(said)))
    assert isinstance(error, ClusterError)
    assert str(error) == f"the tasks on host 10.0.0.7 {FAILURES[said]}: {REMEDY}"


def test_another_failure_is_not_explained() -> None:
    assert refused(RuntimeError(FAILED.format("java.lang.OutOfMemoryError: Java heap space"))) is None
