"""How bench.py measures: a run's seconds and memory, other processes, and the machine.

Comes in: functions and command lines. Goes out: numbers. Knows nothing of what is compared.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
SAMPLE_SECONDS = 0.1
PACKAGES = ("pyspark", "pyarrow", "pandas", "numpy", "numba", "torch", "torch_geometric")


@dataclass
class Result:
    """What a run tells of itself."""

    parts: dict[str, float] = field(default_factory=dict)
    """Seconds."""
    peak_bytes: int | None = None
    """Where it was another process. None: that of this process and all that it has started."""


@dataclass
class Run:
    """One timed run of one side."""

    what: str
    round: int
    seconds: float
    parts: dict[str, float]
    peak_bytes: int
    """Resident memory of all its processes together; a page that two of them share counts twice."""
    load: float
    """The machine's load average of the last minute, when it began: what ran before is in it, and what others do."""
    max_difference: float | None = None
    """From the other side's output of the same round."""


def timed(what: str, round: int, work: Callable[[], Result]) -> Run:
    load = os.getloadavg()[0]
    with peak_memory() as peak:
        started = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - started
    memory = peak[0] if result.peak_bytes is None else result.peak_bytes
    say(f"round {round}: {what}: {seconds:.1f} s")
    return Run(what, round, seconds, result.parts, memory, load)


# ---- processes


def run_python(*arguments: Any, **environment: str) -> tuple[str, int]:
    """Runs this Python anew from the project's root, and returns what it printed and its peak memory.

    SystemExit, with what it said, if it fails.
    """
    command = [sys.executable, *map(str, arguments)]
    given: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **environment}, "text": True}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given)
    with process, peak_memory(process.pid) as peak:
        out, error = process.communicate()
    if process.returncode:
        raise SystemExit(f"{error}\nexit code {process.returncode}: {' '.join(command)}")
    return out, peak[0]


@contextmanager
def peak_memory(pid: int | None = None) -> Iterator[list[int]]:
    """One number, final in the end: resident bytes of a process (this one) and of all below it, sampled."""
    peak, stop = [0], threading.Event()

    def sample() -> None:
        while True:
            peak[0] = max(peak[0], resident(pid))
            if stop.wait(SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def resident(pid: int | None) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:  # it has ended
        return 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


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
    """Of the working tree; None outside of a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return None
    return found.stdout.strip() or None


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
