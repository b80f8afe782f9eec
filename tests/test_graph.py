"""Graphs from DataFrames and files: which columns, and what is said of tables that cannot be used."""

from __future__ import annotations

import os
import shutil
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, StorageError
from pipeline.graph import Graph
from pipeline.places.place import Place
from pipeline.schema import NODE
from pipeline.tables.formats import format_of
from pipeline.tables.layout import ValueColumns
from pipeline.tables.listing import list_table
from pipeline.tables.opening import Reading, open_table
from pipeline.tables.table import Table, read_pieces
from tests.graphs import mixed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@pytest.fixture(scope="module")
def nodes(spark: SparkSession) -> DataFrame:
    return spark.sql("select id, array(1.0f) x, cast(id as int) age, 'a' name, current_date() day from range(3)")


@pytest.fixture(scope="module")
def edges(spark: SparkSession) -> DataFrame:
    return spark.sql("select id src, id dst, 1.5d weight, array(id) kinds, '12' text from range(3)")


# ---- columns


def test_the_usual_columns(nodes: DataFrame, edges: DataFrame) -> None:
    graph = Graph(nodes, edges)
    assert graph.node_layout.columns == ("id", "x")
    assert graph.node_layout.values == (ValueColumns("x", ("x",), array=True),)
    assert graph.edge_layout.columns == ("src", "dst")
    assert graph.id_type == "bigint"


def test_all_kinds_of_columns(nodes: DataFrame, edges: DataFrame) -> None:
    graph = Graph(
        nodes, edges, features={"a": ["age", "id"], "b": "x", "c": "age"}, edge_features=["weight", "kinds"], id="age"
    )
    assert graph.node_layout.values == (
        ValueColumns("a", ("age", "id")),
        ValueColumns("b", ("x",), array=True),
        ValueColumns("c", ("age",)),
    )
    assert graph.edge_layout.values == (
        ValueColumns("weight", ("weight",)),
        ValueColumns("kinds", ("kinds",), array=True),
    )
    assert graph.id_type == "int"
    assert graph.describe()["columns"]["nodes"] == {
        "ids": ["age"],
        "values": {"a": ["age", "id"], "b": ["x"], "c": ["age"]},
    }


def test_a_graphframe_stands_for_both(nodes: DataFrame, edges: DataFrame) -> None:
    class Frame:
        def __init__(self) -> None:
            self.vertices = nodes
            self.edges = edges

    for graph in (Graph(Frame(), features=["age", "id"]), Graph.from_graphframe(Frame(), features=["age", "id"])):
        assert (graph.nodes, graph.edges) == (nodes, edges)
    with pytest.raises(DataError, match=r"^from_graphframe takes a GraphFrame, not DataFrame$"):
        Graph.from_graphframe(nodes)
    with pytest.raises(DataError, match="a node table and an edge table, or one GraphFrame"):
        Graph(nodes)


UNUSABLE = [
    ({"id": "idd"}, r"nodes has no column 'idd'; did you mean 'id'\? \(id, x, age, name, day exist\)"),
    ({"features": ["age", "agge"]}, r"nodes has no column 'agge'; did you mean 'age'"),
    ({"id": "day"}, r"nodes\.day is date; ids may be integers up to 64 bits, or strings"),
    ({"id": "name"}, r"nodes\.name is string but edges\.src is bigint; ids must be integers in both tables, or text"),
    ({"src": "text"}, r"edges\.text is string but edges\.dst is bigint"),
    ({"features": "day"}, r"nodes\.day is date; values must be numbers or arrays of numbers"),
    ({"features": "name"}, r"nodes\.name is string \(for example 'a'\); values must be numbers"),
    ({"edge_features": "text"}, r"edges\.text is string; values must be numbers"),
]


