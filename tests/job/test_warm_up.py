"""A warm-up compiles what a run will need: the worker's task adds nothing to the cache."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.job.warm_up import WarmUp
from tests.formulas import build

pytestmark = pytest.mark.slow

CODE = """
import os, pathlib, sys
from pipeline.blocks.columns import ROW_COLUMNS
from pipeline.result.output import OutputTable
from pipeline.plan.plan import Plan
from pipeline.job.warm_up import WarmUp
from pipeline import Graph, prepare
from pipeline.blocks.rows import array_rows, to_batches
from pipeline.run.stage import SEED, fused_worker
from pipeline.run.task import Run
from tests.formulas import build
from tests.whole import whole
import numpy as np

def compiled():
    return {str(file) for file in pathlib.Path(os.environ["NUMBA_CACHE_DIR"]).rglob("*.nbc")}

path, name = sys.argv[1:]
model = build(name)
warm_up = WarmUp(model)
warm_up.start()
warm_up.wait()
rehearsed = len(compiled())
tables = whole("mixed").nodes(), whole("mixed").edges()
graph = prepare(Graph(*tables, edge_features=["weight", "attr"], reverse=model.reads_reversed), path, blocks=1)
before = compiled()  # what this graph's edge columns took, which the model does not read, is none of the worker's
plan = Plan.of(model)
run = Run(plan, 1, (OutputTable.of(plan.program.outputs, "bigint", False),), graph.folder, known=graph.known)
seeds = list(to_batches(array_rows(0, 0, SEED, "", np.empty(0, np.uint8))))
rows = sum(batch.num_rows for batch in fused_worker(run)(iter(seeds)))
print(rehearsed, sorted(compiled() - before), rows > 0)
"""


@pytest.mark.parametrize("name", ["sage", "gat", "gcn_weighted", "both_ends"])
def test_a_worker_compiles_nothing_more(tmp_path: Path, name: str) -> None:
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path / "graph"), name],
        env=settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compiled, _, rest = done.stdout.strip().partition(" ")
    assert int(compiled) > 5
    assert rest == "[] True"


def test_a_failure_is_only_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("pipeline.run.fused.run_fused", lambda *_: 1 / 0)
    warm_up = WarmUp(build("sage"))
    warm_up.wait()  # not started: nothing to wait for
    with caplog.at_level(logging.DEBUG, "graphsweep"):
        warm_up.start()
        warm_up.wait()
    assert "the warm-up failed" in caplog.text
