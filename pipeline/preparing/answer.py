"""The steps of a block that is asked by others: which keys there are, and where; its send lists come of that.

Comes in: the keys of a block's nodes, what others ask of it. Goes out: send lists and what is pushed, or what is
missing.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.blocks.block import Block, IntArray, LongArray, Tile
from pipeline.blocks.rows import Row, array_rows, join, tiles_from_rows
from pipeline.preparing import tiles
from pipeline.preparing.facts import sends_with_facts
from pipeline.preparing.findings import dangling_ends
from pipeline.preparing.pack import finding_row
from pipeline.preparing.preparation import (
    KEYS,
    MISSING,
    NO_KEYS,
    PUSHED,
    QUESTION,
    REQUEST,
    REQUEST_REST,
    Preparation,
)
from pipeline.schema import EdgeType


def find_missing(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From KEYS and QUESTIONs to this block: MISSING. The rest passes, KEYS too."""
    keys: list[Row] = []
    questions: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == QUESTION:
            questions[row.name, row.source].append(row)
            continue
        if row.kind == KEYS:
            keys.append(row)
        yield row
    here = keys_by_type(keys)
    for (name, asker), parts in sorted(questions.items()):
        _, missing = tiles.answer(here[EdgeType.parse(name).source], join(parts))
        if len(missing):
            yield from array_rows(asker, index, MISSING, name, missing)


def keys_by_type(rows: Iterable[Row]) -> dict[str, LongArray]:
    """The keys of a block's nodes of each type."""
    of_type: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_type[row.name].append(row)
    return {type: join(parts) for type, parts in of_type.items()}


def answer(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From KEYS, REQUESTs and PUSHED to this block: its send lists and what it pushes; FINDINGs. The rest passes."""
    chunks: dict[tuple[EdgeType, int], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    pushed: list[Row] = []
    own: list[Row] = []
    for row in rows:
        if row.kind == KEYS:
            own.append(row)
        elif row.kind in (REQUEST, REQUEST_REST, QUESTION):
            chunks[EdgeType.parse(row.name), row.source][row.kind].append(row)
        elif row.kind in PUSHED:
            pushed.append(row)
        else:
            yield row
    keys, layouts = keys_by_type(own), plan.edges
    sends: dict[EdgeType, dict[int, IntArray]] = {edge_type: {} for edge_type in layouts}
    pulled: dict[EdgeType, dict[int, int]] = {edge_type: {} for edge_type in layouts}
    unknown: dict[EdgeType, list[LongArray]] = defaultdict(list)
    complete = True
    for (edge_type, asker), kinds in sorted(chunks.items()):
        found: list[IntArray] = []
        for kind in (REQUEST, REQUEST_REST, QUESTION):
            wanted = join(kinds[kind]) if kind in kinds else NO_KEYS
            places, missing = tiles.answer(keys[edge_type.source], wanted)
            if kind != QUESTION:
                found.append(places)
            complete &= not len(missing)
            if len(missing) and not edge_type.is_reversed:
                unknown[edge_type].append(wanted[missing])
        first, then = found
        if len(first) or len(then):
            sends[edge_type][asker] = np.concatenate(found)
        if len(then):
            pulled[edge_type][asker] = len(first)
    for edge_type, parts in unknown.items():
        yield finding_row(index, dangling_ends(layouts[edge_type], 0, np.concatenate(parts)))
    if not complete:
        return  # prepare is going to fail
    pushes: dict[EdgeType, dict[int, Tile]] = {}
    for edge_type, some in tiles_from_rows(pushed, PUSHED).items():
        senders = len(keys[edge_type.source])
        pushes[edge_type] = {
            asker: dataclasses.replace(tile, indices=sends[edge_type][asker][tile.indices], senders=senders)
            for asker, tile in some.items()
        }
    yield from sends_with_facts(Block(index, {}, {}, {}, sends, pulled=pulled, pushes=pushes))
