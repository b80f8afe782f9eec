"""A Spark Connect server in a process of its own, with Python workers of its own; a test has nothing but a client.

with connect_server(directory) as url:
    spark = SparkSession.builder.remote(url).getOrCreate()
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyspark.errors import AnalysisException

from tests.spark.standalone import SPARK_HOME, die_with_us, free_port, kill, python_environment

# What serverless compute of Databricks lets a client see and change, by its documentation.
ALLOWED = (
    "spark.sql.ansi.enabled",
    "spark.sql.files.maxPartitionBytes",
    "spark.sql.session.timeZone",
    "spark.sql.shuffle.partitions",
)
# A home that cannot be made, and nothing that says where compiled code could be kept.
NO_HOME = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none/cache"}
WORKER_BYTES = 1 << 30


@contextmanager
def as_serverless(session: Any) -> Iterator[None]:
    """Settings as a client of serverless compute finds them: asking for another one fails, even with a default."""
    conf = type(session.conf)
    own = {name: getattr(conf, name) for name in ("get", "set", "unset", "isModifiable")}

    def refusing(name: str) -> Any:
        def asked(self: Any, key: str, *given: Any) -> Any:
            ours = not sys._getframe(1).f_globals["__name__"].startswith("pyspark.")  # it has settings of its own
            if ours and key not in ALLOWED:
                raise AnalysisException(f"[CONFIG_NOT_AVAILABLE] Configuration {key} is not available. SQLSTATE: 42K0I")
            return own[name](self, key, *given)

        return asked

    with pytest.MonkeyPatch.context() as patch:
        for name in own:
            patch.setattr(conf, name, refusing(name))
        yield


def most_memory(server: int) -> int:
    """Bytes that the largest Python worker below a process has had at once."""
    most = 0
    for process in psutil.Process(server).children(recursive=True):
        with suppress(psutil.NoSuchProcess, OSError):
            if "python" in process.name():
                status = Path(f"/proc/{process.pid}/status").read_text()
                found = re.search(r"VmHWM:\s+(\d+) kB", status)
                most = max(most, int(found[1]) << 10 if found else 0)
    return most


@contextmanager
def connect_server(directory: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """Where it answers: sc://127.0.0.1:15002, but for the port. It is gone afterwards, whatever happens.

    Parameters
    ----------
    settings
        Of the server's Spark, which a client cannot change.
    """
    port, log = free_port(), directory / "connect.log"
    bound = {"spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": str(port)}
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", "local[2]"]
    command += [part for key, value in {**bound, **settings}.items() for part in ("--conf", f"{key}={value}")]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**python_environment(), **NO_HOME},
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_us,
        )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"the server did not start\n{log.read_text()[-4000:]}")
        yield f"sc://127.0.0.1:{port}"
        if sys.platform == "linux":
            assert 0 < most_memory(process.pid) < WORKER_BYTES, "a worker of serverless compute has 1 GB"
    finally:
        kill(process)
