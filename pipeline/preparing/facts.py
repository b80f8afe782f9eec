"""What is kept of a block, and what the manifest says of it.

Comes in: a block, whole or of it what goes to others. Goes out: its rows, and one row of facts: counts, bytes, digest.
Knows nothing of how a block comes about, nor where it is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.blocks.block import LOOPS, Block
from pipeline.blocks.content import sums_of
from pipeline.blocks.ranges import Range, merge_ranges, ranges_of
from pipeline.blocks.rows import KINDS, PUSHES, Row, digest, edge_type_of, send_rows, static_rows
from pipeline.blocks.stacked import StackedTiles
from pipeline.formula.spaces import Edges, Nodes
from pipeline.schema import EdgeType

FACTS = "facts"  # kind of rows; JSON: counts and a digest of what block TARGET has, for the manifest


def static_with_facts(
    block: Block, counts: Mapping[EdgeType, Mapping[str, int]], given: Collection[EdgeType]
) -> Iterator[Row]:
    """The static rows of a block, then FACTS of them.

    `counts`: what only the caller knows of each type of edges. `given`: the types that are tables of the user's; others
    are the same edges against their direction.
    """
    rows = list(static_rows(block))
    sizes = _bytes_by_type(rows, KINDS)
    yield from rows
    yield facts_row(
        block.index,
        rows,
        "static",
        static_nodes={type: _of_nodes(block, type) for type in block.ids},
        static_edges={
            str(type): {**_of_edges(block, type), "static_bytes": sizes[str(type)], **own}
            for type, own in counts.items()
        },
        ranges=_ranges(block, given),
    )


def _of_nodes(block: Block, type: str) -> dict[str, Any]:
    widths = {name: matrix.shape[1] for name, matrix in block.features[type].items()}
    return {"nodes": block.nodes(type), "widths": widths}


def _of_edges(block: Block, type: EdgeType) -> dict[str, Any]:
    here = StackedTiles.of(block.tiles.get(type, {}))
    sources, _, edges, senders, _ = here.heads.T
    loops, own = sources == LOOPS, sources == block.index
    degrees = np.bincount(here.rows, here.degrees, block.nodes(type.target))  # float64, exact below 2^53
    return {
        "edges": int(edges.sum()),
        "self_loops": int(edges[loops].sum()),
        "payload_rows_loops": int(senders[loops].sum()),
        "max_in_degree": int(degrees.max(initial=0)),
        "payload_rows_in": int(senders[~loops].sum()),
        "payload_rows_own": int(senders[own].sum()),
        "widths": {name: matrix.shape[1] for name, matrix in here.columns.items()},
    }


def _bytes_by_type(rows: Iterable[Row], kinds: Collection[str]) -> Counter[str]:
    """Type of edges, by name → bytes of its rows of some kinds."""
    found: Counter[str] = Counter()
    for row in rows:
        if row.kind in kinds:
            found[edge_type_of(row.kind, row.name)] += len(row.data)
    return found


def _ranges(block: Block, given: Collection[EdgeType]) -> dict[str, list[Range]]:
    nodes = {f"{Nodes(type)}.{name}": m for type, columns in block.features.items() for name, m in columns.items()}
    edges = [
        ranges_of({f"{Edges(type)}.{name}": m for name, m in StackedTiles.of(here).columns.items()})
        for type, here in block.tiles.items()
        if type in given  # others are the same edges
    ]
    return merge_ranges([ranges_of(nodes), *edges])


def sends_with_facts(block: Block) -> Iterator[Row]:
    """What a block has for others, then FACTS of it."""
    rows = list(send_rows(block))
    sizes, pushed = _bytes_by_type(rows, KINDS), _bytes_by_type(rows, PUSHES)
    yield from rows
    yield facts_row(
        block.index,
        rows,
        "sends",
        sends_edges={
            str(type): {
                "payload_rows_out": sum(len(to) for other, to in sends.items() if other != LOOPS),
                "sends_bytes": sizes[str(type)],
                "push_bytes": pushed[str(type)],
            }
            for type, sends in block.sends.items()
        },
    )


def facts_row(index: int, rows: Sequence[Row], file: str, **facts: Any) -> Row:
    """Facts of a block, with bytes and digest of one file of it."""
    size = sum(len(row.data) for row in rows)
    own = {f"{file}_bytes": size, f"{file}_digest": digest(rows), f"{file}_sums": sums_of(rows)}
    return _told(index, file, facts | own)


def file_row(index: int, file: str, size: int) -> Row:
    """What only the one who has written a file knows: its bytes on disk."""
    return _told(index, file, {f"{file}_file_bytes": size})


def _told(index: int, file: str, facts: dict[str, Any]) -> Row:
    return Row(index, index, FACTS, file, "|u1", 0, 0, np.frombuffer(json.dumps(facts).encode(), np.uint8))
