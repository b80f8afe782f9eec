"""Iceberg tables, and what only they have. The rest: test_lakes.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import Graph, infer
from tests.formulas import build
from tests.tables import lakes
from tests.tables.lakes import MODEL, Lake, needs, scores

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = needs("iceberg")


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[Lake]:
    with lakes.lake(spark, "iceberg", tmp_path) as found:
        yield found


def test_a_table_without_a_snapshot(lake: Lake) -> None:
    """It was created, and nothing was ever written."""
    lake.spark.sql(f"CREATE TABLE {lake.schema}.nothing (src BIGINT, dst BIGINT) USING iceberg")
    assert len(scores(infer(Graph(lake.names[0], f"{lake.schema}.nothing", edge_features=()), build(MODEL)))) == 200
