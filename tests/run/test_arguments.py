"""Wrong kinds of arguments from Python: one sentence that says what is expected; and what has to work, works."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, PreparedGraph, Settings, explain, infer, open_graph, prepare, score, verify
from pipeline.errors import DataError, GraphsweepError, ModelError, SettingError, StorageError
from pipeline.run.arguments import ENDED, check_session, graph_of
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nodes.parquet, edges.parquet, graph, model."""
    at = tmp_path_factory.mktemp("here")
    pq.write_table(whole("mixed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), at / "edges.parquet")
    graph = Graph.of_files(at / "nodes.parquet", at / "edges.parquet", edge_features=["weight", "attr"])
    assert graph is not None
    prepare(graph, at / "graph", blocks=2)
    build("sage").save(at / "model")
    return at


def test_paths_work_wherever_a_path_is_taken(here: Path, tmp_path: Path, no_session: None) -> None:
    assert isinstance(open_graph(here / "graph"), PreparedGraph)
    assert "2 blocks" in explain(here / "graph", here / "model")
    report = score(here / "graph", here / "model", tmp_path / "scores")
    assert report.rows == 200
    assert verify(here / "graph", here / "model", tmp_path / "scores", sample=5).passed
    Model.load(here / "model").save(tmp_path / "model")


def test_settings_may_be_a_mapping(here: Path, tmp_path: Path, no_session: None) -> None:
    assert "asked for" in explain(here / "graph", here / "model", {"tier": "fused"})
    assert score(here / "graph", here / "model", tmp_path / "scores", settings={"tier": "fused"}).tier == "fused"
    assert Settings.taken({"blocks": 3}) == Settings(blocks=3)
    with pytest.raises(SettingError, match="unknown setting 'teir'; did you mean 'tier'"):
        explain(here / "graph", here / "model", {"teir": "fused"})
    with pytest.raises(SettingError, match=r"settings are 'fused'; Settings\(tier='fused'\), a mapping like"):
        explain(here / "graph", here / "model", "fused")  # type: ignore[arg-type]


data = SimpleNamespace(x=np.ones(3), edge_index=np.ones((2, 3)))  # as PyG's Data is


@pytest.mark.parametrize("graph", [None, data, 7, np.ones(3)])
@pytest.mark.parametrize("call", [infer, explain, verify, score, prepare])
def test_something_else_as_a_graph(here: Path, tmp_path: Path, call: Any, graph: Any) -> None:
    more = {verify: ["scores"], score: [str(tmp_path / "o")]}.get(call, [])
    arguments = [graph, str(tmp_path / "g")] if call is prepare else [graph, build("sage"), *more]
    expected = "a Graph is expected: Graph(nodes, edges), or Graph.read(spark, nodes, edges) of paths; not "
    if call is explain:
        expected = "explain takes a prepared graph, or the path of one, not "
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert str(caught.value).startswith(expected)
    assert not list(tmp_path.iterdir())


def test_a_path_and_a_prepared_graph_are_no_tables(here: Path, tmp_path: Path) -> None:
    for graph in (here / "graph", str(here / "graph")):
        with pytest.raises(DataError, match="the path of a prepared graph is prepared already"):
            prepare(graph, tmp_path / "g")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"not pipeline\.prepared\.PreparedGraph"):
        prepare(open_graph(here / "graph"), tmp_path / "g")  # type: ignore[arg-type]


def test_explain_of_raw_tables(here: Path) -> None:
    graph = Graph.of_files(here / "nodes.parquet", here / "edges.parquet")
    with pytest.raises(DataError, match=r"explain takes a prepared graph: prepare first, explain\(prepare\("):
        explain(graph, here / "model")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "a Model, or the path of a saved one, is expected, not None"),
        (7, r"is expected, not 7 \(int\)"),
        (
            SimpleNamespace(state_dict=dict),
            "not types.SimpleNamespace; Model.from_pyg makes one of a PyTorch Geometric",
        ),
    ],
)
def test_something_else_as_a_model(here: Path, tmp_path: Path, model: Any, message: str) -> None:
    calls: list[Any] = [lambda: infer(here / "graph", model), lambda: explain(here / "graph", model)]
    calls += [lambda: score(here / "graph", model, tmp_path / "o"), lambda: verify(here / "graph", model, "o")]
    for call in calls:
        with pytest.raises(ModelError, match=message):
            call()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "is None; a path is expected: a text or a Path"),
        (b"graph", r"is b'graph'; a path is expected"),
        ("", "is empty; a path is expected"),
        ("a\0b", r"is 'a\\x00b', which holds a null character"),
        ("a\udcff", r"is 'a\\udcff', which is not UTF-8"),
    ],
)
def test_something_else_as_a_path(here: Path, path: Any, message: str) -> None:
    for call in (open_graph, Model.load, build("sage").save, lambda p: Graph.of_files(p, here / "edges.parquet")):
        with pytest.raises(StorageError, match=message):
            call(path)


