"""A real HDFS on this machine: Hadoop's own MiniDFSCluster, a name node and a data node in one JVM.

What comes in: a directory. Goes out: an address, and folders that a test looks at. Its classes are 57 MB from
Maven Central, which stay in the user's cache; the rest are those of Spark. `Unreachable` where nobody answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pyarrow.fs as fs

from pipeline.places.filesystem import opened
from pipeline.places.place import Place
from tests.packages import Unreachable, no_answer
from tests.spark.standalone import SPARK_HOME, die_with_us, kill

CACHE = platformdirs.user_cache_path("graphsweep-tests") / "hdfs"
JARS = SPARK_HOME / "jars"
SPARKS = "org.apache.hadoop:hadoop-client-api,org.apache.hadoop:hadoop-client-runtime"
JUNIT = "org.junit.jupiter:junit-jupiter-api:5.11.4"  # MiniDFSCluster is a part of Hadoop's tests
SMALL = ("-Xmx300m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class Folder:
    """A folder there; of the same form as s3.Bucket."""

    address: str
    name: str

    def __truediv__(self, path: str) -> str:
        return f"hdfs://{self.address}{self.name}/{path}"

    @property
    def store(self) -> fs.FileSystem:
        found = opened(Place.of(f"hdfs://{self.address}/"))
        assert found is not None
        return found.filesystem

    def put(self, path: str, content: bytes) -> None:
        self.store.create_dir(f"{self.name}/{path}".rpartition("/")[0])
        with self.store.open_output_stream(f"{self.name}/{path}") as stream:
            stream.write(content)

    def names(self) -> list[str]:
        """Of all files."""
        found = self.store.get_file_info(fs.FileSelector(self.name, recursive=True))
        return sorted(info.path.removeprefix(f"{self.name}/") for info in found if info.is_file)


@contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """host:port of its name node."""
    command = ["java", *SMALL, "-cp", f"{_jars()}/*:{JARS}/*", "org.apache.hadoop.test.MiniDFSClusterManager"]
    command += ["-datanodes", "1", "-format", "-nnport", "0", "-writeDetails", str(directory / "details.json")]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdout=log, stderr=log, start_new_session=True, preexec_fn=die_with_us
        )
    try:
        yield f"127.0.0.1:{_port(directory, process)}"
    finally:
        kill(process)


def _port(directory: Path, process: subprocess.Popen[bytes]) -> int:
    """As soon as it is known: then all nodes are up."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            port: int = json.loads((directory / "details.json").read_text())["namenode_port"]
            return port
        except (OSError, ValueError):
            time.sleep(0.1)
    raise RuntimeError(f"HDFS did not start\n{(directory / 'log').read_text()[-5000:]}")


def _jars() -> Path:
    """Of Spark's own version of Hadoop, by Spark's Ivy: a folder."""
    version = next(JARS.glob("hadoop-client-api-*.jar")).stem.removeprefix("hadoop-client-api-")
    folder = CACHE / version
    if not (folder / "done").exists():
        packages = f"org.apache.hadoop:hadoop-client-minicluster:{version},{JUNIT}"
        given = ["--packages", packages, "--exclude-packages", SPARKS, "--conf", f"spark.jars.ivy={folder}"]
        command = [str(SPARK_HOME / "bin" / "spark-submit"), *given, "--class", "org.apache.hadoop.util.VersionInfo"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
        done = subprocess.run(
            [*command, "spark-internal"], env=environment, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        if no_answer(said):
            raise Unreachable(f"Maven Central cannot be reached, where HDFS comes from: {no_answer(said)}")
        assert done.returncode == 0, said[-5000:]
        (folder / "done").touch()
    return folder / "jars"
