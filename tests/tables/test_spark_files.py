"""Tables whose files only Spark sees: the same rule, by what Spark lists.

The scheme `viewfs` is one that Python cannot open; here it leads to this machine's disk.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tables.test_all_ways import edge_table, node_table, parquet, text

pytestmark = pytest.mark.slow

CODE = """
import json, os, sys
from pyspark.sql import SparkSession
from pipeline import Graph, open_graph, prepare
from pipeline.errors import GraphsweepError

root, work, cases = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
settings = {
    "spark.hadoop.fs.viewfs.mounttable.lake.link./t": f"file://{root}",
    "spark.ui.enabled": "false", "spark.log.level": "OFF", "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1", "spark.ui.showConsoleProgress": "false",
}
builder = SparkSession.builder.master("local[2]")
for key, value in settings.items():
    builder = builder.config(key, value)
spark = builder.getOrCreate()
for name, (nodes, edges) in cases.items():
    try:
        graph = Graph.read(spark, f"{nodes}", f"{edges}")
        prepare(graph, f"{work}/{name}", 2)
        found = open_graph(f"{work}/{name}")
        print(json.dumps([name, found.nodes, found.edges, graph.sources["edges"]["path"]]))
    except GraphsweepError as error:
        print(json.dumps([name, str(error)]))
spark.stop()
for session in (spark,):
    try:
        Graph(f"{root}/nodes", f"{root}/plain", spark=session)
    except GraphsweepError as error:
        print(json.dumps(["ended", str(error)]))
"""


def test_what_only_spark_sees(tmp_path: Path) -> None:
    """In a process of its own, for the settings of a session are those of its first one."""
    at, work = tmp_path / "t", tmp_path / "work"
    work.mkdir()
    parquet(at / "nodes" / "a.parquet", node_table())
    for path in (
        "plain",
        "backup",
        "backup/old",
        "days/_day=1",
        "days/_day=2",
        "delta",
        "stream",
        "b[1]",
        "iceberg/data",
    ):
        parquet(at / path / "a.parquet", edge_table())
    parquet(at / "delta" / "removed.parquet", edge_table())
    parquet(at / "stream" / "left.parquet", edge_table())
    parquet(at / "mixed" / "day=1" / "a.parquet", edge_table())
    parquet(at / "mixed" / "a.parquet", edge_table())
    text(at / "delta" / "_delta_log" / "00000000000000000000.json", "{}")
    text(at / "iceberg" / "metadata" / "v1.metadata.json", "{}")
    entry = {"path": "viewfs://lake/t/stream/a.parquet", "size": os.path.getsize(at / "stream" / "a.parquet")}
    entry |= {"isDir": False, "modificationTime": 1, "blockReplication": 1, "blockSize": 1 << 25, "action": "add"}
    text(at / "stream" / "_spark_metadata" / "0", "v1", json.dumps(entry))
    text(at / "csv" / "a.csv", "src,dst", "1,2", "2,3")
    text(at / "csv" / "b.csv", "dst,src", '1,"3"', "1,1")
    text(at / "ragged" / "a.csv", "src,dst", "1,2", "2,3,4")
    expected = {
        "plain": 4, "backup": 4, "days": 8, "days/_day=*": 8, "day{s,z}/*/a.parquet": 8, "stream": 4, "b[1]": 4,
        "csv": 4,
        "delta": "a Delta table, and this Spark has no Delta Lake", "delta/*.parquet": "lies in a Delta table",
        "delta/a.parquet": "lies in a Delta table", "iceberg/data": "an Iceberg table",
        "mixed": "lies beside partitions",
        "stream/*": "lies in a table that a stream wrote", "ragged": r"a\.csv, line 3: 3 fields instead of 2",
        "nowhere": "no such file or directory",
        "alluxio://there/edges.csv": r"edges\.csv: cannot be read as a table: .*No FileSystem for scheme",
    }  # fmt: skip
    names = {f"c{number}": path for number, path in enumerate(expected)}
    cases = {
        name: ["viewfs://lake/t/nodes", path if "://" in path else f"viewfs://lake/t/{path}"]
        for name, path in names.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(at), str(work), json.dumps(cases)],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    for name, path in names.items():
        want = expected[path]
        if isinstance(want, str):
            assert len(found[name]) == 1, path
            assert re.search(want, found[name][0]), found[name]
        else:
            assert found[name] == [3, want, f"viewfs://lake/t/{path}"], path
    assert found["ended"] == [
        "the Spark session of these tables has ended; make the DataFrames again in a session that is active"
    ]
    assert sorted(os.listdir(work)) == sorted(name for name in cases if len(found[name]) > 1), "refusals leave nothing"
