"""The types of a graph: node types, edge types, and the columns that each carries.

Comes in: names and widths. Goes out: small frozen records that tables, blocks, formulas and models agree on.
Knows nothing of Spark, of arrays, or of where anything is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ID = "id"  # columns of the user's tables
SRC = "src"
DST = "dst"

NODE = "node"  # the node type of a graph that has one
REVERSED = "rev_"


@dataclass(frozen=True, order=True)
class EdgeType:
    """Edges that carry messages from nodes of type `source` to nodes of type `target`."""

    source: str = NODE
    relation: str = "to"
    target: str = NODE

    def __str__(self) -> str:
        return f"{self.source}__{self.relation}__{self.target}"

    @property
    def reversed(self) -> EdgeType:
        """The same edges against their direction, named as PyG's ToUndirected does. Twice is the type itself."""
        name = self.relation.removeprefix(REVERSED) if self.is_reversed else REVERSED + self.relation
        return EdgeType(self.target, name, self.source)

    @property
    def is_reversed(self) -> bool:
        return self.relation.startswith(REVERSED)

    @staticmethod
    def parse(text: str) -> EdgeType:
        source, relation, target = text.split("__")
        return EdgeType(source, relation, target)


EDGE = EdgeType()  # the edge type of a graph that has one


@dataclass(frozen=True)
class GraphSchema:
    """Which columns the nodes and the edges of a graph carry: type → column name → width in float32 lanes."""

    nodes: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {NODE: {}})
    edges: Mapping[EdgeType, Mapping[str, int]] = field(default_factory=lambda: {EDGE: {}})

    def both_ways(self) -> GraphSchema:
        """The same, and every edge type against its direction too."""
        return GraphSchema(self.nodes, {**{each.reversed: self.edges[each] for each in self.edges}, **self.edges})

    def to_json(self) -> dict[str, Any]:
        return {
            "nodes": {name: dict(columns) for name, columns in self.nodes.items()},
            "edges": {str(name): dict(columns) for name, columns in self.edges.items()},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> GraphSchema:
        return GraphSchema(
            nodes={name: dict(columns) for name, columns in data["nodes"].items()},
            edges={EdgeType.parse(name): dict(columns) for name, columns in data["edges"].items()},
        )


def quoted(name: str) -> str:
    """A column's name, dots and spaces and all, for Spark's `col`."""
    return "`" + name.replace("`", "``") + "`"
