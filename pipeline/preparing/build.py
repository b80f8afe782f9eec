"""The first step of a block: what was packed for it becomes its nodes and tiles, and what it asks of other blocks.

Comes in: packed rows of one block. Goes out: the block's static rows and requests to others; or, if dangling edges are
to be dropped, all that drop.py needs. What of a tile is pulled and what pushed is decided here (`cut`).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.blocks.block import LOOPS, Block, IntArray, LongArray
from pipeline.blocks.rows import Row, array_rows, static_rows
from pipeline.blocks.stacked import StackedTiles
from pipeline.kernels.hash import positions
from pipeline.preparing import tiles
from pipeline.preparing.checks import Finding
from pipeline.preparing.facts import facts_row, static_with_facts
from pipeline.preparing.findings import dangling_ends
from pipeline.preparing.pack import FINDING, PACKED_EDGES, PACKED_NODES, Packed, finding_row, unpack
from pipeline.preparing.preparation import ASKED, BOTH, KEYS, QUESTION, Preparation
from pipeline.preparing.records import edges_of, nodes_of, split_values
from pipeline.preparing.requests import request_rows
from pipeline.schema import EdgeType


def build(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From packed rows, in any order: the block's static rows, KEYS; REQUESTs to others; FINDINGs."""
    findings: list[Finding] = []
    keys, block, edges = yield from _unpacked(index, rows, plan, findings)
    yield from _key_rows(index, keys)
    counts = {
        part.type: {"dropped": part.dropped, "both_ways": 0 if part.both_ways is None else int(part.both_ways.sum())}
        for part in edges
    }
    yield from cut(block, {part.type: part.wanted for part in edges}, counts, plan)
    for part in edges:
        # prepare is going to fail: the other ends are asked for all the same, so that it tells all there is to tell
        for source, wanted in part.dangling.items():
            yield from array_rows(source, index, QUESTION, str(part.type), wanted)
    yield from (finding_row(index, finding) for finding in findings)


