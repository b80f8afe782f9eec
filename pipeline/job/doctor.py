"""`doctor`: whether everything that runs need is there, here and where tasks run, each with what to change.

Comes in: the entry point's ways to Spark, and paths that all machines should share. Goes out: a line for each thing
that was looked at. Runs one small job; reads no table, and leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import GraphsweepError, first_line
from pipeline.job.sessions import Sessions
from pipeline.kernels.checksum import LANES, add_words
from pipeline.kernels.jit import cache_directory, is_kept
from pipeline.places.place import Place
from pipeline.settings import Settings
from pipeline.shown import size
from pipeline.spark import probe, witness
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.resources import local_memory
from pipeline.spark.session import setting

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OK, WARN, FAIL = "ok", "warn", "fail"
LITTLE = 1 << 30
"""Bytes of memory, or of a disk, below which all but small graphs will not do."""


@dataclass(frozen=True)
class Finding:
    """Of one thing."""

    name: str
    outcome: str
    """ok; warn: runs work, with less; fail: they do not."""
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:<5}{self.name:<9}{self.found}" + (f". {self.remedy}" if self.remedy else "")


@dataclass(frozen=True)
class Diagnosis:
    """Of everything."""

    findings: tuple[Finding, ...]

    @property
    def failed(self) -> bool:
        return any(each.outcome == FAIL for each in self.findings)

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {"checks": [asdict(each) for each in self.findings]}

    def __str__(self) -> str:
        return "\n".join(map(str, self.findings))


def diagnose(
    paths: Sequence[str],
    settings: Settings,
    sessions: Sessions,
    pyspark: Callable[[], None],
    java: Callable[[], None],
) -> Diagnosis:
    """Looks at everything.

    Parameters
    ----------
    paths
        That runs will read and write, as folders: tasks are asked what they see there.
    pyspark, java
        Raise if there is none that can be used.

    Raises
    ------
    SettingError
        If a path names no place.
    """
    for path in paths:
        Place.of(path)
    return Diagnosis((*_here(settings), *_spark(paths, settings, sessions, pyspark, java)))


# ---- this process


def _here(settings: Settings) -> Iterator[Finding]:
    facts = witness.facts()
    lacks = [text for text in facts["libraries"].values() if not text[:1].isdigit()]
    versions = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    yield Finding(
        "python",
        FAIL if lacks else OK,
        f"{facts['python']} ({sys.executable}), {versions}",
        "Install graphsweep with all that it needs: pip install graphsweep" if lacks else "",
    )
    yield _compiler()
    yield _plenty("memory", local_memory(), "for a run on this machine", "Give the machine or the container more")
    scratch = settings.scratch or tempfile.gettempdir()
    if os.path.isdir(scratch):
        free = shutil.disk_usage(scratch).free
        yield _plenty("scratch", free, f"free in {scratch}", 'Set "scratch", or TMPDIR, to a folder on a larger disk')


def _compiler() -> Finding:
    started = time.perf_counter()
    try:
        add_words(np.zeros(LANES, np.uint32), np.zeros(LANES, np.uint32))
    except Exception as error:
        return Finding("kernels", FAIL, f"Numba does not compile: {first_line(error)}", "Install Numba again")
    where, seconds = cache_directory(), time.perf_counter() - started
    if not is_kept(where):
        return Finding(
            "kernels",
            WARN,
            f"compiled code is not kept, there is no folder for it that only this user can write ({where} is removed)",
            "Each process compiles again, for half a minute: set NUMBA_CACHE_DIR to a folder on a local disk",
        )
    return Finding("kernels", OK, f"compiled code is kept in {where} (one took {seconds:.1f} s)")


def _plenty(name: str, bytes: int, what: str, remedy: str) -> Finding:
    little = bytes < LITTLE
    return Finding(name, WARN if little else OK, f"{size(bytes)} {what}", remedy if little else "")


# ---- Spark, and where its tasks run


def _spark(
    paths: Sequence[str],
    settings: Settings,
    sessions: Sessions,
    pyspark: Callable[[], None],
    java: Callable[[], None],
) -> Iterator[Finding]:
    optional = sessions.optional()
    for name, check in (("pyspark", pyspark), ("java", java)):
        if not optional and name == "java":  # a session is there, or is made elsewhere
            continue
        try:
            check()
        except GraphsweepError as error:
            alone = "; what this machine can do alone works without" if optional else ""
            yield Finding(name, WARN if optional else FAIL, f"{error}{alone}")
            yield from _storage(paths, handshake(None))
            return
        yield Finding(name, OK, "is there")
    try:
        with sessions.start(True, None) as spark:
            master = setting(spark, "spark.master") or "Spark Connect"
            yield Finding("spark", OK, f"{spark.version} ({master})")
            yield from _tasks(spark, paths, settings)
    except GraphsweepError as error:
        yield Finding("spark", FAIL, str(error))
    except Exception as error:  # of Java, of py4j, of PySpark
        yield Finding("spark", FAIL, f"no session can be made: {first_line(error)}", "--verbose shows all of it")


def _tasks(spark: SparkSession, paths: Sequence[str], settings: Settings) -> Iterator[Finding]:
    probes = [Probe(f"{path.rstrip('/')}/{uuid.uuid4().hex}", made=True) for path in paths]
    try:
        shake = handshake(spark, () if _unwritable(paths) else probes)
    except GraphsweepError as error:
        yield Finding("workers", FAIL, str(error))
        return
    where = "on this machine" if shake.local else "at once"
    tasks = f"{shake.tasks} task{'' if shake.tasks == 1 else 's'}"
    yield Finding("workers", OK, f"{tasks} {where}, the same graphsweep and Python")
    enough = "Set spark.executor.memoryOverhead, which is where Python's memory comes from"
    yield _plenty("memory", settings.task_memory or shake.task_memory, "for the Python worker of a task", enough)
    yield from _storage(paths, shake, [each.path for each in probes])


def _storage(paths: Iterable[str], shake: Handshake, probed: Sequence[str] = ()) -> Iterator[Finding]:
    for number, path in enumerate(paths):
        why = _unwritable([path])
        if why is not None:
            yield Finding("storage", FAIL, why, "Give a folder that is there, and that you may write")
        elif shake.local:
            yield Finding("storage", OK, f"{path}: can be written")
        else:
            try:
                shake.require_written(probed[number], "mount the same folder on all machines, or take an object store")
            except GraphsweepError as error:
                yield Finding("storage", FAIL, str(error))
            else:
                yield Finding("storage", OK, f"{path}: all tasks see it, and can write there")


def _unwritable(paths: Iterable[str]) -> str | None:
    """Why this process cannot write into one of some folders; None if it can."""
    try:
        for path in paths:
            with probe.prepared([Probe(f"{path.rstrip('/')}/x", made=True)], uuid.uuid4().hex) as asked:
                if asked[0]["path"].rstrip("/") != probe.rooted(path).rstrip("/"):
                    return f"{path}: no such folder"
    except GraphsweepError as error:
        return str(error)
    return None
