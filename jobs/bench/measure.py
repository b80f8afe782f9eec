"""How bench.py measures: a run's seconds and memory, other processes, and the machine.

Comes in: functions and command lines. Goes out: numbers. Knows nothing of what is compared.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 0.2
PACKAGES = ("pyspark", "pyarrow", "pandas", "numpy", "numba", "torch", "torch_geometric")


@dataclass
class Usage:
    """What some processes have used."""

    peak_bytes: int = 0
    """Resident memory of all together; a page that two of them share counts twice."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Core-seconds of each kind of process: `jvm`, `workers` (Python below a JVM), `python` (the one that began)."""


@dataclass
class Result:
    """What a run tells of itself."""

    parts: dict[str, float] = field(default_factory=dict)
    """Seconds."""
    usage: Usage | None = None
    """Where it was another process. None: that of this process and all that it has started."""


@dataclass
class Run:
    """One timed run of one side."""

    what: str
    round: int
    seconds: float
    parts: dict[str, float]
    peak_bytes: int
    cpu: dict[str, float]
    load: float
    """The machine's load average of the last minute, when it began: what ran before is in it, and what others do."""
    max_difference: float | None = None
    """From the other side's output of the same round."""


def timed(what: str, round: int, work: Callable[[], Result]) -> Run:
    load = os.getloadavg()[0]
    with watched() as own:
        started = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started
    usage = result.usage or own
    say(f"round {round}: {what}: {seconds:.1f} s, {sum(usage.cpu.values()):.1f} core-seconds")
    return Run(what, round, seconds, result.parts, usage.peak_bytes, usage.cpu, load)


def keep(work: Path, name: str, about: Mapping[str, Any], runs: Sequence[Run], text: str) -> None:
    """Writes what was measured as JSON, and the text beside it."""
    raw = {**about, "runs": [asdict(run) for run in runs]}
    (work / f"{name}.json").write_text(json.dumps(raw, indent=1) + "\n")
    (work / f"{name}.md").write_text(text)


# ---- processes


def run_python(*arguments: Any, **environment: str) -> tuple[str, Usage]:
    """Runs this Python anew from the project's root, and returns what it printed and used."""
    return run_process(sys.executable, *arguments, **environment)


def run_process(*arguments: Any, **environment: str) -> tuple[str, Usage]:
    """The same for any command. SystemExit, with what it said, if it fails."""
    command = list(map(str, arguments))
    given: dict[str, Any] = {"cwd": ROOT, "env": as_installed(environment), "text": True}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given)
    with process, watched(process.pid) as usage:
        out, error = process.communicate()
    if process.returncode:
        raise SystemExit(f"{error}\nexit code {process.returncode}: {' '.join(command)}")
    return out, usage


def as_installed(more: Mapping[str, str]) -> dict[str, str]:
    """This environment, in which Python keeps its bytecode. A package that pip installed has it, as PyG has here; where
    the environment forbids it, each process would compile ours anew, 1.5 core-seconds."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | dict(more)


@contextmanager
def watched(pid: int | None = None) -> Iterator[Usage]:
    """What a process (this one) and all below it use meanwhile; final in the end. A peak between samples is missed."""
    watch, stop = _Watch(pid), threading.Event()
    usage = watch.usage

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            watch.look()

    thread = threading.Thread(target=sample, daemon=True)
    watch.look()
    thread.start()
    try:
        yield usage
    finally:
        stop.set()
        thread.join()
        watch.look()


class _Watch:
    """Adds up looks at a tree of processes, some of which end between two looks."""

    def __init__(self, pid: int | None):
        self.usage = Usage()
        self._root = psutil.Process(pid)
        self._before: dict[int, float] | None = None if pid is None else {}  # a new process has used nothing yet
        self._used: dict[int, tuple[str, float]] = {}

    def look(self) -> None:
        total, now = 0, {}
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:  # it has ended
            return
        for process in tree:
            try:
                with process.oneshot():
                    total += process.memory_info().rss
                    times = process.cpu_times()
                    now[process.pid] = (self._kind(process), times.user + times.system)
            except psutil.Error:
                continue
        if self._before is None:
            self._before = {pid: used for pid, (_, used) in now.items()}
        self._used |= now
        self.usage.peak_bytes = max(self.usage.peak_bytes, total)
        self.usage.cpu.clear()
        for pid, (kind, used) in self._used.items():
            self.usage.cpu[kind] = self.usage.cpu.get(kind, 0.0) + used - self._before.get(pid, 0.0)

    def _kind(self, process: psutil.Process) -> str:
        if process.name() == "java":  # spark-submit becomes one
            return "jvm"
        return "python" if process.pid == self._root.pid else "workers"


# ---- the machine


def machine() -> dict[str, Any]:
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "commit": commit(),
        "versions": {"python": platform.python_version(), "java": java_version(), **package_versions()},
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str | None:
    """Of the working tree, "-dirty" if more than documents differ from it; None outside of a checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        same = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", ".", ":!docs", ":!*.md"], cwd=ROOT, check=False)
    except OSError:
        return None
    if found.returncode:
        return None
    return found.stdout.strip() + ("-dirty" if same.returncode else "")


def java_version() -> str | None:
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    except OSError:
        return None
    return said.partition("\n")[0] or None


def package_versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