@pytest.mark.parametrize(("options", "words"), UNUSABLE)
def test_unusable_columns(nodes: DataFrame, edges: DataFrame, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Graph(nodes, edges, **options)


def test_vectors_of_spark_ml(spark: SparkSession, edges: DataFrame) -> None:
    from pyspark.ml.linalg import Vectors

    nodes = spark.createDataFrame([(1, Vectors.dense(1.0, 2.0))], ["id", "x"])
    with pytest.raises(DataError, match=r"nodes\.x is vector; .*vector_to_array makes an array of it"):
        Graph(nodes, edges)


def test_two_columns_of_one_name(spark: SparkSession, edges: DataFrame) -> None:
    with pytest.raises(DataError, match="nodes has more than one column named 'x'; rename or drop one of them"):
        Graph(spark.sql("select 1 id, 2 x, 3 x"), edges)


# ---- files


@pytest.fixture
def files(tmp_path: Path) -> Path:
    graph = mixed()
    pq.write_table(graph.nodes, tmp_path / "nodes.parquet")
    pq.write_table(graph.edges, tmp_path / "edges.parquet")
    pa.csv.write_csv(graph.edges.select(["src", "dst", "weight"]), tmp_path / "edges.csv")
    return tmp_path


def test_formats_by_name(files: Path) -> None:
    (files / "dir").mkdir()
    (files / "dir" / "_SUCCESS").touch()
    (files / "dir" / "part-0.csv").write_text("a\n1\n")
    (files / "delta" / "_delta_log").mkdir(parents=True)
    (files / "delta" / "_delta_log" / "0.json").touch()
    (files / "delta" / "part-0.parquet").touch()
    for name, format in {"nodes.parquet": "parquet", "edges.csv": "csv", "dir": "csv", "delta": "delta"}.items():
        assert format_at(files / name) == format
    shutil.copy(files / "nodes.parquet", files / "nodes")
    assert format_at(files / "nodes") == "parquet", "its first and last bytes tell it"
    (files / "table.txt").write_text("id,x")
    with pytest.raises(
        StorageError, match=r"table.txt: the name does not say the format; give it, one of parquet, csv"
    ):
        format_at(files / "table.txt")


def format_at(path: Path) -> str:
    listing = list_table(Place.of(path))
    assert listing is not None
    return format_of(listing, None)


def test_parquet_and_csv(spark: SparkSession, files: Path) -> None:
    graph = Graph.read(spark, f"{files}/nodes.parquet", f"{files}/edges.csv", edge_features="weight")
    assert graph.edges.count() == 3000
    assert dict(graph.edges.dtypes)["src"] == "bigint"
    assert graph.describe()["sources"] == {
        "nodes": {"path": f"{files}/nodes.parquet", "format": "parquet"},
        "edges": {"path": f"{files}/edges.csv", "format": "csv"},
    }
    named = Graph.read(spark, f"{files}/nodes.parquet", f"{files}/edges.csv", "parquet", "csv")
    assert named.sources == graph.sources


def test_text_in_a_column_of_numbers(spark: SparkSession, files: Path) -> None:
    (files / "edges.csv").write_text("src,dst,weight\n1,2,0.5\n1,3,heavy\n")
    with pytest.raises(DataError, match=r"edges\.weight is string \(for example 'heavy'\); values must be numbers"):
        Graph.read(spark, f"{files}/nodes.parquet", f"{files}/edges.csv", edge_features="weight")


def empty_directory(path: Path) -> None:
    path.mkdir()
    (path / "_SUCCESS").touch()


def not_parquet(path: Path) -> None:
    path.write_text("id,x\n1,2\n")


def half_a_parquet(path: Path) -> None:
    pq.write_table(mixed().nodes, path)
    path.write_bytes(path.read_bytes()[:1000])


def garbage_in_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1 garbage PAR1")


UNREADABLE = [
    ("table.parquet", lambda path: None, r"table\.parquet: no such file or directory"),
    ("table.csv", lambda path: None, r"table\.csv: no such file or directory"),
    ("table", empty_directory, "table: the directory holds no data files"),
    ("table.parquet", not_parquet, r"table\.parquet: table\.parquet is not a Parquet file"),
    ("table.parquet", half_a_parquet, r"table\.parquet is a Parquet file whose end is missing"),
    ("table.parquet", garbage_in_parquet, r"table\.parquet: table\.parquet cannot be read as parquet, it is damaged: "),
    ("table.csv", lambda path: pq.write_table(mixed().nodes, path), r"table\.csv is a Parquet file, not CSV"),
    ("table.csv", lambda path: path.touch(), r"table\.csv is empty, without a header line"),
]


@pytest.mark.parametrize(("name", "make", "words"), UNREADABLE)
def test_unreadable_tables(spark: SparkSession, tmp_path: Path, name: str, make: Any, words: str) -> None:
    make(tmp_path / name)
    with pytest.raises(StorageError, match=words) as caught:
        open_table(str(tmp_path / name), Reading(spark))
    assert "\n" not in str(caught.value)


def test_unknown_format(spark: SparkSession, files: Path) -> None:
    with pytest.raises(StorageError, match=r"unknown format 'parket'; did you mean 'parquet'\?"):
        open_table(f"{files}/nodes.parquet", Reading(spark, "parket"))


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_no_permission(spark: SparkSession, files: Path) -> None:
    (files / "nodes.parquet").chmod(0)
    with pytest.raises(StorageError, match=r"no permission to read nodes\.parquet"):
        open_table(f"{files}/nodes.parquet", Reading(spark))


# ---- pieces


def test_pieces_are_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tables.parquet.PIECE_BYTES", 20_000)
    edges = mixed().edges
    (tmp_path / "table").mkdir()
    pq.write_table(edges.slice(0, 2000), tmp_path / "table" / "a.parquet", row_group_size=300)
    pq.write_table(edges.slice(2000), tmp_path / "table" / "b.parquet")
    columns = ("dst", "src", "dst", "attr")
    pieces = table_at(tmp_path / "table").pieces(columns)
    assert pieces is not None
    assert len(pieces) == 3
    assert sum(piece.rows for piece in pieces) == 3000
    batches = list(read_pieces(pieces, columns))
    read = pa.Table.from_batches(batches)
    assert [column.to_pylist() for column in read.columns] == [edges[name].to_pylist() for name in columns]


def decimals(table: pa.Table) -> pa.Table:
    return table.set_column(2, "weight", table["weight"].cast(pa.decimal128(10, 2)))


def table_at(path: Path) -> Table:
    table = open_table(str(path), Reading()).table
    assert isinstance(table, Table)
    return table


def test_decimals_are_the_nearest_float32(tmp_path: Path) -> None:
    """By their digits, as Spark casts them: a float64 between would be rounded twice."""
    pq.write_table(decimals(mixed().edges), tmp_path / "decimals.parquet")
    (batch, *_) = read_pieces(table_at(tmp_path / "decimals.parquet").pieces(["weight"]) or [], ["weight"])
    assert batch.column(0).to_pylist()[:50] == mixed().edges["weight"].to_pylist()[:50]
    exact = Decimal("1.000000059604644775390625000000000001")  # just above the middle of two float32
    pq.write_table(pa.table({"w": pa.array([exact])}), tmp_path / "one.parquet")
    (batch,) = read_pieces(table_at(tmp_path / "one.parquet").pieces(["w"]) or [], ["w"])
    assert batch.column(0).to_pylist() == [1.0 + 2.0**-23]


# ---- without Spark


def test_parquet_files_are_a_graph_without_spark(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "x": [[1.0, 2.0]], "n": pa.array([1], pa.int16())}), tmp_path / "n.parquet")
    pq.write_table(pa.table({"src": ["a"], "dst": ["a"]}), tmp_path / "e.parquet")
    paths = f"{tmp_path}/n.parquet", f"{tmp_path}/e.parquet"
    graph = Graph.of_files(*paths, features={"x": "x", "n": "n"})
    assert graph is not None
    assert graph.session is None
    assert graph.id_type == "string"
    assert [value.array for value in graph.node_layout.values] == [True, False]
    with pytest.raises(DataError, match="nodes has no column 'y'"):
        Graph.of_files(*paths, features="y")


