"""`spark-submit --py-files graphsweep.zip`, where no machine has graphsweep installed."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.formulas import build
from tests.kernels.test_zipped import zipped
from tests.spark.standalone import ROOT, Standalone
from tests.whole import whole

pytestmark = pytest.mark.slow


def test_a_zip_file_is_enough(standalone: Standalone, tmp_path: Path) -> None:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    script = tmp_path / "infer.py"
    script.write_bytes((ROOT / "jobs" / "infer.py").read_bytes())
    archive = zipped(tmp_path / "graphsweep.zip")
    paths = {name: str(tmp_path / f"{name}.parquet") for name in ("nodes", "edges")}
    arguments = ["--nodes", paths["nodes"], "--edges", paths["edges"], "--model", tmp_path / "model"]
    done = standalone.submit(
        script,
        *(*arguments, "--output", "scores", "--tier", "distributed"),
        options=["--py-files", str(archive)],
        conf={"spark.executorEnv.PYTHONPATH": ""},
        environment={"PYTHONPATH": ""},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "2 tasks at once on 1 host" in done.stdout
    assert pq.read_table(tmp_path / "scores").num_rows == 200
