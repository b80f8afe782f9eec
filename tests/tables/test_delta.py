"""Delta tables by their path, through views, and with what only Delta has. The rest: test_lakes.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest

from pipeline import Graph, infer, prepare, score, verify
from pipeline.errors import StorageError
from tests.formulas import build
from tests.tables import lakes
from tests.tables.lakes import MODEL, Lake, go, needs, scores
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = needs("delta")


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with lakes.lake(spark, "delta", tmp_path_factory.mktemp("delta") / "warehouse") as found:
        yield found


def located(lake: Lake, name: str) -> str:
    row = lake.spark.sql(f"DESCRIBE DETAIL {name}").first()
    assert row is not None
    return str(row.location).removeprefix("file:")


def test_verify_reads_the_versions_of_tables_at_a_path(lake: Lake, tmp_path: Path) -> None:
    nodes, edges = (located(lake, name) for name in lake.others("verified"))
    prepared = prepare(Graph(nodes, f"delta.`{edges}`", edge_features=()), tmp_path / "g")
    assert {source["version"] for source in prepared.manifest["sources"].values()} == {0}
    score(prepared, build(MODEL), tmp_path / "scores")
    lake.fewer_edges(f"delta.`{edges}`")
    assert verify(prepared, build(MODEL), tmp_path / "scores", sample="all").passed
    for now in (edges, f"delta.`{edges}`"):
        assert not verify(prepared, build(MODEL), tmp_path / "scores", nodes, now, sample="all").passed
    graph = Graph(nodes, f"delta.`{edges}`@v0", edge_features=())
    assert scores(infer(graph, build(MODEL))) == lakes.wanted()
    with pytest.raises(StorageError, match="there is no version 2; the newest is 1"):
        Graph(nodes, f"delta.`{edges}`@v2")


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


def test_deletion_vectors_and_columns_that_were_renamed(lake: Lake) -> None:
    """Files hold rows that are deleted, and columns by other names: only Delta knows which."""
    (nodes, edges), odd = lake.names, f"{lake.schema}.odd"
    properties = "'delta.enableDeletionVectors' = 'true', 'delta.columnMapping.mode' = 'name'"
    lake.spark.sql(f"CREATE TABLE {odd} USING delta TBLPROPERTIES ({properties}) AS SELECT *, src AS gone FROM {edges}")
    lake.spark.sql(f"ALTER TABLE {odd} RENAME COLUMN src TO payer")
    lake.spark.sql(f"ALTER TABLE {odd} DROP COLUMN gone")
    before = lake.newest(odd)
    lake.fewer_edges(odd)
    path = Path(located(lake, odd))
    assert list(path.rglob("deletion_vector*")), "no rows were deleted by a vector"
    left = whole("mixed").edges().filter(pc.field("weight") <= 0.5)
    wanted = scores(infer(Graph(whole("mixed").nodes(), left, edge_features=()), build(MODEL)))
    for given in (odd, str(path)):
        assert scores(infer(Graph(nodes, given, src="payer", edge_features=()), build(MODEL))) == wanted
    graph = Graph(nodes, f"{odd}@v{before}", src="payer", edge_features=())
    assert scores(infer(graph, build(MODEL))) == lakes.wanted()


def test_a_table_that_has_its_own_ideas(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns in other letters and another order, kept under other names, in partitions; and a constraint."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    name, (nodes, edges) = f"{lake.schema}.own", lake.names
    lake.spark.sql(
        f"CREATE TABLE {name} (note string, Run_Id string, OUTPUT array<double>, ID bigint, updated_at timestamp, day "
        "date) USING delta PARTITIONED BY (day) TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
    )
    given = ["--nodes", nodes, "--edges", edges, "--output-table", name, "--json", "--table-mode"]
    first = json.loads(go(*given, "merge"))
    assert first["inserted"] == 200
    again = json.loads(go(*given, "merge"))
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 200)
    go(*given, "append")
    row = lake.spark.sql(f"SELECT count(*), count(DISTINCT id), count(note), count(day) FROM {name}").first()
    assert tuple(row or ()) == (400, 200, 0, 0)
    lake.spark.sql(f"DELETE FROM {name}")
    lake.spark.sql(f"ALTER TABLE {name} ADD CONSTRAINT known CHECK (day IS NOT NULL)")
    for mode in ("append", "merge"):
        assert f"{name}: does not take the scores; it is as it was: " in go(*given[:-2], given[-1], mode, code=2)
    assert lake.spark.table(name).count() == 0
