"""What is known of a user's tables before they are prepared: who can read them, how large and how wide they are.

Comes in: a `Graph`, and what its tasks see. Goes out: pieces of its tables, counts, widths. Knows Spark; looks at
footers and at some rows, and runs a job only where a table is not in files that everybody sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import GraphSchema, quoted
from pipeline.spark.handshake import Handshake, Probe
from pipeline.tables.layout import Layout
from pipeline.tables.table import Piece, Table, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from pipeline.graph import Graph

Pieces = dict[str, list[Piece] | None]
"""What a table is called → the pieces that workers may read themselves; None if the table has to come through Spark."""

FIRST_ROWS = 100  # that tell the width of arrays


def table_probes(graph: Graph) -> list[Probe]:
    """Where tables are that tasks would read themselves, if they see them."""
    sources = [table.source for table in graph.tables.values() if isinstance(table, Table)]
    return [Probe(source["path"]) for source in sources if source is not None]


def pieces_of(graph: Graph, layout: Layout, shake: Handshake) -> list[Piece] | None:
    """The pieces of a table that tasks may read themselves; None of a DataFrame, of files that not all of them see, and
    of what is in the memory of this process where they run elsewhere."""
    table = graph.tables[layout.table]
    if not isinstance(table, Table):
        return None
    seen = shake.local or (table.source is not None and shake.sees(table.source["path"]))
    return table.pieces(layout.columns) if seen else None


def frame_of(table: DataFrame | Table, spark: SparkSession | None, layout: Layout) -> DataFrame:
    """The table through Spark, with at least the layout's columns."""
    if not isinstance(table, Table):
        return table
    assert spark is not None, "who has no session reads pieces"
    return table.frame(spark, list(dict.fromkeys(layout.columns)))


def measure(graph: Graph, pieces: Pieces) -> tuple[int, int, int]:
    """Nodes, edges, and lanes of a node's features, the mean over the types. Runs jobs for a table that has no
    pieces."""
    nodes = edges = lanes = 0
    for layout in graph.node_layouts:
        count = rows_of(graph, layout)
        nodes += count
        lanes += count * sum(widths(graph, layout, pieces[layout.table]).values())
    for layout in graph.edge_layouts:
        both = 2 if layout.undirected else len(layout.edge_types)
        edges += rows_of(graph, layout) * both
    return nodes, edges, -(-lanes // max(1, nodes))


def rows_of(graph: Graph, layout: Layout) -> int:
    """Rows of a table that are meant. Runs a job for a table that has no pieces."""
    return layout.where.rows if layout.where else int(graph.tables[layout.table].count())


def first_widths(graph: Graph, shake: Handshake) -> GraphSchema:
    """The columns of the graph's values, and their widths in some row of each table; 0 where no row tells.

    Runs a job for each table that is not plain Parquet, and takes one row of it.
    """
    found = {layout.table: widths(graph, layout, pieces_of(graph, layout, shake)) for layout in graph.layouts}
    return GraphSchema(
        {layout.type: found[layout.table] for layout in graph.node_layouts},
        {layout.edge_type: found[layout.table] for layout in graph.edge_layouts},
    )


def widths(graph: Graph, layout: Layout, pieces: list[Piece] | None) -> dict[str, int]:
    """Value → lanes in most of the first rows; of numbers they are known, of arrays 0 if there is no row."""
    found = {value.name: 0 if value.array else len(value.columns) for value in layout.values}
    if all(found.values()):
        return found
    if pieces is None:
        from pyspark.sql import functions as F

        frame = selected(frame_of(graph.tables[layout.table], graph.session, layout), layout)
        if layout.where:
            frame = frame.where(F.col(quoted(frame.columns[-1])) == layout.where.value)
        batches = iter(frame.limit(FIRST_ROWS).toArrow().to_batches())
    else:
        batches = read_pieces(pieces, layout.columns)
    some = next((batch for batch in map(layout.chosen, batches) if batch.num_rows), None)
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
    words = ["string" if text else "bigint" for text in layout.texts]
    columns = [F.col(places[name]).cast(key) for name, key in zip(layout.keys, words, strict=True)]
    for value in layout.values:
        for name in value.columns:
            column = F.col(places[name])
            if not value.array:
                columns.append(column.cast("float"))
            elif types[name] in ("array<float>", "array<double>"):
                columns.append(column)  # NumPy makes float32 of doubles faster than Spark casts an array
            else:
                columns.append(column.cast("array<float>"))
    if layout.where:
        columns.append(F.col(places[layout.where.column]).cast("string"))
    return table.select(*(column.alias(f"c{i}") for i, column in enumerate(columns)))
