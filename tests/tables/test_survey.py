"""What is known of tables before they are prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from pipeline.graph import Graph
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.spark.handshake import handshake
from pipeline.tables.survey import first_widths, measure, pieces_of
from tests.graphs import GRAPHS, Tables
from tests.test_prepare import OPTIONS, held, write

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.parametrize("read", [True, False])
def test_widths_and_counts(spark: SparkSession, tmp_path: Path, read: bool) -> None:
    tables = GRAPHS["self_loops"]()
    graph = Graph.read(spark, *write(tables, tmp_path), **OPTIONS) if read else held(spark, tables)
    assert first_widths(graph, handshake(spark)) == GraphSchema({NODE: {"x": 5}}, {EDGE: {"weight": 1, "attr": 2}})
    pieces = {
        layout.table: pieces_of(graph, layout, handshake(spark)) for layout in (graph.node_layout, graph.edge_layout)
    }
    assert all(found is not None for found in pieces.values()) == read
    assert measure(graph, pieces) == (len(tables.nodes), len(tables.edges), 5)
    graph = Graph(graph.nodes, graph.edges, undirected=True, spark=spark)
    assert measure(graph, {"nodes": None, "edges": None}) == (len(tables.nodes), 2 * len(tables.edges), 5)


@pytest.mark.parametrize("rows", [0, 1])
def test_arrays_of_which_no_row_tells_the_width(spark: SparkSession, tmp_path: Path, rows: int) -> None:
    nodes = pa.table({"id": pa.array([1] * rows, pa.int64()), "x": pa.array([None] * rows, pa.list_(pa.float32()))})
    edges = pa.table(
        {"src": pa.array([], pa.int64()), "dst": pa.array([], pa.int64()), "w": pa.array([], pa.float64())}
    )
    options = {"edge_features": "w"}
    expected = GraphSchema({NODE: {"x": 0}}, {EDGE: {"w": 1}})
    for graph in (
        held(spark, Tables(nodes, edges), **options),
        Graph.read(spark, *write(Tables(nodes, edges), tmp_path), **options),
    ):
        assert first_widths(graph, handshake(spark)) == expected
