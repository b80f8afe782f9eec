"""Rows in the partitions that they say, in new versions of Spark and in old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from pipeline.blocks.columns import TARGET
from pipeline.spark import placement
from pipeline.spark.placement import inverse_keys, murmur3, place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.parametrize("blocks", [1, 3, 64, 100])
def test_a_row_is_in_the_partition_of_its_target(
    spark: SparkSession, blocks: int, knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = spark.range(0, 5 * blocks, 1, 4).select((F.col("id") % blocks).cast("int").alias(TARGET))
    if knows and not placement._knows_repartition_by_id(rows):
        pytest.skip("this Spark does not know repartitionById")
    monkeypatch.setattr(placement, "_knows_repartition_by_id", lambda rows: knows)
    found = place(rows, blocks).select(TARGET, F.spark_partition_id().alias("at")).collect()
    assert len(found) == 5 * blocks
    assert all(row[TARGET] == row["at"] for row in found)


def test_murmur3_is_sparks(spark: SparkSession) -> None:
    values = [0, 1, -1, 42, 2**31 - 1, -(2**31)]
    rows = spark.createDataFrame([(value,) for value in values], "v int").selectExpr("v", "hash(v) h").collect()
    assert {row.v: row.h for row in rows} == {value: murmur3(value) for value in values}


@pytest.mark.parametrize("partitions", [1, 2, 7, 256, 1000])
def test_inverse_keys_hit_every_partition(partitions: int) -> None:
    assert [murmur3(key) % partitions for key in inverse_keys(partitions)] == list(range(partitions))


def test_an_older_server_is_not_asked_for_what_it_does_not_know() -> None:
    class Session:
        version = "4.0.2"

    class Frame:
        sparkSession = Session()
        repartitionById = None

    assert not placement._knows_repartition_by_id(Frame())  # type: ignore[arg-type]
    Session.version = "4.1.0-preview"
    assert placement._knows_repartition_by_id(Frame())  # type: ignore[arg-type]
