"""What is known of a user's tables before they are prepared: who can read them, how large and how wide they are.

Comes in: a `Graph`. Goes out: pieces of its tables, counts, widths. Knows Spark; looks at footers and at some rows, and
runs a job only where a table is not in files that everybody sees.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import resources, storage
from pipeline.errors import StorageError
from pipeline.graph import Graph
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.tables.layout import Layout
from pipeline.tables.table import Piece, Table, read_pieces
from pipeline.workers import ask_workers

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Pieces = dict[str, list[Piece] | None]
"""nodes, edges → the pieces that workers may read themselves; None if the table has to come through Spark."""

_PROBE = ".probe"
FIRST_ROWS = 100  # that tell the width of arrays


def pieces_of(graph: Graph, layout: Layout) -> list[Piece] | None:
    """The pieces of a table that workers may read themselves; None of a DataFrame and of files that only Spark sees."""
    table = getattr(graph, layout.table)
    return table.pieces(layout.columns) if isinstance(table, Table) else None


def frame_of(table: DataFrame | Table, spark: SparkSession | None, layout: Layout) -> DataFrame:
    """The table through Spark, with at least the layout's columns."""
    if not isinstance(table, Table):
        return table
    assert spark is not None, "who has no session reads pieces"
    return table.frame(spark, list(dict.fromkeys(layout.columns)))


def look_around(spark: SparkSession | None, staging: str, pieces: Pieces) -> tuple[int, Pieces]:
    """Whether workers see the directory to write into, which they must, and the tables. Runs a job, unless they are on
    this machine.

    Returns how many tasks run at once, and the pieces of tables that all workers see.
    """
    if spark is None or resources.is_local(spark):
        return resources.local_tasks(spark), pieces
    token = staging.rpartition("-")[2]
    storage.write_text(staging, _PROBE, token)
    first = {table: found[0] for table, found in pieces.items() if found}
    answers = ask_workers(spark, functools.partial(_visible, staging, token, list(first.values())))
    storage.remove(staging, _PROBE)
    if not all(answer[0] for answer in answers):
        raise StorageError(f"{staging}: the workers do not see this directory; give a path that all machines share")
    seen = {table for i, table in enumerate(first) if all(answer[i + 1] for answer in answers)}
    return len(answers), {table: found if table in seen else None for table, found in pieces.items()}


def _visible(staging: str, token: str, pieces: list[Piece]) -> list[bool]:
    return [storage.read_text(staging, _PROBE) == token, *(piece.is_visible() for piece in pieces)]


def measure(graph: Graph, pieces: Pieces) -> tuple[int, int, int]:
    """Nodes, edges, and lanes of a node's features. Runs jobs for a table that has no pieces."""
    both = 2 if graph.edge_layout.undirected else len(graph.edge_layout.edge_types)
    lanes = sum(widths(graph, graph.node_layout, pieces["nodes"]).values())
    return graph.nodes.count(), graph.edges.count() * both, lanes


def first_widths(graph: Graph) -> GraphSchema:
    """The columns of the graph's values, and their widths in some row of each table; 0 where no row tells.

    Runs a job for each table that is not plain Parquet, and takes one row of it.
    """
    nodes = widths(graph, graph.node_layout, pieces_of(graph, graph.node_layout))
    edges = widths(graph, graph.edge_layout, pieces_of(graph, graph.edge_layout))
    return GraphSchema({NODE: nodes}, {EDGE: edges})


def widths(graph: Graph, layout: Layout, pieces: list[Piece] | None) -> dict[str, int]:
    """Value → lanes in most of the first rows; of numbers they are known, of arrays 0 if there is no row."""
    found = {value.name: 0 if value.array else len(value.columns) for value in layout.values}
    if all(found.values()):
        return found
    if pieces is None:
        frame = frame_of(getattr(graph, layout.table), graph.session, layout)
        batches = iter(selected(frame.limit(FIRST_ROWS), layout).toArrow().to_batches())
    else:
        batches = read_pieces(pieces, layout.columns)
    some = next((batch for batch in batches if batch.num_rows), None)
    at = len(layout.keys)
    for value in layout.values:
        if some is not None and value.array:
            found[value.name] = _usual_length(some.column(at)[:FIRST_ROWS])
        at += len(value.columns)
    return found


def _usual_length(arrays: pa.Array) -> int:
    """The first row may be the one that is wrong."""
    lengths = pc.mode(pc.list_value_length(arrays).drop_null())
    return int(lengths[0]["mode"].as_py()) if len(lengths) else 0


def selected(table: DataFrame, layout: Layout) -> DataFrame:
    """The layout's columns in its order, cast to what `pack` takes."""
    from pyspark.sql import functions as F

    types = dict(table.dtypes)
    # by position: two names that differ in case only are one name to Spark
    places = {name: f"c{at}" for at, name in enumerate(table.columns)}
    table = table.toDF(*places.values())
    key = "string" if layout.text else "bigint"
    columns = [F.col(places[name]).cast(key) for name in layout.keys]
    for value in layout.values:
        for name in value.columns:
            column = F.col(places[name])
            if not value.array:
                columns.append(column.cast("float"))
            elif types[name] in ("array<float>", "array<double>"):
                columns.append(column)  # NumPy makes float32 of doubles faster than Spark casts an array
            else:
                columns.append(column.cast("array<float>"))
    return table.select(*(column.alias(f"c{i}") for i, column in enumerate(columns)))
