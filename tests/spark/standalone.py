"""A real standalone cluster on this machine: master and two workers of one core each, started from the pyspark wheel.

Every test that takes the fixture `standalone` (tests/conftest.py) gets the same one, which the first of them starts
(4 s), and the end of the test session kills. A test asks the master afterwards what it has run:

    def test_something(standalone, tmp_path):
        done = standalone.submit("infer", "--graph", graph, "--model", model, "--output", tmp_path / "out")
        assert done.returncode == 0, done.stdout
        assert standalone.applications()[-1].tasks > 0

For workers with another disk or another environment start a cluster of your own: `with cluster(directory, ...) as own`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyspark

ROOT = Path(__file__).parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
QUIET = {
    "spark.ui.enabled": "false",
    "spark.log.level": "ERROR",
    "spark.driver.memory": "512m",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.executor.memory": "512m",
    "spark.sql.shuffle.partitions": "2",
}


@dataclass(frozen=True)
class Application:
    """What a master says of an application that it has run, and the logs of its executors."""

    id: str
    name: str
    state: str
    cores: int
    tasks: int
    """That executors have finished."""
    executors: frozenset[str]
    """Those that have finished some."""


@dataclass(frozen=True)
class Standalone:
    """A cluster that runs."""

    master: str
    """spark://127.0.0.1:7077, but for the port."""
    page: str
    directory: Path
    """Logs of master, workers and executors."""

    def submit(
        self,
        job: str | Path,
        *arguments: object,
        master: str | None = None,
        conf: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """A spark-submit of jobs/<job>.py, or of a file, to this cluster."""
        script = job if isinstance(job, Path) else ROOT / "jobs" / f"{job}.py"
        given = ["--master", master or self.master, *options, *_settings(conf)]
        return submitted(given, script, *arguments, environment=environment, cwd=cwd)

    def begin(self, job: str, *arguments: object, conf: Mapping[str, str]) -> subprocess.Popen[str]:
        """The same for who does not wait; the caller ends it, with `kill` if need be."""
        return _begun(["--master", self.master, *_settings(conf)], ROOT / "jobs" / f"{job}.py", arguments)

    def applications(self) -> list[Application]:
        """That have ended, in the order in which they started."""
        with urllib.request.urlopen(f"{self.page}/json/", timeout=10) as answer:
            said = json.load(answer)
        done = sorted(said["completedapps"], key=lambda one: one["id"])
        return [self._application(one) for one in done]

    def _application(self, said: Mapping[str, Any]) -> Application:
        finished = {}
        for log in self.directory.glob(f"work*/{said['id']}/*/stderr"):  # executor's number
            finished[log.parent.name] = log.read_text(errors="replace").count(" INFO Executor: Finished task ")
        worked = frozenset(executor for executor, tasks in finished.items() if tasks)
        return Application(said["id"], said["name"], said["state"], said["cores"], sum(finished.values()), worked)


def submitted(
    options: Sequence[str],
    script: Path,
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """A script by the wheel's spark-submit; what it and Spark say is in stdout."""
    process = _begun(options, script, arguments, environment, cwd)
    try:
        said, _ = process.communicate(timeout=600)
    except BaseException:
        kill(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def _begun(
    options: Sequence[str],
    script: Path,
    arguments: Sequence[object],
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(SPARK_HOME / "bin" / "spark-submit"), *options, str(script), *map(str, arguments)],
        env={**python_environment(), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=die_with_us,
    )


def _settings(conf: Mapping[str, str] | None) -> list[str]:
    settings = {**QUIET, **(conf or {})}
    return [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]


def python_environment() -> dict[str, str]:
    """This Python and this checkout for driver and workers; nothing of the tests' own Spark."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    return {
        **kept,
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


@contextmanager
def cluster(directory: Path, workers: Sequence[Sequence[str]] = ((), ()), memory: str = "1g") -> Iterator[Standalone]:
    """A master and workers of one core each, which are gone afterwards, whatever happens.

    Parameters
    ----------
    workers : sequence of commands
        For each worker what it is started by: () plainly; ("unshare", "-m", "sh", script) with disks of its own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, page = free_port(), free_port()
    found = Standalone(f"spark://127.0.0.1:{port}", f"http://127.0.0.1:{page}", directory)
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, main: str, *arguments: str, by: Sequence[str] = ()) -> None:
        with open(directory / f"{name}.log", "wb") as log:
            command = [*by, str(SPARK_HOME / "bin" / "spark-class"), f"org.apache.spark.deploy.{main}", *arguments]
            environment = {
                **python_environment(),
                "SPARK_HOME": str(SPARK_HOME),
                "SPARK_DAEMON_MEMORY": "256m",
                "SPARK_LOCAL_DIRS": str(directory / "local"),
            }
            processes.append(
                subprocess.Popen(
                    command, env=environment, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_us
                )
            )

    try:
        start("master", "master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))
        for number, by in enumerate(workers):
            place = ["--host", "127.0.0.1", "--port", str(free_port()), "--webui-port", str(free_port())]
            room = ["--cores", "1", "--memory", memory, "--work-dir", str(directory / f"work{number}")]
            start(f"worker{number}", "worker.Worker", *place, *room, found.master, by=by)
        _wait_for(found, len(workers), processes)
        yield found
    finally:
        for process in processes:
            kill(process)


def _wait_for(found: Standalone, workers: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until the master knows all workers. In its first moments it answers with another page, or not at all."""
    deadline = time.monotonic() + 180  # 4 s on a quiet machine
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        with suppress(OSError, ValueError), urllib.request.urlopen(f"{found.page}/json/", timeout=5) as answer:
            if json.load(answer)["aliveworkers"] == workers:
                return
        time.sleep(0.1)
    logs = "\n".join(f"{file.name}:\n{file.read_text()[-2000:]}" for file in found.directory.glob("*.log"))
    raise RuntimeError(f"the cluster did not start\n{logs}")


def kill(process: subprocess.Popen[Any]) -> None:
    """With its children: executors and their Python workers have process groups of their own."""
    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def die_with_us() -> None:
    """In the child: should the tests themselves be killed, Linux kills it too (PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
