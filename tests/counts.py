"""Counts of graphs that nobody has: one type of nodes, one of edges, and perhaps its other direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.plan.counts import Counts, EdgeCounts
from pipeline.schema import EDGE, NODE, EdgeType

Numbers = Sequence[int]


def counts(
    nodes: Numbers,
    edges: Numbers,
    payload_in: Numbers,
    loops: Numbers,
    static_bytes: Numbers,
    in_degree: Numbers | None = None,
    **of_edges: Numbers,
) -> Counts:
    """`of_edges`: what else is known of the edges; by default none is pushed."""
    nothing = [0] * len(nodes)
    found = EdgeCounts(edges, payload_in, loops, payload_in, nothing, stored=nothing, push_bytes=nothing)
    types = {EDGE: replace(found, **of_edges)}
    return Counts(nodes, edges, static_bytes, in_degree or edges, {NODE: nodes}, types)


def with_edges(counts: Counts, type: EdgeType = EDGE, **of_edges: Any) -> Counts:
    """The same but for counts of its edges; of a type that it has not, as of those in their direction."""
    found = counts.edge_types.get(type) or counts.edge_types[EDGE]
    changed = {**counts.edge_types, type: replace(found, **of_edges)}
    return replace(counts, edges=changed[EDGE].edges, edge_types=changed)


def manifest_of(block: dict[str, list[int]], totals: dict[str, int]) -> dict[str, Any]:
    """What the manifest of such a graph says of it. `block`: counts for each block."""
    nothing = [0] * len(block["nodes"])
    edges = {**block, "payload_rows_pulled": block["payload_rows_in"], "payload_rows_pushed": nothing}
    edges |= {"static_bytes": nothing, "sends_bytes": nothing, "push_bytes": nothing}
    types = {"node_types": {NODE: {"nodes": block["nodes"]}}, "edge_types": {str(EDGE): edges}}
    return {"per_block": block, "totals": totals, **types}
