"""The tables that a prepared graph was made of, read again, and the scores of a run: by Spark, or by this process.

Comes in: a prepared graph, whose manifest knows paths and columns; paths of other tables, in their place. Goes out: a
`Graph`; a table. Knows nothing of what they are read for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError
from pipeline.graph import Graph, PreparedGraph
from pipeline.places.place import Place
from pipeline.result.destination import refuse_mixture
from pipeline.spark.paths import default_filesystem
from pipeline.tables.files import ParquetTable, find_format, parquet_pieces, read_table, refuse_missing
from pipeline.workers import active_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def raw_graph(
    graph: PreparedGraph, nodes: DataFrame | str | None, edges: DataFrame | str | None, spark: SparkSession | None
) -> Graph:
    """The tables that a graph was prepared from, as its manifest describes them; or those given, in their place."""
    if spark is None and active_session() is None:
        here = graph_here(graph, nodes, edges)
        if here is not None:
            return here
    tables: dict[str, DataFrame] = {}
    for name, given in (("nodes", nodes), ("edges", edges)):
        if given is None or isinstance(given, str):
            path, format = _source(graph, name, given)
            spark = spark or _session()
            given = read_table(spark, path, format)
        tables[name] = given
    return Graph(tables["nodes"], tables["edges"], **_columns(graph))


def graph_here(graph: PreparedGraph, nodes: Any = None, edges: Any = None) -> Graph | None:
    """The same, read by this process; None if it takes Spark. StorageError if a table is not there at all."""
    if not all(given is None or isinstance(given, str) for given in (nodes, edges)):
        return None
    (nodes, format), (edges, edges_format) = _source(graph, "nodes", nodes), _source(graph, "edges", edges)
    refuse_missing(nodes)
    refuse_missing(edges)
    formats = format or find_format(nodes), edges_format or find_format(edges)
    return Graph.of_files(nodes, edges, *formats, **_columns(graph))


def scores_here(path: str) -> ParquetTable | None:
    """Scores that this process reads; None if it takes Spark. StorageError if they are not there, or not whole."""
    refuse_missing(path)
    refuse_mixture(Place.of(path))
    found = ParquetTable.open(path)
    return found if found and parquet_pieces(path, found.columns) is not None else None


def scores_table(graph: Graph, path: str) -> DataFrame | ParquetTable:
    """Scores, read as the graph's tables are. StorageError if they are not whole."""
    refuse_mixture(Place.of(path, default_filesystem(graph.session)))
    here = scores_here(path) if graph.session is None else None
    return here or read_table(graph.session or _session(), path)


def _source(graph: PreparedGraph, name: str, given: str | None) -> tuple[str, str | None]:
    """Path and format of a table: the one given, or that of the manifest. SettingError if it knows none."""
    source = graph.manifest["sources"].get(name) or {}
    path = source.get("path") if given is None else given
    if path is None:
        raise SettingError(f"{graph.path} was prepared from DataFrames: give the {name} table (--{name})")
    return path, source.get("format") if path == source.get("path") else None


def _columns(graph: PreparedGraph) -> dict[str, Any]:
    """What the columns of the raw tables mean, as options of a `Graph`."""
    manifest = graph.manifest
    columns = manifest["columns"]
    (id,), (src, dst) = columns["nodes"]["ids"], columns["edges"]["ids"]
    values = {table: {name: _one_or_all(c) for name, c in columns[table]["values"].items()} for table in columns}
    return {
        "features": values["nodes"],
        "edge_features": values["edges"],
        "undirected": manifest["undirected"],
        "id": id,
        "src": src,
        "dst": dst,
        "drop_dangling": manifest["drop_dangling"],
    }


def _one_or_all(columns: list[str]) -> str | list[str]:
    return columns[0] if len(columns) == 1 else columns


def _session() -> SparkSession:
    active = active_session()
    if active is None:
        raise SettingError("no Spark session is active; make one, or give `spark`")
    return active
