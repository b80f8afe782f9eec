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
from pipeline.blocks.stacked import StackedTiles
from pipeline.preparing import tiles
from pipeline.preparing.build import cut, wanted_of
from pipeline.preparing.facts import FACTS
from pipeline.preparing.preparation import ASKED, BOTH, MISSING, NO_KEYS, Preparation
from pipeline.schema import EdgeType


def drop_edges(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From all rows of the block, ASKED and MISSING: the block without the edges from what is missing."""
    own: list[Row] = []
    kept: dict[str, dict[EdgeType, list[Row]]] = {kind: defaultdict(list) for kind in (ASKED, BOTH)}
    missing: dict[tuple[EdgeType, int], list[Row]] = defaultdict(list)
    counts: dict[EdgeType, dict[str, int]] = {type: {"dropped": 0, "both_ways": 0} for type in plan.edges}
    for row in rows:
        if row.kind in KINDS:
            own.append(row)
        elif row.kind in kept:
            kept[row.kind][EdgeType.parse(row.name)].append(row)
        elif row.kind == MISSING:
            missing[EdgeType.parse(row.name), row.source].append(row)
        elif row.kind == FACTS:
            for name, dropped in json.loads(row.data.tobytes())["dropped"].items():
                counts[EdgeType.parse(name)]["dropped"] += dropped
        else:
            yield row
    block = block_from_rows(index, own)
    tiles_of: dict[EdgeType, StackedTiles] = {}
    wanted: dict[EdgeType, LongArray] = {}
    for edge_type in plan.edges:
        whole = StackedTiles.of(block.tiles.get(edge_type, {}))
        both = kept[BOTH].get(edge_type)
        here: dict[int, Tile] = {LOOPS: whole[LOOPS]} if LOOPS in whole else {}
        keys, ways = [NO_KEYS], 0
        of_both = wanted_of(whole, join(both)) if both else ((source, NO_KEYS) for source in whole if source != LOOPS)
        for (source, asked), (_, alike) in zip(wanted_of(whole, join(kept[ASKED][edge_type])), of_both, strict=True):
            tile = whole[source]
            gone = missing.get((edge_type, source))
            amended = tiles.without_columns(tile, join(gone)) if gone else tile
            counts[edge_type]["dropped"] += tile.edges - (amended.edges if amended else 0)
            ways += int((np.delete(alike, join(gone)) if gone and both else alike).sum())
            if amended:
                here[source] = amended
                keys.append(np.delete(asked, join(gone)) if gone else asked)
        counts[edge_type]["both_ways"] += ways
        tiles_of[edge_type], wanted[edge_type] = StackedTiles.of(here), np.concatenate(keys)
    yield from cut(dataclasses.replace(block, tiles=tiles_of), wanted, counts, plan)
