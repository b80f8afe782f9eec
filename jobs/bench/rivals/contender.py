"""One contender in a process of its own: it fails alone, is stopped when its time is over, and takes all memory along.

Comes in: a name, a Task. Goes out: an Outcome, whatever happens. Knows nothing of what is done in there, which is in
work.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from jobs.bench.measure import ROOT, Run, as_installed, say
from jobs.bench.rivals.spark import FASTEST

LOOK_SECONDS = 0.5
DISK_LEFT, MEMORY_LEFT = 5 << 30, 1 << 30  # who leaves less to the machine is stopped, before the system chooses whom


@dataclass(frozen=True)
class Task:
    """What a contender is to do, and where."""

    graph: str
    work: str
    nodes: int
    edges: int
    model: str = "sage"
    """sage or wide, of jobs/bench/pyg.py."""
    blocks: int = 8
    form: str = FASTEST
    """Of spark.py."""
    seeds: int = 0
    """Nodes that k-hop neighbourhoods are cut for, four batches at least; the time of all is reckoned from that. 0, or
    more than there are: all."""
    split: bool = False
    """Two more runs of ours, for the parts of its time."""

    @property
    def models(self) -> Path:
        return Path(self.work, "models", Path(self.graph).name)

    @property
    def weights(self) -> Path:
        return self.models / f"{self.model}.safetensors"

    @property
    def prepared(self) -> Path:
        return Path(self.work, "prepared", Path(self.graph).name)

    def output(self, name: str) -> Path:
        return Path(self.work, "outputs", f"{name}-{self.model}".replace(" ", "-"))


@dataclass
class Outcome:
    """What became of it."""

    name: str
    run: Run | None = None
    shuffled: int | None = None
    """Bytes that its tasks wrote for others, in Spark's own count. None: there is no Spark."""
    seeds: int | None = None
    """Nodes that were scored, where it was not all of them: `run` is what these took."""
    whole: float | None = None
    """Seconds for all nodes: those of `run`, or reckoned from it."""
    failed: str | None = None
    """Why there is no run."""


def contend(name: str, task: Task, round: int, limit: float) -> Outcome:
    """Runs a contender anew; never raises for what happens in there. `limit`: seconds, warming up included."""
    scratch = Path(task.work, "scratch", name.replace(" ", "-"))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "jobs.bench.rivals.work",
        name,
        json.dumps(asdict(task)),
        str(round),
    ]
    # workers import jobs.* from where the process was started
    places = {"SPARK_LOCAL_DIRS": str(scratch), "PYSPARK_PYTHON": sys.executable}
    try:
        with open(scratch / "out", "w+") as out, open(scratch / "error", "w+") as error:
            process = subprocess.Popen(command, cwd=ROOT, env=as_installed(places), stdout=out, stderr=error)
            try:
                stopped = wait(process, limit, scratch)
            finally:
                end(process.pid)
                code = process.wait()
            out.seek(0)
            error.seek(0)
            said, complaints = out.read().splitlines(), error.read().strip().splitlines()
        if stopped or code:
            outcome = Outcome(name, failed=stopped or f"failed: {reason(complaints)}")
            say(f"round {round}: {name}: {outcome.failed}")
            return outcome
        for line in complaints:
            if line.startswith("round "):
                say(line)
        found = json.loads(said[-1])
        return Outcome(**{**found, "run": Run(**found["run"])})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def wait(process: subprocess.Popen[bytes], limit: float, scratch: Path) -> str | None:
    """Until it ends, or why it must not go on."""
    started = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - started > limit:
            return f"gave up after {limit:.0f} s"
        if shutil.disk_usage(scratch).free < DISK_LEFT:
            return f"gave up after {time.monotonic() - started:.0f} s: the disk is full"
        if psutil.virtual_memory().available < MEMORY_LEFT:
            return f"gave up after {time.monotonic() - started:.0f} s: the memory is full"
        time.sleep(LOOK_SECONDS)
    return None


def end(pid: int) -> None:
    """A process and all below it: a JVM does not end with the Python that started it."""
    try:
        root = psutil.Process(pid)
        tree = [*root.children(recursive=True), root]
    except psutil.Error:
        return
    for process in tree:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs([process for process in tree if process.pid != pid], timeout=10)


def reason(complaints: list[str]) -> str:
    """The line of a traceback that says most."""
    telling = [line for line in complaints if "Error" in line or "Exception" in line]
    return (telling or complaints or ["without a word"])[-1].strip()[:200]
