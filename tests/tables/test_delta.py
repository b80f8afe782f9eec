"""Delta tables by their path, through views, and with what only Delta has. The rest: test_lakes.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import Graph, infer, prepare, score, verify
from pipeline.errors import StorageError
from tests.formulas import build
from tests.tables import lakes
from tests.tables.lakes import MODEL, Lake, go, needs, scores

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = needs("delta")


@pytest.fixture
def lake(spark: SparkSession, tmp_path: Path) -> Iterator[Lake]:
    with lakes.lake(spark, "delta", tmp_path / "warehouse") as found:
        yield found


def located(lake: Lake, name: str) -> str:
    row = lake.spark.sql(f"DESCRIBE DETAIL {name}").first()
    assert row is not None
    return str(row.location).removeprefix("file:")


@pytest.mark.parametrize("spelling", ["{}", "delta.`{}`"])
def test_verify_reads_the_versions_of_tables_at_a_path(lake: Lake, tmp_path: Path, spelling: str) -> None:
    given = [spelling.format(located(lake, name)) for name in lake.names]
    prepared = prepare(Graph(*given, edge_features=()), tmp_path / "g")
    assert {source["version"] for source in prepared.manifest["sources"].values()} == {0}
    score(prepared, build(MODEL), tmp_path / "scores")
    lake.fewer_edges()
    assert verify(prepared, build(MODEL), tmp_path / "scores", sample="all").passed
    assert not verify(prepared, build(MODEL), tmp_path / "scores", *given, sample="all").passed


def test_the_version_of_a_path(lake: Lake) -> None:
    lake.fewer_edges()
    path = located(lake, lake.names[1])
    assert scores(infer(Graph(lake.names[0], f"delta.`{path}`@v0", edge_features=()), build(MODEL))) == lakes.wanted()
    with pytest.raises(StorageError, match="there is no version 2; the newest is 1"):
        Graph(lake.names[0], f"delta.`{path}`@v2")


def test_a_view(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read; and the output is an input, through it or by its path."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    (nodes, edges), view = lake.names, f"{lake.schema}.seen"
    lake.spark.sql(f"CREATE VIEW {view} AS SELECT * FROM {edges} WHERE weight >= 0")
    assert scores(infer(Graph(nodes, view, edge_features=()), build(MODEL))) == lakes.wanted()
    for read in (view, located(lake, edges)):
        said = go("--nodes", nodes, "--edges", read, "--output-table", edges, "--table-mode", "append", code=2)
        assert "the output is the edge table" in said
