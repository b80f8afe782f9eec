"""What is known of a user's tables before they are prepared: who can read them, how large and how wide they are.

Comes in: a `Graph`. Goes out: pieces of Parquet tables, counts, widths. Knows Spark; looks at footers and at one row,
and runs a job only where a table is not in Parquet files that everybody sees.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pipeline import resources, storage
from pipeline.errors import StorageError
from pipeline.graph import Graph
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.tables.files import Piece, is_visible, parquet_pieces, read_pieces
from pipeline.tables.layout import Layout
from pipeline.workers import ask_workers, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Pieces = dict[str, list[Piece] | None]
"""nodes, edges → the pieces that workers may read themselves; None if the table has to come through Spark."""

_PROBE = ".probe"


def pieces_of(graph: Graph, layout: Layout) -> list[Piece] | None:
    """The pieces of a table that workers may read themselves: Parquet, and not changed since it was read."""
    source = graph.sources.get(layout.table, {})
    if not graph.as_read or source.get("format") != "parquet":
        return None
    return parquet_pieces(source["path"], layout.columns)


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
        raise StorageError(
            f"{storage.graph_of(staging)}: the workers do not see this directory; give a path that all machines share"
        )
    seen = {table for i, table in enumerate(first) if all(answer[i + 1] for answer in answers)}
    return len(answers), {table: found if table in seen else None for table, found in pieces.items()}


def _visible(staging: str, token: str, pieces: list[Piece]) -> list[bool]:
    return [storage.read_text(staging, _PROBE) == token, *map(is_visible, pieces)]


def measure(graph: Graph, pieces: Pieces) -> tuple[int, int, int]:
    """Nodes, edges, and lanes of a node's features. Runs jobs for a table that has no pieces."""
    counts = {}
    for table, frame in (("nodes", graph.nodes), ("edges", graph.edges)):
        found = pieces[table]
        counts[table] = frame.count() if found is None else sum(piece.rows for piece in found)
    edges = counts["edges"] * (2 if graph.edge_layout.undirected else len(graph.edge_layout.edge_types))
    return counts["nodes"], edges, sum(widths(graph.nodes, graph.node_layout, pieces["nodes"]).values())


def first_widths(graph: Graph) -> GraphSchema:
    """The columns of the graph's values, and their widths in some row of each table; 0 where no row tells.

    Runs a job for each table that is not plain Parquet, and takes one row of it.
    """
    nodes = widths(graph.nodes, graph.node_layout, pieces_of(graph, graph.node_layout))
    edges = widths(graph.edges, graph.edge_layout, pieces_of(graph, graph.edge_layout))
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
