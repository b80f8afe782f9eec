"""What of a graph's size matters to a plan: counts for each block.

Comes in: the manifest of a prepared graph. Goes out: rows, edges and bytes of each block, by type. Reads no block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.formula.spaces import Nodes, Space
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Shipment
from pipeline.schema import EdgeType


@dataclass(frozen=True)
class EdgeCounts:
    """Of one type of edges, in one direction; for each block."""

    edges: Sequence[int]
    payload_in: Sequence[int]
    """Rows that all its tiles need for one exchange."""
    loops: Sequence[int]
    """Rows that it needs of itself for its self-loops."""
    pulled: Sequence[int]
    """Rows that it needs for the pulled edges of its tiles, if the others are pushed."""
    pushed: Sequence[int]
    """Partial results that it then needs for the others."""
    stored: Sequence[int]
    """Bytes on disk of its tiles and send lists, and of edges that may be pushed."""
    push_bytes: Sequence[int]
    """Of these, those of edges that may be pushed."""

    @staticmethod
    def of(counts: Mapping[str, Sequence[int]]) -> EdgeCounts:
        return EdgeCounts(
            edges=counts["edges"],
            payload_in=counts["payload_rows_in"],
            loops=counts["payload_rows_loops"],
            pulled=counts["payload_rows_pulled"],
            pushed=counts["payload_rows_pushed"],
            stored=[a + b for a, b in zip(counts["static_bytes"], counts["sends_bytes"], strict=True)],
            push_bytes=counts["push_bytes"],
        )


@dataclass(frozen=True)
class Counts:
    """Of a graph, for each block: all types together, and each."""

    nodes: Sequence[int]
    edges: Sequence[int]
    static_bytes: Sequence[int]
    """On disk."""
    in_degree: Sequence[int]
    """The largest."""
    node_types: Mapping[str, Sequence[int]]
    """Nodes of each type."""
    edge_types: Mapping[EdgeType, EdgeCounts]

    @staticmethod
    def of(manifest: Mapping[str, Any]) -> Counts:
        block = manifest["per_block"]
        return Counts(
            nodes=block["nodes"],
            edges=block["edges"],
            static_bytes=[a + b for a, b in zip(block["static_bytes"], block["sends_bytes"], strict=True)],
            in_degree=block["max_in_degree"],
            node_types={type: counts["nodes"] for type, counts in manifest["node_types"].items()},
            edge_types={EdgeType.parse(type): EdgeCounts.of(counts) for type, counts in manifest["edge_types"].items()},
        )

    @property
    def blocks(self) -> int:
        return len(self.nodes)

    def nodes_of(self, space: Space) -> Sequence[int]:
        """Nodes of each block that have a row of a value."""
        assert isinstance(space, Nodes)
        return self.node_types[space.type]

    def lanes_of(self, values: Iterable[Value], block: int) -> int:
        """float32 lanes that a block has of node values; those of the whole graph are none to speak of."""
        return sum(self.nodes_of(value.space)[block] * value.width for value in values if value.is_node)

    def edges_of(self, edge_type: EdgeType) -> Sequence[int]:
        """Edges of a type into each block."""
        return self.edge_types[edge_type].edges

    def rows_in(self, edge_type: EdgeType) -> Sequence[int]:
        """Rows that each block gets for its tiles of a type in one exchange, if all edges are pulled."""
        return self.edge_types[edge_type].payload_in

    def loops_of(self, edge_type: EdgeType) -> Sequence[int]:
        """Rows that each block needs of itself for its self-loops."""
        return self.edge_types[edge_type].loops

    def hybrid_rows(self, edge_type: EdgeType) -> tuple[Sequence[int], Sequence[int]]:
        """What each block gets if edges are pushed: rows, and partial results."""
        return self.edge_types[edge_type].pulled, self.edge_types[edge_type].pushed

    def lanes_in(self, shipment: Shipment, block: int) -> int:
        """float32 lanes that a block gets of a shipment for its tiles, but those of the self-loops."""
        if not shipment.push:
            return self.rows_in(shipment.edge_type)[block] * shipment.width
        pulled, pushed = self.hybrid_rows(shipment.edge_type)
        return pulled[block] * shipment.width + pushed[block] * shipment.partial_width

    def static_of(self, plan: Plan) -> Sequence[int]:
        """Bytes on disk of what a plan reads of each block: perhaps not all types of edges, or directions of them, and
        perhaps not what it could push."""
        return [self.static_of_block(plan, block) for block in range(self.blocks)]

    def static_of_block(self, plan: Plan, block: int) -> int:
        """The same of one block."""
        pushes = any(shipment.push for step in plan.steps for shipment in step.ships)
        read = set(plan.program.edge_types)
        unread = [counts.stored for type, counts in self.edge_types.items() if type not in read]
        unread += [counts.push_bytes for type, counts in self.edge_types.items() if type in read and not pushes]
        return self.static_bytes[block] - sum(part[block] for part in unread)
