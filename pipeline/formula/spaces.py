"""The space of a value: what it has one row per. Nodes of a type, edges of a type, the graph, or nothing (a weight).

Knows nothing of operations or arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schema import EDGE, NODE, EdgeType, name_of, spelled

# Which edges of a type an edge value has rows for. Layers that treat self-loops apart (GCN completes them, GAT
# replaces them) work on another part of the same edge type: no edge is copied or masked.
ALL = "all"  # every edge of the table
PROPER = "proper"  # without the self-loops
SELF_LOOPS = "loops"  # the self-loops only
ALL_SELF = "all+self"  # every edge, then one added loop per node
PROPER_SELF = "proper+self"  # the proper edges, then one added loop per node
PARTS = (ALL, PROPER, SELF_LOOPS, ALL_SELF, PROPER_SELF)
BASE_PART = {ALL_SELF: ALL, PROPER_SELF: PROPER}  # a part with added loops → the part that is stored
SELF_PART = {ALL: ALL_SELF, PROPER: PROPER_SELF}


@dataclass(frozen=True)
class Nodes:
    """One row per node of a type."""

    type: str = NODE

    def __str__(self) -> str:
        return "nodes" if self.type == NODE else f"nodes[{spelled(self.type)}]"


@dataclass(frozen=True)
class Edges:
    """One row per edge of a type, or of one part of it."""

    type: EdgeType = EDGE
    part: str = ALL

    def __str__(self) -> str:
        kind = "edges" if self.type == EDGE else f"edges[{self.type}]"
        return kind if self.part == ALL else f"{kind}({self.part})"

    @property
    def reversed(self) -> Edges:
        """The same edges, seen from the other end; added loops stay where they are."""
        return Edges(self.type.reversed, self.part)

    @property
    def source(self) -> Nodes:
        return Nodes(self.type.source)

    @property
    def target(self) -> Nodes:
        return Nodes(self.type.target)


@dataclass(frozen=True)
class WholeGraph:
    """One row for the whole graph: what a total over all nodes gives."""

    def __str__(self) -> str:
        return "graph"


@dataclass(frozen=True)
class Weight:
    """The same for every row: a learned weight or a constant."""

    def __str__(self) -> str:
        return "weight"


Space = Nodes | Edges | WholeGraph | Weight
WEIGHT = Weight()
GRAPH = WholeGraph()


def parse_space(text: str) -> Space:
    """The inverse of `str(space)`, for programs read from model.json."""
    if text == "weight":
        return WEIGHT
    if text == "graph":
        return GRAPH
    part = ALL
    if text.endswith(")"):
        text, part = text[:-1].split("(")
        if part not in PARTS:
            raise ValueError(f"unknown part of the edges: {part!r}")
    name = text[text.index("[") + 1 : -1] if text.endswith("]") else None
    if text.startswith("nodes"):
        return Nodes() if name is None else Nodes(name_of(name))
    if text.startswith("edges"):
        return Edges(EDGE if name is None else EdgeType.parse(name), part)
    raise ValueError(f"unknown space: {text!r}")
