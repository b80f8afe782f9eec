"""The disk where Spark shuffles is full: one error that says where, and nothing half written; with room, the same bits.

In a session of its own, in a process of its own: where Spark shuffles is decided when its JVM starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, prepare, score
from tests.formulas import build
from tests.places.small_disk import small_disk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_session")]

SCRIPT = """
import sys
from pyspark.sql import SparkSession
from pipeline.cli import main
at = sys.argv[1]
builder = SparkSession.builder.master("local[2]").config("spark.local.dir", at + "/small")
for name, value in [("ui.enabled", "false"), ("log.level", "OFF"), ("driver.memory", "700m"),
                    ("shuffle.compress", "false"), ("driver.host", "127.0.0.1"), ("driver.bindAddress", "127.0.0.1")]:
    builder = builder.config("spark." + name, value)
spark = builder.getOrCreate()
for turn in range(2):
    print("turn", flush=True)
    sys.stdin.readline()
    try:
        main(["infer", "--graph", at + "/graph", "--model", at + "/sage", "--output", at + "/o", "--overwrite",
              "--tier", "distributed", "--conf", at + "/shuffle.toml", "--quiet"])
    except SystemExit as end:
        print("code", end.code or 0, flush=True)
spark.stop()
"""


def test_where_spark_shuffles(tmp_path: Path) -> None:
    count = 20_000
    x = pa.array([[1.0] * 6] * count, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": range(count), "x": x}), tmp_path / "nodes.parquet")
    ends = {"src": range(count), "dst": [*range(7, count), *range(7)]}
    pq.write_table(pa.table(ends), tmp_path / "edges.parquet")
    tables = Graph.of_files(str(tmp_path / "nodes.parquet"), str(tmp_path / "edges.parquet"))
    assert tables is not None
    graph = prepare(tables, tmp_path / "graph", blocks=4)
    score(graph, build("gat"), tmp_path / "o")
    score(graph, build("sage"), tmp_path / "fused")
    build("sage").save(tmp_path / "sage")
    (tmp_path / "shuffle.toml").write_text('transport = "shuffle"')
    old = pq.read_table(tmp_path / "o")
    with small_disk(tmp_path / "small", "200k") as disk:
        environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "turn\n"
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "code 2\n"
            assert pq.read_table(tmp_path / "o").equals(old)
            subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
            process.stdin.write("\n")
            process.stdin.flush()
            out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert out.endswith("code 0\n")
    (said,) = (line for line in errors.splitlines() if line.startswith("graphsweep: "))
    assert said.startswith("graphsweep: a disk is full on ")
    assert (
        ": that of spark.local.dir (or SPARK_LOCAL_DIRS), where Spark shuffles, as `df` there shows; make room" in said
    )
    found, want = (pq.read_table(tmp_path / name).sort_by("id") for name in ("o", "fused"))
    assert found.equals(want)
    others = {"nodes.parquet", "edges.parquet", "graph", "fused", "o", "sage", "shuffle.toml", "small"}
    assert set(os.listdir(tmp_path)) == others
