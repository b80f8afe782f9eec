"""graphsweep in a zip file on Python's path, as `spark-submit --py-files` puts it there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.spark.witness import package
from tests.formulas import build
from tests.whole import whole

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pipeline import Graph, infer
from pipeline.kernels.jit import cache_directory
from pipeline.spark.witness import package
assert ".zip" in package()["where"], package()
assert package()["hash"] == sys.argv[1], "the same sources have the same hash"
print(infer(Graph("nodes.parquet", "edges.parquet", edge_features=()), "model").num_rows)
print(sum(path.suffix == ".nbc" for path in cache_directory().parent.rglob("*")))
"""


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for source in sorted((ROOT / "pipeline").rglob("*.py")):
            file.write(source, source.relative_to(ROOT))
        file.write(ROOT / "graphsweep.py", "graphsweep.py")
    return path


def test_it_runs_and_keeps_what_it_compiles(tmp_path: Path) -> None:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    archive = zipped(tmp_path / "graphsweep.zip")
    environment = {**os.environ, "PYTHONPATH": str(archive), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", RUN, str(package()["hash"])]
    said = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    rows, kept = said[0]
    assert (rows, int(kept) > 3) == ("200", True)
    assert said[1] == said[0], "the second process found all that the first has compiled"
