"""The types of a graph: node types, edge types, and the columns that each carries.

Comes in: names and widths. Goes out: small frozen records that tables, blocks, formulas and models agree on.
Knows nothing of Spark, of arrays, or of where anything is stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

ID = "id"  # columns of the user's tables
SRC = "src"
DST = "dst"

NODE = "node"  # the node type of a graph that has one
BETWEEN = "__"
REVERSED = "~"  # no name is spelled with it; an edge type of a user may be called rev_writes
REVERSED_EDGE = "rev_to"  # EDGE against its direction, in files of versions that knew no other types


def spelled(name: str) -> str:
    """The name of a type in letters, digits, "-" and single "_" alone, the rest as %XX of its UTF-8: for files, rows
    and texts, where it stands between other characters. `name_of` reads it back."""
    escaped = r"[^A-Za-z0-9_-]|__+|^_|_\Z"
    return re.sub(escaped, lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)


def name_of(spelling: str) -> str:
    """The inverse of `spelled`; ValueError for what it never gives."""
    name = unquote(spelling, errors="strict")
    if spelled(name) != spelling:
        raise ValueError(f"{spelling!r} is not the spelling of a name")
    return name


@dataclass(frozen=True, order=True)
class EdgeType:
    """Edges that carry messages from nodes of type `source` to nodes of type `target`. Names are any text.

    `is_reversed`: the edges of a type against their direction, from its target to its source.
    """

    source: str = NODE
    relation: str = "to"
    target: str = NODE
    is_reversed: bool = False

    def __str__(self) -> str:
        """As in files: account__pays__account, see `spelled`. `parse` reads it back."""
        relation = spelled(self.relation)
        if (self.source, self.target) == (NODE, NODE):
            if self.relation == "to" and self.is_reversed:
                return BETWEEN.join((NODE, REVERSED_EDGE, NODE))
            if self.relation == REVERSED_EDGE:
                relation = f"%{ord(relation[0]):X}{relation[1:]}"
        return BETWEEN.join((spelled(self.source), REVERSED * self.is_reversed + relation, spelled(self.target)))

    @property
    def reversed(self) -> EdgeType:
        """The same edges against their direction. Twice is the type itself."""
        return EdgeType(self.target, self.relation, self.source, not self.is_reversed)

    @property
    def forward(self) -> EdgeType:
        """The type as the tables have it: itself, or what it is against the direction of."""
        return self.reversed if self.is_reversed else self

    @staticmethod
    def parse(text: str) -> EdgeType:
        """The inverse of `str`; ValueError for what it never gives."""
        parts = text.split(BETWEEN)
        if len(parts) != 3:
            raise ValueError(f"{text!r} is not an edge type: source__relation__target is expected")
        if parts == [NODE, REVERSED_EDGE, NODE]:
            return EDGE.reversed
        source, relation, target = (unquote(part.removeprefix(REVERSED), errors="strict") for part in parts)
        found = EdgeType(source, relation, target, parts[1].startswith(REVERSED))
        if str(found) != text:
            raise ValueError(f"{text!r} is not the spelling of an edge type")
        return found


EDGE = EdgeType()  # the edge type of a graph that has one

AnyType = str | EdgeType
"""A type of nodes, or of edges. `str(type)` is what it is called in texts; `folder_of(type)` in files."""


def folder_of(type: AnyType) -> str:
    """The name of a type in files: no type of nodes is called there as one of edges."""
    return spelled(type) if isinstance(type, str) else str(type)


@dataclass(frozen=True)
class GraphSchema:
    """Which columns the nodes and the edges of a graph carry: type → column name → width in float32 lanes."""

    nodes: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {NODE: {}})
    edges: Mapping[EdgeType, Mapping[str, int]] = field(default_factory=lambda: {EDGE: {}})

    def both_ways(self) -> GraphSchema:
        """The same, and every edge type against its direction too."""
        return GraphSchema(self.nodes, {**{each.reversed: self.edges[each] for each in self.edges}, **self.edges})

    def undirected(self) -> GraphSchema:
        """The same of a graph whose edges are there in both directions: of those within a type, these are the edges
        against their direction, too."""
        within = {type: columns for type, columns in self.edges.items() if type.source == type.target}
        return GraphSchema(self.nodes, {**{each.reversed: within[each] for each in within}, **self.edges})

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
