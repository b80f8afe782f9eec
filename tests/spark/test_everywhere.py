"""What a night's run takes of Spark, part by part, in whatever session the tests have.

With the files of tests/versions.py this is the core of the suite: it needs no torch, and runs through Spark Connect
(tests/spark/test_connect.py) and with other versions of PySpark, too.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql.session import SparkSession as ClassicSession
from typer.testing import CliRunner

from pipeline import Graph, cli, infer, prepare, score, verify
from pipeline.errors import DataError, SettingError
from pipeline.graphframes import with_scores
from pipeline.places import mounted
from pipeline.places.place import Place
from pipeline.places.through_spark import default_filesystem, is_there
from pipeline.settings import Settings
from pipeline.spark import message
from pipeline.spark.session import setting
from tests import typed_tables
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.preparing import test_by_column as communities
from tests.run.test_edge_rows import CASES, assert_numbers, model_of, weights_of
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BLOCKS = 3


def go(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command says to programs."""
    done = CliRunner().invoke(cli.app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    build("graph_norm").save("model")
    pq.write_table(whole("mixed").nodes(), "nodes.parquet")
    pq.write_table(whole("mixed").edges(), "edges.parquet")
    return tmp_path


@pytest.mark.parametrize("transport", ["files", "shuffle"])
def test_a_night(spark: SparkSession, here: Path, transport: str) -> None:
    (here / "conf.toml").write_text(f'transport = "{transport}"\nscratch = "{here}/scratch"\n')
    work = [] if transport == "shuffle" else ["--work-dir", "work"]
    tables = ["--nodes", "nodes.parquet", "--edges", "edges.parquet"]
    made = go("prepare", *tables, "--output", "graph", "--blocks", BLOCKS, "--report", "prepared.html")
    assert (made["nodes"], made["edges"], made["blocks"]) == (200, 1500, BLOCKS)
    run = ["infer", "--graph", "graph", "--model", "model", "--output", "scores", "--tier", "distributed", *work]
    said = go(*run, "--conf", "conf.toml", "--report", "page.html")
    assert (said["rows"], said["tier"], said["spark"]) == (200, "distributed", True)
    assert said["supersteps"]
    assert by_id(pq.read_table("scores")) == in_process("graph_norm", whole("mixed"), BLOCKS)
    assert said["report"]
    assert Path("page.html").read_text().startswith("<!doctype html>")
    assert go(*run, "--conf", "conf.toml", "--if-same", "skip")["skipped"]
    assert go("verify", "--graph", "graph", "--model", "model", "--output", "scores")["passed"]
    left = sorted(path.name for path in here.iterdir() if path.name not in ("work", "scratch"))
    assert left == [
        "conf.toml", "edges.parquet", "graph", "model", "nodes.parquet", "page.html", "prepared.html", "scores",
    ]  # fmt: skip


def test_frames_with_and_without_edges(spark: SparkSession) -> None:
    for kind in ("mixed", "no edges"):
        graph = whole(kind).graph(spark, edge_features=())
        for tier in ("fused", "distributed"):
            rows = infer(graph, build("graph_norm"), settings=Settings(tier=tier, blocks=BLOCKS)).toArrow()
            assert by_id(rows) == in_process("graph_norm", whole(kind), BLOCKS)


def test_types(spark: SparkSession, tmp_path: Path) -> None:
    nodes, edges = typed_tables.tables()
    options = {"features": typed_tables.FEATURES, "edge_features": typed_tables.EDGE_FEATURES}
    frames = [{name: _frame(spark, table) for name, table in each.items()} for each in (nodes, edges)]
    graph = prepare(Graph(*frames, **options), tmp_path / "graph", blocks=BLOCKS)
    model, settings = typed_tables.model(), Settings(tier="distributed")
    report = score(graph, model, tmp_path / "scores", settings=settings, spark=spark)
    assert report.spark
    found = infer(graph, model, settings=settings, spark=spark)
    wanted = typed_tables.answers(nodes, edges)
    for type, outputs in {"account": ["output", "pair"], typed_tables.CARD: ["card"], "__shop__": ["shop"]}.items():
        rows = found[type].toArrow()
        for output in outputs:
            for id, row in zip(rows["id"].to_pylist(), rows[output].to_pylist(), strict=True):
                np.testing.assert_allclose(row, wanted[output][id], rtol=1e-4, atol=1e-5)
            assert rows.num_rows == len(wanted[output])
    assert verify(graph, model, tmp_path / "scores", *frames, sample=20, spark=spark).passed


def test_weights_that_one_message_cannot_hold(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of Spark Connect is told before a query is sent; a classic session sends them otherwise."""
    monkeypatch.setattr(message, "MESSAGE_BYTES", message.REST)
    graph, model = prepare(whole("mixed").graph(spark, ()), tmp_path / "graph", blocks=2), build("graph_norm")
    for tier, said in (
        ("fused", "go to the tasks, and Spark"),
        ("distributed", r"go to the tasks in each of \d super"),
    ):
        with refused(spark, said):
            infer(graph, model, settings=Settings(tier=tier), spark=spark)
    files = Settings(tier="distributed", transport="files", scratch=str(tmp_path / "scratch"))
    with refused(spark, "go to the tasks, and Spark"):
        score(graph, model, tmp_path / "scores", settings=files, spark=spark)
    assert (tmp_path / "scores").exists() is not message.through_connect(spark)


def refused(spark: SparkSession, said: str) -> AbstractContextManager[object]:
    """Through Spark Connect."""
    return pytest.raises(SettingError, match=said) if message.through_connect(spark) else nullcontext()


def test_volumes_of_databricks(spark: SparkSession, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a path without a scheme is one of dbfs: to Spark, and volumes are folders to Python."""
    monkeypatch.setenv(mounted.VARIABLE, "17.3")
    monkeypatch.setattr(mounted, "SEEN", (f"{here}/",))
    for module in ("pipeline.places.through_spark", "pipeline.job.output"):
        monkeypatch.setattr(import_module(module), "default_filesystem", lambda _: "dbfs:")
    go("prepare", "--nodes", here / "nodes.parquet", "--edges", here / "edges.parquet", "--output", here / "graph",
       "--blocks", BLOCKS)  # fmt: skip
    run = ["--graph", here / "graph", "--model", here / "model", "--output", here / "scores"]
    said = go("infer", *run, "--tier", "distributed")
    assert (said["rows"], said["spark"]) == (200, True)
    assert by_id(pq.read_table(here / "scores")) == in_process("graph_norm", whole("mixed"), BLOCKS)
    assert go("verify", *run)["passed"]


@pytest.mark.parametrize("how", ["frames", "files", "step by step"])
def test_blocks_by_a_column(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """In tasks the same bytes, and the same count of what it saves, as in this process."""
    nodes, edges, _ = communities.tables(text=how == "frames")
    wanted = prepare(Graph(nodes, edges), tmp_path / "here", BLOCKS, blocks_by="region")
    monkeypatch.setattr(sys.modules["pipeline.prepare"], "_fits_in_process", lambda *_: False)
    if how == "frames":
        raw = Graph(_frame(spark, nodes), _frame(spark, edges))
    else:
        for name, table in (("nodes", nodes), ("edges", edges)):
            pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=1000)
        raw = Graph(tmp_path / "nodes.parquet", tmp_path / "edges.parquet", spark=spark)
    work = {"work_dir": tmp_path / "work"} if how == "step by step" else {}
    made = prepare(raw, tmp_path / "graph", BLOCKS, blocks_by="region", **work)
    assert made.fingerprint == wanted.fingerprint
    assert made.manifest["communities"] == wanted.manifest["communities"]
    assert not list((tmp_path / "graph").rglob(".communities-*"))


def _frame(spark: SparkSession, table: pa.Table) -> Any:
    from pipeline.spark.session import frame_of_arrow

    return frame_of_arrow(spark, table)


def test_rows_of_edges(spark: SparkSession, tmp_path: Path) -> None:
    graph = prepare(whole("mixed").graph(spark), tmp_path / "graph", blocks=BLOCKS)
    score(graph, model_of("classified"), tmp_path / "scores", settings=Settings(tier="distributed"), spark=spark)
    want = CASES["classified"][1](whole("mixed"), weights_of("classified"))
    assert_numbers(pq.read_table(tmp_path / "scores"), whole("mixed"), want)


def test_a_view_that_is_the_sessions_own(spark: SparkSession, here: Path) -> None:
    spark.read.parquet(str(here / "nodes.parquet")).createOrReplaceTempView("everywhere_nodes")
    try:
        said = go("infer", "--nodes", "table:everywhere_nodes", "--edges", "edges.parquet", "--model", "model",
                  "--output", "scores", "--blocks", BLOCKS)  # fmt: skip
        assert said["rows"] == 200
        assert by_id(pq.read_table("scores")) == in_process("graph_norm", whole("mixed"), BLOCKS)
    finally:
        spark.catalog.dropTempView("everywhere_nodes")


class Frame:
    """What a GraphFrame is, for a classic session: that of the package looks for its jar there."""

    def __init__(self, vertices: Any, edges: Any) -> None:
        self.vertices, self.edges = vertices, edges


def test_a_graphframe_gets_its_scores(spark: SparkSession) -> None:
    """Through Spark Connect it is a real one: there the client needs no jar."""
    make: Any = Frame
    if not isinstance(spark, ClassicSession):
        make = pytest.importorskip("graphframes", reason="needs graphframes-py").GraphFrame
    raw = whole("mixed")
    vertices = _frame(spark, raw.nodes()).selectExpr("*", "cast(id as string) name")
    frame = make(vertices, _frame(spark, raw.edges()))
    settings = Settings(blocks=BLOCKS)
    scores = infer(Graph.from_graphframe(frame), build("graph_norm"), settings=settings, targets=raw.ids[:150])
    scored = with_scores(frame, scores)
    assert type(scored) is make
    assert scored.vertices.columns == ["id", "x", "name", "output"]
    rows = scored.vertices.toArrow().to_pylist()
    wanted = in_process("graph_norm", raw, BLOCKS)
    assert all(row["name"] == str(row["id"]) for row in rows)
    told = {row["id"]: row["output"] and np.asarray(row["output"], np.float32).tobytes() for row in rows}
    assert told == {id: wanted[id] if place < 150 else None for place, id in enumerate(raw.ids)}
    # a row for each edge: these are the edges then
    options = {"edge_features": ["weight", "attr"]}
    of_edges = with_scores(frame, infer(Graph.from_graphframe(frame, **options), model_of("classified")))
    assert of_edges.edges.columns == ["src", "dst", "parallel", "weight", "attr", "output"]
    assert of_edges.edges.count() == len(raw.src)
    with pytest.raises(DataError, match=r"the vertices have a column output already; .*outputs=\['score'\]"):
        with_scores(scored, scores)
    with pytest.raises(DataError, match=r"scores of nodes have a column id, .*; these have key, output"):
        with_scores(frame, scores.withColumnRenamed("id", "key"))
    with pytest.raises(DataError, match="with_scores takes the DataFrame that infer gives, not Table"):
        with_scores(frame, raw.nodes())
    with pytest.raises(DataError, match="with_scores takes a GraphFrame, not dict"):
        with_scores({}, scores)


def test_doctor(spark: SparkSession, here: Path) -> None:
    said = go("doctor", "--path", here)
    assert said["outcome"] == "done"
    told = {each["name"]: each["outcome"] for each in said["checks"]}
    assert {told[name] for name in ("python", "spark", "workers", "storage")} == {"ok"}


def test_places_as_the_session_sees_them(spark: SparkSession, here: Path) -> None:
    """Spark Connect looks at a path only when it is asked for something of it."""
    assert default_filesystem(spark) == "file"
    assert is_there(spark, Place.of(f"{here}/model"))
    assert not is_there(spark, Place.of(f"{here}/none"))
    assert setting(spark, "spark.graphsweep.nothing") is None


def test_what_a_task_says_is_said_to_the_user(spark: SparkSession, tmp_path: Path) -> None:
    edges = whole("mixed").edges().slice(0, 9).append_column("bad", pa.array([float("nan")] * 9))
    graph = Graph(
        _frame(spark, whole("mixed").nodes().slice(0, 3)), _frame(spark, edges), features="x", edge_features=()
    )
    with pytest.raises(DataError, match=r"edges\.dst holds \d ids absent from the nodes") as said:
        prepare(graph, tmp_path / "graph")
    assert "SQLSTATE" not in str(said.value)
    assert not (tmp_path / "graph").exists()
