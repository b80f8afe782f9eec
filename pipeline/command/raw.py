"""Raw tables as the command line names them: paths, formats, which columns are features.

Comes in: texts of options. Goes out: a `Graph`, read by Spark or, where it can be, without. Knows nothing of what is
done with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.graph import Graph
    from pipeline.model import Model


@dataclass(frozen=True)
class RawTables:
    """Paths of both tables, and their formats if they were given."""

    nodes: str
    edges: str
    nodes_format: str | None = None
    edges_format: str | None = None

    @property
    def formats(self) -> tuple[str, str]:
        from pipeline.tables.files import find_format

        return self.nodes_format or find_format(self.nodes), self.edges_format or find_format(self.edges)

    def read_here(self, **options: Any) -> Graph | None:
        """Without Spark, if they are Parquet on this machine. StorageError if one is not there at all."""
        from pipeline.graph import Graph
        from pipeline.tables.files import refuse_missing

        refuse_missing(self.nodes)
        refuse_missing(self.edges)
        return Graph.of_files(self.nodes, self.edges, *self.formats, **options)

    def read(self, spark: SparkSession, **options: Any) -> Graph:
        """By Spark; `options` are those of `Graph`."""
        from pipeline.graph import Graph

        return Graph.read(spark, self.nodes, self.edges, *self.formats, **options)


def columns_for(model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a model reads, as options of a `Graph`; --features stands for the only node column of a model,
    whatever its name."""
    options = dict(options)
    read: dict[str, list[str]] = {"nodes": [], "edges": []}
    for column in model.inputs:
        table, _, name = column.rpartition(".")
        read[table].append(name)
    told = options.pop("features", None)
    if told is None:
        trained = {name: model.training.get(f"nodes.{name}") for name in read["nodes"]}
        # of a model that remembers its columns, they are the ones
        features: Any = {name: list(each.names) if each and each.names else name for name, each in trained.items()}
    else:
        features = feature_columns(told)
        if len(read["nodes"]) == 1 and isinstance(features, list):
            features = {read["nodes"][0]: features}
    edge_features = column_names(options.pop("edge_features", "")) or read["edges"]
    return {"features": features, "edge_features": edge_features, **options}


def column_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def feature_columns(text: str) -> list[str] | dict[str, list[str]]:
    """Columns that are one feature together; with NAME=COLUMN among them, that one is a feature of its own."""
    together = [name for name in column_names(text) if "=" not in name]
    alone = dict(name.split("=", 1) for name in column_names(text) if "=" in name)
    if not alone:
        return together
    first = together[0] if len(together) == 1 else "x"
    return {**({first: together} if together else {}), **{name: [column] for name, column in alone.items()}}
