"""Iceberg tables, and what only they have. The rest: test_lakes.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import Graph, infer, prepare, score, verify
from pipeline.prepared import open_graph
from tests.formulas import build
from tests.tables import lakes
from tests.tables.lakes import MODEL, Lake, go, needs, scores
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = needs("iceberg")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with lakes.lake(spark, "iceberg", tmp_path_factory.mktemp("iceberg")) as found:
        yield found


def test_a_table_without_a_snapshot(lake: Lake) -> None:
    """It was created, and nothing was ever written."""
    lake.spark.sql(f"CREATE TABLE {lake.schema}.nothing (src BIGINT, dst BIGINT) USING iceberg")
    assert len(scores(infer(Graph(lake.names[0], f"{lake.schema}.nothing", edge_features=()), build(MODEL)))) == 200


def test_names_with_other_signs(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In backticks, as Unity Catalog may have them: an input, an output, a source of a prepared graph."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    odd, edges = f"{lake.schema}.`my-nodes.2026`", lake.names[1]
    lake.write(odd, whole("mixed").nodes())
    output = f"{lake.schema}.`scores-of my``graph`"
    given = ["--edges", edges, "--output-table", output, "--json"]
    assert json.loads(go("--nodes", odd, *given, "--format", "iceberg"))["inserted"] == 200
    prepare(Graph(odd, edges, edge_features=()), "graph")
    lake.spark.sql(f"DELETE FROM {odd}")
    done = json.loads(go("--graph", "graph", *given[2:], "--table-mode", "merge"))
    assert (done["inserted"], done["updated"], done["unchanged"]) == (0, 0, 200)
    score(open_graph("graph"), build(MODEL), "scores")
    assert verify(open_graph("graph"), build(MODEL), "scores", sample="all").passed
    said = go("--nodes", odd, *given[:2], "--output-table", odd, "--table-mode", "append", code=2)
    assert "the output is the node table" in said
