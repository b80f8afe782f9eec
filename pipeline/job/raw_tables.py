"""Raw tables as a job names them: paths, formats, which columns are features.

Comes in: paths, and a model that reads columns. Goes out: a `Graph`, read by Spark or, where it can be, without. Knows
nothing of what is done with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.graph import Graph
    from pipeline.model import Model
    from pipeline.tables.csv_text import Csv


@dataclass(frozen=True)
class RawTables:
    """Paths of both tables, and their formats if they were given."""

    nodes: str
    edges: str
    nodes_format: str | None = None
    edges_format: str | None = None

    csv: Csv | None = None
    """How CSV files are to be read."""

    def __post_init__(self) -> None:
        for name, path in (("nodes", self.nodes), ("edges", self.edges)):
            if not path.strip():
                raise SettingError(f"--{name} is empty; is a variable unset?")

    @property
    def paths(self) -> tuple[str, str]:
        return self.nodes, self.edges

    def read_without_spark(self, **options: Any) -> Graph | None:
        """Without Spark; None if only Spark can read them. StorageError if one is not there at all."""
        from pipeline.graph import Graph

        return Graph.of_files(self.nodes, self.edges, *self._formats, csv=self.csv, **options)

    def read(self, spark: SparkSession, **options: Any) -> Graph:
        """With a session; `options` are those of `Graph`."""
        from pipeline.graph import Graph

        return Graph.read(spark, self.nodes, self.edges, *self._formats, csv=self.csv, **options)

    @property
    def _formats(self) -> tuple[str, str]:
        """The one of the nodes is not that of the edges as well."""
        return self.nodes_format or "auto", self.edges_format or "auto"


def columns_for(model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a model reads, as options of a `Graph`; a list of features stands for the only node column of a
    model, whatever its name."""
    options = dict(options)
    read: dict[str, list[str]] = {"nodes": [], "edges": []}
    for column in model.inputs:
        table, _, name = column.rpartition(".")
        read[table].append(name)
    given = options.pop("features", None)
    if given is None:
        trained = {name: model.training.get(f"nodes.{name}") for name in read["nodes"]}
        # of a model that remembers its columns, they are the ones
        features: Any = {name: list(each.names) if each and each.names else name for name, each in trained.items()}
    else:
        features = given
        if len(read["nodes"]) == 1 and isinstance(features, list):
            features = {read["nodes"][0]: features}
    edge_features = options.pop("edge_features", None) or read["edges"]
    return {"features": features, "edge_features": edge_features, **options}