def collect(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From packed rows, in any order: the block, its tiles whole, KEYS, ASKED; QUESTIONs; FINDINGs."""
    findings: list[Finding] = []
    keys, block, edges = yield from _unpacked(index, rows, plan, findings)
    yield from _key_rows(index, keys)
    yield from static_rows(block)
    yield facts_row(index, [], "collected", dropped={str(part.type): part.dropped for part in edges})
    for part in edges:
        yield from array_rows(index, index, ASKED, str(part.type), part.wanted)
        if part.both_ways is not None:
            yield from array_rows(index, index, BOTH, str(part.type), part.both_ways)
        for source, wanted in wanted_of(part.tiles, part.wanted):
            yield from array_rows(source, index, QUESTION, str(part.type), wanted)
    yield from (finding_row(index, finding) for finding in findings)


def _key_rows(index: int, keys: Mapping[str, LongArray]) -> Iterator[Row]:
    for type, of_type in keys.items():
        yield from array_rows(index, index, KEYS, type, of_type)


@dataclass(frozen=True)
class _EdgesHere:
    """The edges of one type into a block."""

    type: EdgeType
    tiles: StackedTiles
    wanted: LongArray
    """The keys of the columns of all tiles but LOOPS, one tile behind another."""
    dangling: dict[int, LongArray]
    """Source block → the src keys of edges whose dst is no node."""
    both_ways: IntArray | None
    """Of undirected edges, for each key: how many edges of the table have their reverse in it too."""
    dropped: int


def _unpacked(
    index: int, rows: Iterable[Row], plan: Preparation, findings: list[Finding]
) -> Generator[Row, None, tuple[dict[str, LongArray], Block, list[_EdgesHere]]]:
    """The keys of the block's nodes of each type, the block with its tiles whole, and what is known of its edges of
    each type. FINDINGs of others pass."""
    of_nodes, of_edges = plan.nodes, {str(type): layout for type, layout in plan.edges.items()}
    nodes: dict[str, list[Packed]] = defaultdict(list)
    edges: dict[str, list[Packed]] = defaultdict(list)
    for row in rows:
        if row.kind == PACKED_NODES:
            nodes[row.name].append(unpack(row, of_nodes[row.name]))
        elif row.kind == PACKED_EDGES:
            edges[row.name].append(unpack(row, of_edges[row.name]))
        elif row.kind == FINDING:
            yield row
    keys: dict[str, LongArray] = {}
    block = Block(index, {}, {}, {}, {})
    for type, layout in of_nodes.items():
        keys[type], ids, features = nodes_of(index, nodes.pop(type, []), layout, findings)
        block = dataclasses.replace(block, ids={**block.ids, type: ids}, features={**block.features, type: features})
    here = [_edges(index, keys, type, edges.pop(str(type), []), plan, findings) for type in plan.edges]
    sends = {part.type: {LOOPS: part.tiles[LOOPS].rows} if LOOPS in part.tiles else {} for part in here}
    return keys, dataclasses.replace(block, tiles={part.type: part.tiles for part in here}, sends=sends), here


def _edges(
    index: int,
    keys: Mapping[str, LongArray],
    edge_type: EdgeType,
    packed: list[Packed],
    plan: Preparation,
    findings: list[Finding],
) -> _EdgesHere:
    """Tiles of one type of edges, and what they ask of other blocks. Of what is wrong with edges, those in their own
    direction tell."""
    layout, targets = plan.edges[edge_type], keys[edge_type.target]
    loops = edge_type.source == edge_type.target
    widths, edges = edges_of(index, packed, layout)
    dst = positions(edges.dst, targets)
    known = dst >= 0
    dropped = len(dst) - int(np.count_nonzero(known))
    there = edges.where(known)
    home = plan.blocks_of(edge_type.source, there.src)
    made = tiles.make_tiles(dst[known], there, home, len(targets), plan.blocks, loops)
    here = dataclasses.replace(made.tiles, columns=split_values(made.tiles.columns[""], layout, widths))
    dangling: dict[int, LongArray] = {}
    if dropped and not plan.drop_dangling and not edge_type.is_reversed:
        findings.append(dangling_ends(layout, 1, edges.dst[~known]))
        asked = tiles.distinct(np.sort(edges.src[~known]))
        dangling = dict(tiles.by_block(asked, plan.blocks_of(edge_type.source, asked)))
    return _EdgesHere(edge_type, here, made.wanted, dangling, made.both_ways, dropped)


def wanted_of(whole: StackedTiles, wanted: LongArray) -> Iterator[tuple[int, LongArray]]:
    """Of each tile but LOOPS its source, and the keys of its columns."""
    loops = int(whole.heads[0, 3]) if LOOPS in whole else 0
    ends = (whole.sender_ends - loops).tolist()
    for place, source in enumerate(whole):
        if source != LOOPS:
            yield source, wanted[ends[place] : ends[place + 1]]


def cut(
    block: Block,
    wanted: Mapping[EdgeType, LongArray],
    counts: Mapping[EdgeType, Mapping[str, int]],
    plan: Preparation,
) -> Iterator[Row]:
    """The block's static rows, its tiles cut; REQUESTs to others. `counts`: what is known of its edges."""
    here: dict[EdgeType, StackedTiles] = {}
    told: dict[EdgeType, dict[str, int]] = {}
    for edge_type, whole in block.tiles.items():
        # a block alone has nobody to push to
        part = (tiles.cut if plan.blocks > 1 else tiles.uncut)(StackedTiles.of(whole), wanted[edge_type])
        here[edge_type] = part.tiles
        between = part.tiles.heads[:, 0] != LOOPS
        told[edge_type] = {
            **counts[edge_type],
            "payload_rows_pulled": int(part.first[between].sum()),
            "payload_rows_pushed": int(part.pushed.tile_rows.sum()),
        }
        yield from request_rows(block.index, edge_type, part)
    yield from static_with_facts(dataclasses.replace(block, tiles=here), told, plan.given)
