"""The tables that a typed graph was prepared from, read again, and its scores: a table for each type of nodes.

Comes in: a prepared graph, whose manifest knows paths and columns; tables in their place; where scores are. Goes out: a
`Graph`; tables by type. Knows nothing of what they are read for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError, SettingError, StorageError
from pipeline.graph import Graph
from pipeline.places.filesystem import opened
from pipeline.places.marker import MARKER, read_marker
from pipeline.places.place import Place
from pipeline.places.through_spark import place_in
from pipeline.prepared import PreparedGraph
from pipeline.result.destination import refuse_mixture
from pipeline.result.manifest import tables_by_type
from pipeline.schema import AnyType, EdgeType, folder_of
from pipeline.spark.session import active_session
from pipeline.tables.layout import table_of
from pipeline.tables.table import Table
from pipeline.tables.types import edge_type_of, node_type_of, one_way
from pipeline.verifying.sources import Source, local_scores, needed_session, one_or_all, scores_table, source_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def typed_graph(graph: PreparedGraph, nodes: Any, edges: Any, spark: SparkSession | None) -> Graph:
    """The tables that a graph was prepared from, as its manifest describes them; or those given by type."""
    if spark is None and active_session() is None:
        here = local_typed_graph(graph, nodes, edges)
        if here is not None:
            return here
    return Graph(**_arguments(graph, nodes, edges), spark=spark or needed_session())


def local_typed_graph(graph: PreparedGraph, nodes: Any = None, edges: Any = None) -> Graph | None:
    """The same, read by this process; None if it takes Spark. StorageError if a table is not there at all."""
    arguments = _arguments(graph, nodes, edges)
    return None if nodes or edges else Graph.of_files(**arguments)


def local_typed_scores(path: str) -> bool:
    """Whether this process reads the scores itself. StorageError if they are not there, or not whole."""
    refuse_mixture(Place.of(path))
    return all(local_scores(each) is not None for each in folders(path).values())


def scores_by_type(graph: Graph, types: Sequence[AnyType], scores: Any) -> dict[AnyType, DataFrame | Table]:
    """Type → its scores, as far as there are some. `types`: for which the model gives something.

    Raises
    ------
    DataError
        If there are none at all, or some of a type for which the model gives nothing.
    """
    if isinstance(scores, str):
        found: Mapping[Any, Any] = folders(scores)
        refuse_mixture(place_in(graph.session or active_session(), scores))
    elif isinstance(scores, Mapping):
        found = {key if isinstance(key, str) else edge_type_of(key): table for key, table in scores.items()}
    else:
        raise DataError(
            "the scores of a typed graph are the folder that infer wrote, or type → DataFrame, as infer returns it"
        )
    unknown = [name for name in found if name not in types]
    if unknown or not found:
        what = f"of type {str(unknown[0])!r}, for which the model gives nothing" if unknown else "of no type"
        raise DataError(f"there are scores {what}; the model's types are {', '.join(map(str, types))}")
    return {name: scores_table(graph, found[name]) for name in types if name in found}


def folders(path: str) -> dict[AnyType, str]:
    """Type → where its scores are, as the marker of a result says. StorageError if it says nothing of types."""
    here = opened(Place.of(path))
    marker = read_marker(here) if here is not None else None
    tables = tables_by_type(marker or {})
    if tables is None:
        raise StorageError(
            f"{path}: is not what infer writes for a typed graph, a folder with a table for each type and {MARKER}"
        )
    return {type: f"{path.rstrip('/')}/{folder_of(type)}" for type in tables}


# ---- the raw tables


def _arguments(graph: PreparedGraph, nodes: Any = None, edges: Any = None) -> dict[str, Any]:
    """The tables of a typed graph and what their columns mean, as arguments of a `Graph`; `nodes` and `edges` are type
    → table, where they are others. SettingError if it is not known where they are."""
    manifest = graph.manifest
    types: dict[str, Any] = {table_of(name): name for name in graph.node_counts}
    of_edges = [each for each in graph.edge_counts if not each.is_reversed]
    types |= {table_of(each): each for each in (one_way(of_edges) if graph.undirected else of_edges)}
    instead: dict[Any, Any] = {}
    for option, others in (("nodes", nodes), ("edges", edges)):
        if others is not None and not isinstance(others, Mapping):
            raise SettingError(f"this graph has several types: {option} takes type → table, from Python")
        type_of = node_type_of if option == "nodes" else edge_type_of
        instead |= {type_of(key): table for key, table in (others or {}).items()}
    given = {name: _typed_source(graph, name, instead.get(type)) for name, type in types.items()}
    columns, where = manifest["columns"], {}
    tables: dict[str, dict[Any, Any]] = {"nodes": {}, "edges": {}}
    meaning: dict[str, dict[Any, Any]] = {name: {} for name in ("features", "edge_features", "id", "src", "dst")}
    formats: dict[str, set[str | None]] = {"nodes": set(), "edges": set()}
    for name, type in types.items():
        of, kind = columns[name], "edges" if isinstance(type, EdgeType) else "nodes"
        tables[kind][type] = given[name].table
        formats[kind].add(given[name].format)
        meaning["features" if kind == "nodes" else "edge_features"][type] = {
            value: one_or_all(parts) for value, parts in of["values"].items()
        }
        for option, column in zip(("id",) if kind == "nodes" else ("src", "dst"), of["ids"], strict=True):
            meaning[option][type] = column
        if "where" in of:
            where[type] = of["where"]
    arguments: dict[str, Any] = {
        **meaning,
        "format": _one_format(formats["nodes"]),
        "edges_format": _one_format(formats["edges"]),
        "undirected": manifest["undirected"],
        "drop_dangling": manifest["drop_dangling"],
        "csv": next((source.csv for source in given.values() if source.csv is not None), None),
    }
    if not where:
        return {**tables, **arguments}
    (node_type,), (relation,) = ({where[type][0] for type in tables[kind]} for kind in ("nodes", "edges"))
    return {
        **{kind: next(iter(by_type.values())) for kind, by_type in tables.items()},
        **arguments,
        "node_type": node_type,
        "relation": relation,
        "edge_types": {where[type][1]: type for type in tables["edges"]},
    }


def _one_format(formats: set[str | None]) -> str:
    """That of all tables; where they differ, the files tell it."""
    (format,) = formats if len(formats) == 1 else {None}
    return format or "auto"


def _typed_source(graph: PreparedGraph, name: str, given: Any) -> Source:
    if given is None and not {"path", "table"} & {*(graph.manifest["sources"].get(name) or ())}:
        raise SettingError(
            f"{graph.path} was prepared from tables in memory: nobody knows where {name} is; verify from Python, with "
            "the Graph, or with nodes= and edges= by type"
        )
    return source_of(graph, name, given)