def test_what_only_spark_can_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"src": [1], "dst": [1]}), tmp_path / "e.parquet")
    (tmp_path / "delta" / "_delta_log").mkdir(parents=True)
    for nodes in ("viewfs://lake/nodes", "dbfs:/nodes", str(tmp_path / "delta")):
        assert Graph.of_files(nodes, f"{tmp_path}/e.parquet") is None


def test_a_damaged_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "n.parquet").write_bytes(b"PAR1 but no more")
    pq.write_table(pa.table({"src": [1], "dst": [1]}), tmp_path / "e.parquet")
    with pytest.raises(StorageError, match="whose end is missing"):
        Graph.of_files(f"{tmp_path}/n.parquet", f"{tmp_path}/e.parquet")


def test_a_column_that_is_nearly_named_says_the_option_and_all_columns_once(no_session):
    edges = pa.table({"src": [1], "dst": [1], "distance": [1.0]})
    with pytest.raises(DataError) as caught:
        Graph(pa.table({"id": [1], "x": [1.0]}), edges, edge_features=["dist"])
    assert str(caught.value) == (
        "edges has no column 'dist'; did you mean 'distance'? (src, dst, distance exist); edge_features= says which "
        "column is meant"
    )


@pytest.mark.parametrize("features", [["age"], {"x": "age"}, {"x": ["age"]}])
def test_a_list_of_one_column_is_x(features: Any) -> None:
    """As lists of several are: whoever makes the list need not count it."""
    nodes, edges = pa.table({"id": [1, 2], "age": [1.0, 2.0]}), pa.table({"src": [1], "dst": [2]})
    assert Graph(nodes, edges, features=features).widths[NODE].keys() == {"x"}
    assert Graph(nodes, edges, features="age").widths[NODE].keys() == {"age"}
