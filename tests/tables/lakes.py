"""What tests of Delta and Iceberg tables share: a schema with the whole graph's tables, and what the two formats spell
differently.

Both are packages for Spark from Maven Central, of which there is none yet for the newest Spark. Where environment
variables name their coordinates, a session has them (tests/conftest.py), and the tests run; elsewhere they are skipped.
CI runs them with the oldest PySpark (tests/spark/test_versions.py). By hand, in an environment that has PySpark 4.0:

    GRAPHSWEEP_DELTA=io.delta:delta-spark_2.13:4.0.1 \\
    GRAPHSWEEP_ICEBERG=org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.11.0 \\
        python -m pytest tests/tables/test_lakes.py tests/tables/test_delta.py tests/tables/test_iceberg.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, infer
from pipeline.schema import quoted
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MODEL = "sage"


def needs(format: str) -> pytest.MarkDecorator:
    """Skips where the session has no package for this format."""
    name = f"GRAPHSWEEP_{format.upper()}"
    return pytest.mark.skipif(name not in os.environ, reason=f"{name} names no package: see tests/tables/lakes.py")


@dataclass(frozen=True)
class Lake:
    """A schema of tables in one format."""

    spark: SparkSession
    format: str
    schema: str

    @property
    def names(self) -> tuple[str, str]:
        """Of the node table and the edge table, for tests that only read them."""
        return f"{self.schema}.accounts", f"{self.schema}.payments"

    def others(self, ending: str) -> tuple[str, str]:
        """The same tables for a test that changes them."""
        nodes, edges = (f"{name}_{ending}" for name in self.names)
        self.write(nodes, whole("mixed").nodes())
        self.write(edges, whole("mixed").edges())
        return nodes, edges

    def write(self, name: str, rows: pa.Table) -> None:
        self.spark.createDataFrame(rows).writeTo(name).using(self.format).create()

    def fewer_edges(self, edges: str) -> None:
        """A new version, which gives other scores."""
        self.spark.sql(f"DELETE FROM {edges} WHERE weight > 0.5")

    def newest(self, name: str) -> int:
        """The version that a table is at."""
        if self.format == "delta":
            row = self.spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").select("version").first()
        else:
            snapshots = f"SELECT snapshot_id FROM {name}.snapshots ORDER BY committed_at DESC LIMIT 1"
            row = self.spark.sql(snapshots).first()
        assert row is not None
        return int(row[0])

    def rows(self, name: str) -> dict[int, tuple[object, ...]]:
        """id → the other columns: output, updated_at, run_id, and what else there is."""
        return {row[0]: tuple(row[1:]) for row in self.spark.table(name).collect()}


@contextmanager
def lake(spark: SparkSession, format: str, warehouse: Path) -> Iterator[Lake]:
    """A schema with the tables of the whole graph, for a while."""
    if format == "delta":
        found = Lake(spark, format, "graphsweep_delta")
        spark.sql(f"CREATE SCHEMA {found.schema} LOCATION 'file://{warehouse}'")
    else:
        found = Lake(spark, format, "lake.graph")
        spark.sql(f"CREATE SCHEMA {found.schema}")
    for name, rows in zip(found.names, (whole("mixed").nodes(), whole("mixed").edges()), strict=True):
        found.write(name, rows)
    try:
        yield found
    finally:
        for row in spark.sql(f"SHOW TABLES IN {found.schema}").collect():
            if format == "iceberg":
                spark.sql(f"DROP TABLE {found.schema}.{quoted(row.tableName)} PURGE")
        spark.sql(f"DROP SCHEMA {found.schema} CASCADE")


def scores(table: object) -> list[object]:
    """Rows, by id."""
    frame = table if isinstance(table, pa.Table) else table.toArrow()  # type: ignore[attr-defined]
    return frame.sort_by("id").to_pylist()


@cache
def wanted() -> list[object]:
    """The scores of the tables as they were first."""
    raw = whole("mixed")
    return scores(infer(Graph(raw.nodes(), raw.edges(), edge_features=()), build(MODEL)))


def go(*arguments: str, code: int = 0) -> str:
    """The last line of `graphsweep infer --model model`."""
    done = CliRunner().invoke(cli.app, ["infer", "--model", "model", *arguments])
    assert done.exit_code == code, done.output
    return done.output.splitlines()[-1]
