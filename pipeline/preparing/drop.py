"""The step that leaves dangling edges out: a block with whole tiles, without the edges from nodes that are not there.

Comes in: all rows of a block, and what others have said of its questions. Goes out: what `build` would have given for
the edges that are left.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.blocks.block import LOOPS, LongArray, Tile
from pipeline.blocks.rows import KINDS, Row, block_from_rows, join
from pipeline.preparing import tiles
from pipeline.preparing.build import cut
from pipeline.preparing.facts import FACTS
from pipeline.preparing.preparation import ASKED, BOTH, MISSING, Preparation
from pipeline.schema import EdgeType


def drop_edges(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From all rows of the block, ASKED and MISSING: the block without the edges from what is missing."""
    own: list[Row] = []
    asked: dict[str, dict[tuple[EdgeType, int], list[Row]]] = {
        kind: defaultdict(list) for kind in (ASKED, MISSING, BOTH)
    }
    counts: dict[EdgeType, dict[str, int]] = {type: {"dropped": 0, "both_ways": 0} for type in plan.edges}
    for row in rows:
        if row.kind in KINDS:
            own.append(row)
        elif row.kind in asked:
            asked[row.kind][EdgeType.parse(row.name), row.source].append(row)
        elif row.kind == FACTS:
            for name, dropped in json.loads(row.data.tobytes())["dropped"].items():
                counts[EdgeType.parse(name)]["dropped"] += dropped
        else:
            yield row
    block = block_from_rows(index, own)
    kept: dict[EdgeType, dict[int, Tile]] = {edge_type: {} for edge_type in plan.edges}
    wanted: dict[EdgeType, dict[int, LongArray]] = {edge_type: {} for edge_type in plan.edges}
    for edge_type, here in kept.items():
        for source, tile in block.tiles.get(edge_type, {}).items():
            gone = asked[MISSING].get((edge_type, source))
            amended = tiles.without_columns(tile, join(gone)) if gone else tile
            counts[edge_type]["dropped"] += tile.edges - (amended.edges if amended else 0)
            if amended:
                here[source] = amended
            if amended and source != LOOPS:
                keys = join(asked[ASKED][edge_type, source])
                wanted[edge_type][source] = np.delete(keys, join(gone)) if gone else keys
    for key, parts in asked[BOTH].items():
        gone = asked[MISSING].get(key)
        both = np.delete(join(parts), join(gone)) if gone else join(parts)
        counts[key[0]]["both_ways"] += int(both.sum())
    yield from cut(dataclasses.replace(block, tiles=kept), wanted, counts, plan)
