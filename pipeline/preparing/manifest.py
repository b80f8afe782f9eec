"""What the manifest of a prepared graph says: what each block has told of itself, and all of it together.

Comes in: rows of kind FACTS of all blocks. Goes out: the manifest, but for what its tables are known by (origin.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.blocks.manifest import sealed
from pipeline.blocks.ranges import merge_ranges
from pipeline.blocks.rows import Row
from pipeline.graph import Graph
from pipeline.schema import EdgeType, GraphSchema
from pipeline.tables.layout import Layout

log = logging.getLogger("graphsweep")

# of each block: of its nodes of a type ...
NODE_COUNTS = ("nodes",)
# ... of its edges of a type ...
EDGE_COUNTS = (
    "edges",
    "self_loops",
    "payload_rows_loops",  # nodes with self-loops: rows that the block needs of itself for them
    "dropped",  # edges left out because an end is no node
    "both_ways",  # of undirected edges: rows of the table, no self-loops, whose reverse is a row too
    "max_in_degree",
    "payload_rows_in",  # rows that all tiles of the block need for one exchange, but those of the self-loops
    "payload_rows_own",  # of payload_rows_in, rows of the block itself
    "payload_rows_pulled",  # rows for pulled edges, if the others are pushed ...
    "payload_rows_pushed",  # ... and partial results of those
    "payload_rows_out",
    "static_bytes",  # of static_bytes of the block, of its tiles
    "sends_bytes",  # of sends_bytes of the block
    "push_bytes",  # of these, edges that may be pushed
)
# ... and of all of it
BLOCK_COUNTS = (
    "static_bytes",
    "sends_bytes",
    "static_file_bytes",  # of its files on disk
    "sends_file_bytes",
)
LARGEST = "max_in_degree"  # of several of these the largest counts, of others the sum


def manifest_of(graph: Graph, blocks: int, rows: Iterable[Row]) -> dict[str, Any]:
    facts: list[dict[str, Any]] = [{} for _ in range(blocks)]
    for row in rows:
        facts[row.target] |= json.loads(row.data.tobytes())
    node_types = {
        layout.type: {name: [block["static_nodes"][layout.type][name] for block in facts] for name in NODE_COUNTS}
        for layout in graph.node_layouts
    }
    given = [str(layout.edge_type) for layout in graph.edge_layouts]
    of_edges = {str(type): layout for layout in graph.edge_layouts for type in layout.edge_types}
    edge_types = {type: _of_edges(facts, type) for type in of_edges}
    per_block = {name: [block[name] for block in facts] for name in BLOCK_COUNTS}
    for counts, types in ((NODE_COUNTS, node_types), (EDGE_COUNTS, {type: edge_types[type] for type in given})):
        for name in counts:
            if name not in per_block:  # bytes of a block are of both directions, and of nodes too
                per_type = [types[type][name] for type in types]
                per_block[name] = [_together(name, numbers) for numbers in zip(*per_type, strict=True)]
    schema = _schema(graph, facts, of_edges).to_json()
    digests = [(block["static_digest"], block["sends_digest"]) for block in facts]
    return sealed(
        {
            "fingerprint": hashlib.sha256(json.dumps([schema, digests]).encode()).hexdigest(),
            "blocks": blocks,
            "schema": schema,
            "ranges": merge_ranges(block["ranges"] for block in facts),
            **graph.describe(),
            "totals": {name: _together(name, numbers) for name, numbers in per_block.items()},
            "per_block": per_block,
            "node_types": node_types,
            "edge_types": edge_types,
            "sums": [{**block["static_sums"], **block["sends_sums"]} for block in facts],
        }
    )


def _together(name: str, numbers: Iterable[int]) -> int:
    return max(numbers) if name == LARGEST else sum(numbers)


def _of_edges(facts: list[dict[str, Any]], type: str) -> dict[str, list[int]]:
    """Of the edges of a type, count → a number for each block."""
    told = [{**block["static_edges"][type], **block["sends_edges"][type]} for block in facts]
    return {name: [block[name] for block in told] for name in EDGE_COUNTS}


def _schema(graph: Graph, facts: list[dict[str, Any]], of_edges: Mapping[str, Layout]) -> GraphSchema:
    """Widths of edge values are known where there are edges; without any, those of numbers still are."""
    edges: dict[EdgeType, dict[str, int]] = {}
    for type, layout in of_edges.items():
        widths = {value.name: 0 if value.array else len(value.columns) for value in layout.values}
        for block in facts:
            widths |= block["static_edges"][type]["widths"]
        edges[EdgeType.parse(type)] = widths
    nodes = {layout.type: facts[0]["static_nodes"][layout.type]["widths"] for layout in graph.node_layouts}
    return GraphSchema(nodes, edges)


def warn_both_ways(manifest: Mapping[str, Any], layouts: Iterable[Layout]) -> None:
    """Says that undirected edges are in a table in both directions, if some are: each of them is there twice then."""
    undirected = [layout for layout in layouts if layout.undirected]
    for layout in undirected:
        counts = manifest["edge_types"][layout.type]
        _warn_both_ways(layout.table, {name: sum(counts[name]) for name in ("both_ways", "edges", "self_loops")})


def _warn_both_ways(table: str, totals: Mapping[str, int]) -> None:
    both, edges = totals["both_ways"], (totals["edges"] - totals["self_loops"]) // 2
    of = "" if table == "edges" else f" of {table}"
    if both and both == edges:
        log.warning(
            "undirected=True, and every one of the %s edges%s is in the table in both directions already: each is "
            "stored twice in each direction, which changes sums and degrees; leave undirected=True out",
            f"{edges:,}",
            of,
        )
    elif both:
        log.warning(
            "undirected=True, and %s of the %s edges%s have their reverse in the table too: each of these is stored "
            "twice in each direction, which changes sums and degrees; keep one row for each pair, if that is not meant",
            f"{both:,}",
            f"{edges:,}",
            of,
        )