@pytest.mark.parametrize(("table", "kind"), [(7, "int"), (SimpleNamespace(columns=[]), "SimpleNamespace")])
def test_something_else_as_a_table(table: Any, kind: str) -> None:
    with pytest.raises(DataError, match=f"nodes is a .*{kind}.*; a graph takes Spark DataFrames, paths of tables"):
        Graph(table, table)


# ---- sessions


class Stopped:
    """A session as PySpark leaves it: what would start a job fails inside of PySpark."""

    def range(self, count: int) -> Any:
        return None.sc  # type: ignore[attr-defined]


def test_a_session_that_has_ended(here: Path, tmp_path: Path) -> None:
    stopped: Any = Stopped()
    with pytest.raises(DataError, match="the session that is given as spark= has ended: pass one that is active"):
        infer(here / "graph", here / "model", spark=stopped)
    nothing: Any = "local"
    with pytest.raises(SettingError, match=r"spark is 'local' \(str\); a SparkSession is expected"):
        infer(here / "graph", here / "model", spark=nothing)
    assert not list(tmp_path.iterdir())


def test_a_session_that_is_alive(spark: SparkSession) -> None:
    check_session(spark, ENDED)
    graph = whole("mixed").graph(spark)
    assert graph_of(graph) is graph


def test_a_stream_is_no_table(spark: SparkSession) -> None:
    stream = spark.readStream.format("rate").load()
    with pytest.raises(DataError, match="nodes is a streaming DataFrame, which has no end; write it to a table first"):
        Graph(stream, stream)


def test_a_dataframe_as_a_graph(spark: SparkSession, tmp_path: Path) -> None:
    frame: Any = spark.range(3)
    for call in (lambda: prepare(frame, tmp_path / "g"), lambda: infer(frame, build("sage"))):
        with pytest.raises(GraphsweepError, match=r"a Graph is expected: Graph\(nodes, edges\)"):
            call()


def test_verify_takes_tables_in_memory_for_all_that_are_tables(here: Path, tmp_path: Path, no_session: None) -> None:
    import polars

    raw = Graph(here / "nodes.parquet", here / "edges.parquet", edge_features=["weight", "attr"])
    scores = infer(raw, here / "model")
    assert verify(raw, here / "model", scores).passed
    assert verify(raw, here / "model", scores.to_pandas()).passed
    nodes, edges = polars.read_parquet(here / "nodes.parquet"), polars.read_parquet(here / "edges.parquet").lazy()
    assert verify(here / "graph", here / "model", polars.from_arrow(scores), nodes, edges).passed
    wrong = scores.set_column(1, "output", scores["output"][::-1])
    assert not verify(raw, here / "model", wrong).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": 12}, "scores is a int; the path that infer wrote, its DataFrame or its Arrow table is expected"),
        ({"limit": "x"}, "limit is 'x'; accepted: a whole number from 1"),
        ({"limit": True}, "limit is True; accepted: a whole number from 1"),
        ({"tolerance": "x"}, "tolerance is 'x'; accepted: a number from 0 to 1"),
        ({"tolerance": float("nan")}, "tolerance is nan; accepted: a number from 0 to 1"),
        ({"seed": "x"}, "seed is 'x'; accepted: a whole number"),
    ],
)
def test_something_else_as_an_option_of_verify(
    here: Path, options: dict[str, Any], message: str, no_session: None
) -> None:
    given = {"scores": whole("mixed").nodes(), **options}
    with pytest.raises((DataError, SettingError), match=f"^{message}$"):
        verify(here / "graph", here / "model", **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": "3"}, "blocks is '3'; accepted: a whole number from 1, or auto"),
        ({"blocks": 2.5}, "blocks is 2.5; accepted: a whole number from 1, or auto"),
        ({"blocks": True}, "blocks is True; accepted: a whole number from 1, or auto"),
        ({"task_memory": "much"}, "task_memory is 'much'; accepted: a size like 512m or 4g, or auto"),
    ],
)
def test_something_else_as_an_option_of_prepare(
    here: Path, tmp_path: Path, options: dict[str, Any], message: str, no_session: None
) -> None:
    graph = Graph(here / "nodes.parquet", here / "edges.parquet")
    with pytest.raises(SettingError, match=f"^{message}$"):
        prepare(graph, tmp_path / "g", **options)
    assert prepare(graph, tmp_path / "g", task_memory="1g").nodes == 200  # type: ignore[arg-type]


COLUMNS = "a column, a list of columns, None, or name → column or columns is expected"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 3}, f"features=3: {COLUMNS}"),
        ({"features": ["x", 3]}, f"features=['x', 3]: {COLUMNS}"),
        ({"features": b"x"}, f"features=b'x': {COLUMNS}"),
        ({"edge_features": {"w": 1.5}}, f"edge_features=1.5: {COLUMNS}"),
        ({"id": None}, "id=None: a column is expected"),
        ({"src": 1}, "src=1: a column is expected"),
        ({"dst": ["a", "b"]}, "dst=['a', 'b']: a column is expected"),
    ],
)
def test_something_else_as_a_column(options: dict[str, Any], message: str, no_session: None) -> None:
    with pytest.raises(DataError) as caught:
        Graph(whole("mixed").nodes(), whole("mixed").edges(), **options)
    assert str(caught.value) == message
