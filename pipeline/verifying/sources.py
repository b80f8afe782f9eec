"""The tables that a prepared graph was made of, read again, and the scores of a run: by Spark, or by this process.

Comes in: a prepared graph, whose manifest knows paths and columns; paths of other tables, in their place. Goes out: a
`Graph`; a table. Knows nothing of what they are read for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import DataError, SettingError
from pipeline.graph import Graph
from pipeline.places.place import Place
from pipeline.places.through_spark import place_in
from pipeline.prepared import PreparedGraph
from pipeline.result.destination import refuse_mixture
from pipeline.run.arguments import path_or_table
from pipeline.spark.resources import is_local
from pipeline.spark.session import active_session
from pipeline.tables.csv_text import Csv
from pipeline.tables.memory import describe, table_in_memory
from pipeline.tables.named import TableName, is_name
from pipeline.tables.opening import NeedsSpark, Reading, is_frame, open_table
from pipeline.tables.table import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def raw_graph(
    graph: PreparedGraph, nodes: DataFrame | str | None, edges: DataFrame | str | None, spark: SparkSession | None
) -> Graph:
    """The tables that a graph was prepared from, as its manifest describes them; or those given, in their place."""
    if spark is None and active_session() is None:
        here = local_graph(graph, nodes, edges)
        if here is not None:
            return here
    given = {name: source_of(graph, name, table) for name, table in (("nodes", nodes), ("edges", edges))}
    spark = spark or needed_session()
    return Graph(given["nodes"].table, given["edges"].table, spark=spark, **_reading(given), **_columns(graph))


def local_graph(graph: PreparedGraph, nodes: Any = None, edges: Any = None) -> Graph | None:
    """The same, read by this process; None if it takes Spark. StorageError if a table is not there at all."""
    if any(map(is_frame, (nodes, edges))):
        return None
    given = {name: source_of(graph, name, table) for name, table in (("nodes", nodes), ("edges", edges))}
    if not all(isinstance(source.table, str) for source in given.values()):  # one in memory
        try:
            return Graph(given["nodes"].table, given["edges"].table, **_reading(given), **_columns(graph))
        except NeedsSpark:
            return None
    return Graph.of_files(given["nodes"].table, given["edges"].table, **_reading(given), **_columns(graph))


def local_scores(path: str) -> Table | None:
    """Scores that this process reads; None if it takes Spark. StorageError if they are not there, or not whole."""
    if not is_name(path):
        refuse_mixture(Place.of(path))
    try:
        found = open_table(path, Reading()).table
    except NeedsSpark:
        return None
    return found if isinstance(found, Table) else None


def scores_table(graph: Graph, given: Any) -> DataFrame | Table:
    """Scores: by this process if it sees them, but by the workers if they are on other machines.
    StorageError if they are not whole; DataError for what is no table."""
    path = path_or_table(given)
    if not isinstance(path, str):
        found = path if is_frame(path) else table_in_memory("scores", path, [str(name) for name in _columns_of(path)])
        if found is None:
            raise DataError(
                f"scores is a {describe(path)}; the path that infer wrote, its DataFrame or its Arrow table is expected"
            )
        return found
    spark = graph.session or active_session()
    if not is_name(path):
        refuse_mixture(place_in(spark, path))
    try:
        found = open_table(path, Reading(spark)).table
    except NeedsSpark:
        found = open_table(path, Reading(needed_session())).table
    if isinstance(found, Table) and spark is not None and not is_local(spark):
        return found.frame(spark, found.columns)
    return found


def _columns_of(given: Any) -> Any:
    """Of a data frame all: what is in it was read from a result."""
    return getattr(given, "columns", ())


class Source(NamedTuple):
    table: Any
    """A path, or what was given in its place."""
    format: str | None = None
    csv: Csv | None = None


def source_of(graph: PreparedGraph, name: str, given: Any) -> Source:
    """A table: the one given, or that of the manifest. SettingError if it knows none."""
    source = graph.manifest["sources"].get(name) or {}
    path = source.get("path") if given is None else given
    if given is None and (by_name := _version_of(source)):
        return Source(by_name)
    if path is None:
        raise SettingError(f"{graph.path} was prepared from DataFrames: give the {name} table, {name}=…")
    known = isinstance(path, str) and path == source.get("path")
    if given is None and Place.of(path).is_local:  # whatever the session's default file system is
        path = Place.of(path).for_spark
    options = Csv(**source["csv"]) if "csv" in source else None
    return Source(path, source.get("format") if known else None, options)


def _version_of(source: Mapping[str, Any]) -> str | None:
    """A table by name, or a version of a Delta table at a path, as the graph was prepared from it; None of others."""
    version = source.get("version")
    name = TableName.of(source["table"]) if "table" in source else None
    if name is None and version is not None and "path" in source:
        name = TableName(("delta", Place.of(source["path"]).for_spark))
    return None if name is None else str(replace(name, version=version))


def _reading(given: Mapping[str, Source]) -> dict[str, Any]:
    """How the paths are to be read, as options of a `Graph`."""
    csv = next((source.csv for source in given.values() if source.csv is not None), None)
    return {
        "format": given["nodes"].format or "auto",
        "edges_format": given["edges"].format or "auto",
        "csv": csv,
    }


def _columns(graph: PreparedGraph) -> dict[str, Any]:
    """What the columns of the raw tables mean, as options of a `Graph`."""
    manifest = graph.manifest
    columns = manifest["columns"]
    (id,), (src, dst) = columns["nodes"]["ids"], columns["edges"]["ids"]
    values = {table: {name: one_or_all(c) for name, c in columns[table]["values"].items()} for table in columns}
    return {
        "features": values["nodes"],
        "edge_features": values["edges"],
        "undirected": manifest["undirected"],
        "id": id,
        "src": src,
        "dst": dst,
        "drop_dangling": manifest["drop_dangling"],
    }


def one_or_all(columns: list[str]) -> str | list[str]:
    return columns[0] if len(columns) == 1 else columns


def needed_session() -> SparkSession:
    active = active_session()
    if active is None:
        raise SettingError("no Spark session is active; make one, or give `spark`")
    return active
