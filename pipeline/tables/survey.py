"""What is known of a user's tables before they are prepared: who can read them, how large and how wide they are.

Comes in: a `Graph`, and what its tasks see. Goes out: pieces of Parquet tables, counts, widths. Knows Spark; looks at
footers and at one row, and runs a job only where a table is not in Parquet files that everybody sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.graph import Graph
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.spark.handshake import Handshake, Probe
from pipeline.tables.files import Piece, parquet_pieces, read_pieces
from pipeline.tables.layout import Layout
from pipeline.workers import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

Pieces = dict[str, list[Piece] | None]
"""nodes, edges → the pieces that workers may read themselves; None if the table has to come through Spark."""


def table_probes(graph: Graph) -> list[Probe]:
    """Where tables are that tasks would read themselves, if they see them."""
    paths = [_path(graph, layout) for layout in (graph.node_layout, graph.edge_layout)]
    return [Probe(path, by_spark=True) for path in paths if path is not None]


def pieces_of(graph: Graph, layout: Layout, shake: Handshake) -> list[Piece] | None:
    """The pieces of a table that tasks may read themselves: Parquet, not changed since it was read, and seen by all."""
    path = _path(graph, layout)
    if path is None or not (shake.means_same(path) and shake.sees(path)):
        return None
    return parquet_pieces(path, layout.columns)


def _path(graph: Graph, layout: Layout) -> str | None:
    """Of a table that is as it was read from Parquet files."""
    source = graph.sources.get(layout.table, {})
    return source["path"] if graph.as_read and source.get("format") == "parquet" else None


def measure(graph: Graph, pieces: Pieces) -> tuple[int, int, int]:
    """Nodes, edges, and lanes of a node's features. Runs jobs for a table that has no pieces."""
    counts = {}
    for table, frame in (("nodes", graph.nodes), ("edges", graph.edges)):
        found = pieces[table]
        counts[table] = frame.count() if found is None else sum(piece.rows for piece in found)
    edges = counts["edges"] * (2 if graph.edge_layout.undirected else len(graph.edge_layout.edge_types))
    return counts["nodes"], edges, sum(widths(graph.nodes, graph.node_layout, pieces["nodes"]).values())


def first_widths(graph: Graph, shake: Handshake) -> GraphSchema:
    """The columns of the graph's values, and their widths in some row of each table; 0 where no row tells.

    Runs a job for each table that is not plain Parquet, and takes one row of it.
    """
    nodes = widths(graph.nodes, graph.node_layout, pieces_of(graph, graph.node_layout, shake))
    edges = widths(graph.edges, graph.edge_layout, pieces_of(graph, graph.edge_layout, shake))
    return GraphSchema({NODE: nodes}, {EDGE: edges})


def widths(table: DataFrame, layout: Layout, pieces: list[Piece] | None) -> dict[str, int]:
    """Value → lanes in some row; of numbers they are known, of arrays 0 if there is no row."""
    found = {value.name: 0 if value.array else len(value.columns) for value in layout.values}
    if all(found.values()):
        return found
    if pieces is None:
        batches = iter(selected(table.limit(1), layout).toArrow().to_batches())
    else:
        batches = read_pieces(pieces, layout.columns)
    some = next((batch for batch in batches if batch.num_rows), None)
    at = len(layout.keys)
    for value in layout.values:
        if some is not None and value.array:
            found[value.name] = len(some.column(at)[0].as_py() or ())
        at += len(value.columns)
    return found


def selected(table: DataFrame, layout: Layout) -> DataFrame:
    """The layout's columns in its order, cast to what `pack` takes."""
    from pyspark.sql import functions as F

    key = "string" if layout.text else "bigint"
    columns = [F.col(quoted(name)).cast(key) for name in layout.keys]
    types = dict(table.dtypes)
    for value in layout.values:
        for name in value.columns:
            column = F.col(quoted(name))
            if not value.array:
                columns.append(column.cast("float"))
            elif types[name] in ("array<float>", "array<double>"):
                columns.append(column)  # NumPy makes float32 of doubles faster than Spark casts an array
            else:
                columns.append(column.cast("array<float>"))
    return table.select(*(column.alias(f"c{i}") for i, column in enumerate(columns)))
