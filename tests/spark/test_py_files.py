"""Where no machine has graphsweep installed: --py-files with a zip of its sources, --archives with an environment."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.formulas import build
from tests.kernels.test_zipped import zipped
from tests.spark.standalone import ROOT, Standalone
from tests.whole import whole

pytestmark = pytest.mark.slow


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """Of `infer`, run in `tmp_path`."""
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    (tmp_path / "infer.py").write_bytes((ROOT / "jobs" / "infer.py").read_bytes())
    paths = [part for name in ("nodes", "edges") for part in (f"--{name}", tmp_path / f"{name}.parquet")]
    return [*paths, "--model", tmp_path / "model", "--output", "scores", "--tier", "distributed"]


def test_a_zip_file_is_enough(standalone: Standalone, tmp_path: Path, arguments: list[object]) -> None:
    archive = zipped(tmp_path / "graphsweep.zip")
    done = standalone.submit(
        tmp_path / "infer.py",
        *arguments,
        options=["--py-files", str(archive)],
        conf={"spark.executorEnv.PYTHONPATH": ""},
        environment={"PYTHONPATH": ""},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "2 tasks at once on 1 host" in done.stdout
    assert pq.read_table(tmp_path / "scores").num_rows == 200


def test_a_packed_environment(standalone: Standalone, tmp_path: Path, arguments: list[object]) -> None:
    """As venv-pack makes one, but for the libraries, which are those of this machine: a gigabyte with torch. Executors
    have no other way to graphsweep than the Python that they unpack; where there is none, they cannot start one
    (tests/spark/test_executors.py)."""
    place = tmp_path / "packed"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    shutil.copytree(ROOT / "pipeline", packages / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    with tarfile.open(tmp_path / "env.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(place, ".")
    shutil.rmtree(place)
    done = standalone.submit(
        tmp_path / "infer.py",
        *arguments,
        options=["--archives", f"{tmp_path}/env.tar.gz#env"],
        conf={
            "spark.pyspark.python": "./env/bin/python",
            "spark.pyspark.driver.python": sys.executable,
            "spark.executorEnv.PYTHONPATH": "",
        },
        environment={"PYSPARK_PYTHON": "./env/bin/python"},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "2 tasks at once on 1 host" in done.stdout
    assert pq.read_table(tmp_path / "scores").num_rows == 200
