"""Raw tables as a job names them: paths, formats, which columns are features.

Comes in: paths, and a model that reads columns. Goes out: a `Graph`, read by Spark or, where it can be, without. Knows
nothing of what is done with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError, SettingError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.graph import Graph
    from pipeline.model import Model
    from pipeline.tables.csv_text import Csv
    from pipeline.tables.spec import GraphSpec


@dataclass(frozen=True)
class RawTables:
    """Paths of both tables, or what names those of a typed graph; and their formats if they were given."""

    nodes: str | None
    edges: str | None
    nodes_format: str | None = None
    edges_format: str | None = None

    csv: Csv | None = None
    """How CSV files are to be read."""
    spec: GraphSpec | None = None

    def __post_init__(self) -> None:
        for name, path in (("nodes", self.nodes), ("edges", self.edges)):
            if path is not None and not path.strip():
                raise SettingError(f"--{name} is empty; is a variable unset?")

    @property
    def tables(self) -> dict[str, str]:
        """What a table is called → its path."""
        if self.spec is not None:
            return self.spec.tables
        return {name: path for name, path in (("nodes", self.nodes), ("edges", self.edges)) if path is not None}

    def read_without_spark(self, **options: Any) -> Graph | None:
        """Without Spark; None if only Spark can read them. StorageError if one is not there at all."""
        from pipeline.graph import Graph

        return Graph.of_files(**self._arguments(options))

    def read(self, spark: SparkSession, **options: Any) -> Graph:
        """With a session; `options` are those of `Graph`."""
        from pipeline.graph import Graph

        return Graph.read(spark, **self._arguments(options))

    def _arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The format of the nodes is not that of the edges as well."""
        formats = {"format": self.nodes_format or "auto", "edges_format": self.edges_format or "auto", "csv": self.csv}
        if self.spec is not None:
            return self.spec.arguments(**formats, **options)
        return {"nodes": self.nodes, "edges": self.edges, **formats, **options}


def graph_spec(path: str | None, nodes: str | None, edges: str | None, columns: Mapping[str, Any]) -> GraphSpec | None:
    """What --graph-spec names; SettingError for options that it leaves no room for. `columns`: those that name
    columns, as far as they were given."""
    if path is None:
        return None
    if nodes is not None or edges is not None:
        raise SettingError("--graph-spec names the tables; leave --nodes and --edges out")
    if not path.strip():
        raise SettingError("--graph-spec is empty; is a variable unset?")
    from pipeline.tables.spec import GraphSpec

    spec = GraphSpec.read(path)
    if columns and spec.options:
        extra = ", ".join(f"--{name.replace('_', '-')}" for name in columns)
        raise SettingError(f"{extra}: of no use with --graph-spec; {path} names the columns of each table")
    return spec


def columns_for(model: Model, options: Mapping[str, Any], spec: GraphSpec | None = None) -> dict[str, Any]:
    """The columns that a model reads, as options of a `Graph`; a list of features stands for the only node column of a
    model, whatever its name."""
    options = dict(options)
    if spec is not None:
        return {**_columns_by_type(model, spec, bool(options.get("undirected"))), **options}
    read: dict[str, list[str]] = {"nodes": [], "edges": []}
    for column in model.inputs:
        table, _, name = column.rpartition(".")
        if table not in read:
            raise ModelError(
                f"the model reads {column}, of a typed graph; --nodes and --edges are tables without types: name those "
                "of each type with --graph-spec"
            )
        read[table].append(name)
    given = options.pop("features", None)
    if given is None:
        features: Any = _remembered(model, "nodes", read["nodes"])
    else:
        features = given
        if len(read["nodes"]) == 1 and isinstance(features, list):
            features = {read["nodes"][0]: features}
    edge_features = options.pop("edge_features", None) or _remembered(model, "edges", read["edges"])
    return {"features": features, "edge_features": edge_features, **options}


def _remembered(model: Model, table: str, read: Sequence[str]) -> dict[str, str | list[str]]:
    """Of an input whose columns the model knows, they are the ones."""
    trained = {name: model.training.get(f"{table}.{name}") for name in read}
    return {name: list(each.names) if each and each.names else name for name, each in trained.items()}


def _columns_by_type(model: Model, spec: GraphSpec, undirected: bool) -> dict[str, Any]:
    """The same by the types of a graph, edges of which are read for the type of the other direction, too, if they are
    `undirected`. What the file says of a type's features stays; of a type with one feature it
    stands for that, whatever its name."""
    from pipeline.tables.layout import table_of
    from pipeline.tables.types import reverse_of

    read: dict[str, list[str]] = {}
    for column in model.inputs:
        table, _, name = column.rpartition(".")
        read.setdefault(table, []).append(name)
    features: dict[Any, Any] = {}
    for type in spec.nodes:
        names = read.get(table_of(type), [])
        said = spec.options.get("features", {}).get(type)
        if said is None:
            features[type] = {name: name for name in names}
        else:
            features[type] = {names[0]: said} if len(names) == 1 and not isinstance(said, Mapping) else said
    said_of_edges = spec.options.get("edge_features", {})
    edge_features: dict[Any, Any] = {}
    for edges in spec.edges:
        names = [name for each in (edges, reverse_of(edges))[: 1 + undirected] for name in read.get(table_of(each), [])]
        edge_features[edges] = said_of_edges.get(edges, list(dict.fromkeys(names)))
    return {"features": features, "edge_features": edge_features}
