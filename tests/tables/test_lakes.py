"""Tables by name that keep their versions, of Delta and of Iceberg: which version is read, what is remembered of it;
scores into one. What only one of the two has: test_delta.py, test_iceberg.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, infer, prepare, score, verify
from pipeline.errors import StorageError
from pipeline.prepared import PreparedGraph
from tests.formulas import build
from tests.run.test_edge_rows import model_of
from tests.tables import lakes
from tests.tables.lakes import MODEL, Lake, go, needs, scores
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module", params=[pytest.param(name, marks=needs(name)) for name in ("delta", "iceberg")])
def lake(
    request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    with lakes.lake(spark, request.param, tmp_path_factory.mktemp("lake") / "warehouse") as found:
        yield found


def test_verify_reads_the_versions_of_the_graph(lake: Lake, tmp_path: Path) -> None:
    names = lake.others("verified")
    before = [lake.newest(name) for name in names]
    prepared = prepare(Graph(*names, edge_features=()), tmp_path / "g")
    assert [prepared.manifest["sources"][table]["version"] for table in ("nodes", "edges")] == before
    score(prepared, build(MODEL), tmp_path / "scores")
    lake.fewer_edges(names[1])
    assert verify(prepared, build(MODEL), tmp_path / "scores", sample="all").passed
    # of the tables as they are now these are not the scores
    assert not verify(prepared, build(MODEL), tmp_path / "scores", *names, sample="all").passed
    assert scores(pq.read_table(tmp_path / "scores")) == lakes.wanted()


def test_versions_that_are_read_and_that_are_given(lake: Lake) -> None:
    """The newest when the graph was made, whatever becomes of the table."""
    nodes, edges = lake.others("changing")
    graph, before = Graph(nodes, edges, edge_features=()), lake.newest(edges)
    lake.fewer_edges(edges)
    assert scores(infer(Graph(nodes, edges, edge_features=()), build(MODEL))) != lakes.wanted()
    lake.spark.sql(f"DELETE FROM {nodes}")
    assert scores(infer(graph, build(MODEL))) == lakes.wanted()
    named = Graph(lake.names[0], f"{edges}@v{before}", edge_features=())
    assert scores(infer(named, build(MODEL))) == lakes.wanted()
    with pytest.raises(StorageError, match=rf"there is no (version|snapshot) 7; the newest is {lake.newest(edges)}"):
        Graph(nodes, f"{edges}@v7")


def test_the_same_graph_is_known_again(lake: Lake, tmp_path: Path) -> None:
    names = lake.others("known")

    def again() -> PreparedGraph:
        return prepare(Graph(*names, edge_features=()), tmp_path / "g", if_same="skip")

    first = again()
    assert again().manifest["prepare"] == first.manifest["prepare"]
    lake.fewer_edges(names[1])
    with pytest.raises(StorageError, match=r"the edge table has changed: it was version \d+ .*, and is version \d+ of"):
        again()
    lake.spark.sql(f"DROP TABLE {names[0]}")
    lake.write(names[0], whole("mixed").nodes())  # the same rows, and another table
    with pytest.raises(StorageError, match=r"the node table has changed: it was version \d+ .*, and is version \d+ of"):
        again()


# ---- scores into a table


def test_merged(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose numbers are the same keep their time and their run; ids that are gone keep their rows, if the table is
    not to be a mirror."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    name, raw = f"{lake.schema}.merged", whole("mixed")
    pq.write_table(raw.nodes(), "nodes.parquet")
    pq.write_table(raw.edges(), "edges.parquet")
    given = ["--nodes", "nodes.parquet", "--edges", "edges.parquet", "--output-table", name, "--json"]
    created = json.loads(go(*given, "--format", lake.format))
    before = lake.rows(name)
    again = json.loads(go(*given, "--table-mode", "merge"))
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 200)
    assert lake.rows(name) == before
    # without the last edge and the first node with its edges, and with a new one
    first = raw.ids[0]
    new = pa.table({"id": [7], "x": pa.array([raw.x[3].tolist()], pa.list_(pa.float32()))})
    pq.write_table(pa.concat_tables([raw.nodes().slice(1), new]), "nodes.parquet")
    edges = [row for row in raw.edges().to_pylist()[:-1] if first not in (row["src"], row["dst"])]
    pq.write_table(pa.Table.from_pylist(edges, raw.edges().schema), "edges.parquet")
    lake.spark.sql(f"ALTER TABLE {name} ADD COLUMN note STRING")
    merged = json.loads(go(*given, "--table-mode", "merge"))
    now = infer(Graph("nodes.parquet", "edges.parquet", edge_features=()), build(MODEL)).toArrow()
    wanted = {row["id"]: row for row in now.to_pylist()}
    after = lake.rows(name)
    changed = {id for id, row in wanted.items() if id in before and row["output"] != before[id][0]}
    assert 0 < len(changed) < 199
    assert (merged["inserted"], merged["updated"], merged["unchanged"]) == (1, len(changed), 199 - len(changed))
    assert after[first] == (*before[first], None)
    for id, row in wanted.items():
        assert after[id][0] == row["output"]
        assert after[id][2] == (merged["run"] if id in changed or id == 7 else created["run"])
    assert after.keys() == before.keys() | {7}
    # mirrored, the row of the id that is gone goes too, and no other row changes
    mirrored = json.loads(go(*given, "--table-mode", "mirror"))
    counts = [mirrored[key] for key in ("inserted", "updated", "unchanged", "deleted")]
    assert (counts, "deleted" in merged) == ([0, 0, 200, 1], False)
    del after[first]
    assert lake.rows(name) == after


def test_overwritten_and_appended_to(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    (nodes, edges), name = lake.others("scored"), f"{lake.schema}.replaced"
    given = ["--nodes", nodes, "--edges", edges, "--output-table", name, "--json"]
    go(*given, "--format", lake.format)
    assert f"there is a table of {lake.format} of that name already" in go(*given[:-1], code=2)
    lake.fewer_edges(edges)
    run = json.loads(go(*given, "--table-mode", "overwrite"))["run"]
    assert {row[2] for row in lake.rows(name).values()} == {run}
    go(*given, "--table-mode", "append")
    assert lake.spark.table(name).count() == 400
    # the output is an input
    for read in (nodes, f"{nodes}@v{lake.newest(nodes)}"):
        said = go("--nodes", read, "--edges", edges, "--output-table", nodes, "--table-mode", "append", code=2)
        assert "the output is the node table" in said


def test_a_table_of_somebody_else(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge and append may touch it, if it has the columns."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    own = f"{lake.schema}.own"
    given = ["--nodes", lake.names[0], "--edges", lake.names[1], "--output-table", own]
    lake.spark.sql(f"CREATE TABLE {own} (id bigint, output array<float>, updated_at timestamp) USING {lake.format}")
    for mode in ("overwrite", "mirror"):
        said = go(*given, "--table-mode", mode, code=2)
        assert "graphsweep did not create it (it has no property graphsweep.kind), so its rows are not" in said
    assert "own: has no column run_id, which the scores have" in go(*given, "--table-mode", "merge", code=2)
    lake.spark.sql(f"DROP TABLE {own}")
    columns = "id bigint, output array<double>, updated_at timestamp, run_id string"
    lake.spark.sql(f"CREATE TABLE {own} ({columns}) USING {lake.format}")
    assert json.loads(go(*given, "--table-mode", "merge", "--json"))["inserted"] == 200
    # what the table does not take leaves it as it was
    strict = f"{lake.schema}.strict"
    lake.spark.sql(f"CREATE TABLE {strict} ({columns}, note string NOT NULL) USING {lake.format}")
    said = go(*given[:-1], strict, "--table-mode", "append", code=2)
    assert f"{strict}: does not take the scores; it is as it was: " in said
    assert lake.spark.table(strict).count() == 0


def test_what_would_not_fit(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found before any work: numbers would be cut, or texts would be no numbers."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    monkeypatch.setattr("pipeline.job.score.score_paths", lambda *_, **__: pytest.fail("work was started"))
    rest = f"updated_at timestamp, run_id string) USING {lake.format}"
    given = ["--nodes", lake.names[0], "--edges", lake.names[1], "--output-table"]
    for number, (columns, said) in enumerate(
        (
            (
                "output array<int>, predicted int",
                "column output is array<int>, and the scores have array<float>; array",
            ),
            ("output string, predicted int", "the column output is string, and the scores have array<float>; "),
            ("output array<double>, predicted string", "the column predicted is string, and the scores have int; "),
            ("output array<float>, predicted bigint", "the column probability is decimal(4,2), and the scores have fl"),
        )
    ):
        name = f"{lake.schema}.narrow_{number}"
        lake.spark.sql(f"CREATE TABLE {name} (id bigint, {columns}, probability decimal(4,2), {rest}")
        assert said in go(*given, name, "--classify", "--table-mode", "append" if number else "merge", code=2)


def test_rows_that_were_appended_are_not_merged_into(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a row of each run, and a merge would make them the same."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    name = f"{lake.schema}.history"
    columns = "id bigint, output array<float>, updated_at timestamp, run_id string"
    lake.spark.sql(f"CREATE TABLE {name} ({columns}) USING {lake.format}")
    ids = "VALUES (7, 'a'), (8, 'a'), (7, 'b'), (NULL, 'a'), (NULL, 'b') AS given(id, run)"
    lake.spark.sql(f"INSERT INTO {name} SELECT CAST(id AS bigint), array(0f), current_timestamp(), run FROM {ids}")
    given = ["--nodes", lake.names[0], "--edges", lake.names[1], "--output-table", name, "--table-mode"]
    said = go(*given, "merge", code=2)
    assert f"{name}: holds 2 rows of id 7, and merge takes a table with one row of each; append to it again" in said
    lake.spark.sql(f"DELETE FROM {name} WHERE run_id = 'b'")
    assert json.loads(go(*given, "merge", "--json"))["inserted"] == 200
    go(*given, "append")
    assert lake.spark.table(name).count() == 403


def test_rows_of_edges_are_merged(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their ends, and the number among parallel ones."""
    monkeypatch.chdir(tmp_path)
    model_of("classified").save("model")
    raw, name = whole("mixed"), f"{lake.schema}.of_edges"
    pq.write_table(raw.nodes(), "nodes.parquet")
    pq.write_table(raw.edges(), "edges.parquet")
    given = ["--nodes", "nodes.parquet", "--edges", "edges.parquet", "--output-table", name, "--json"]
    assert json.loads(go(*given, "--format", lake.format))["inserted"] == len(raw.src)

    def rows() -> dict[tuple[object, ...], tuple[object, ...]]:
        columns = ("src", "dst", "parallel", "attr", "weight", "output", "run_id")
        found = [tuple(row) for row in lake.spark.table(name).select(*columns).collect()]
        assert len({row[:3] for row in found}) == len(found)
        return {row[:3]: row[3:] for row in found}

    before = rows()
    again = json.loads(go(*given, "--table-mode", "merge"))
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, len(raw.src))
    assert rows() == before
    # one edge is given twice, and one is gone
    edges = raw.edges()
    pq.write_table(pa.concat_tables([edges.slice(1), edges.slice(len(edges) - 1)]), "edges.parquet")
    merged = json.loads(go(*given, "--table-mode", "merge"))
    after = rows()
    new = {key for key in after if after[key][-1] == merged["run"]}
    assert merged["inserted"] == len(after.keys() - before.keys()) == 1
    assert merged["updated"] == len(new) - 1 > 0
    assert merged["unchanged"] == len(raw.src) - len(new)
    go(*given[:4], "--output", "scores")
    for row in pq.read_table("scores").to_pylist():
        key = (row["src"], row["dst"], row["parallel"])
        assert after[key][:3] == (row["attr"], row["weight"], row["output"])
        assert (key in new) == (key not in before or before[key][:3] != after[key][:3])
