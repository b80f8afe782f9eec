"""The block side of prepare: packed rows of one block become its nodes, tiles and send lists.

Comes in: rows of one block. Goes out: rows for the same and for other blocks; what one step gives, the next one takes.
Knows nothing of Spark: prepare.py moves the rows through shuffles, `blocks_from_tables` through memory.

    build    packed nodes and edges of block t → nodes, tiles, and for each source block the src keys that t needs, and
                                                 the edges that s may push to t
    answer   those keys and edges, in block s  → send lists: local indices, in the order of the keys; the edges by them

If dangling edges are to be dropped, `build` goes in three steps: which edges are pulled depends on all that is kept.

    collect       as build, but tiles are whole still, and t asks only which keys there are
    find_missing  those keys, in block s       → the keys that s does not have
    drop_edges    these, in block t            → the rest of build, of the tiles without their edges
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import LOOPS, Block, IntArray, LongArray, Tile
from pipeline.blocks.rows import (
    KINDS,
    TILES,
    Row,
    array_rows,
    block_from_rows,
    join,
    static_rows,
    tile_rows,
    tiles_from_rows,
)
from pipeline.kernels.hash import positions
from pipeline.preparing import tiles
from pipeline.preparing.checks import EXAMPLES, Finding, merge, name_texts, refuse
from pipeline.preparing.facts import FACTS, facts_row, sends_with_facts, static_with_facts
from pipeline.preparing.pack import (
    FINDING,
    FLUSH_ROWS,
    PACKED_EDGES,
    PACKED_NODES,
    Packed,
    finding_row,
    pack,
    unpack,
)
from pipeline.preparing.records import edges_of, nodes_of, split_values
from pipeline.schema import EDGE, NODE, EdgeType, GraphSchema
from pipeline.tables.layout import (
    Layout,
    TextHash,
    arrow_types,
    check_id_types,
    columns_of,
    edge_layout,
    node_layout,
    text_keys,
)
from pipeline.tables.types import given_tables
from pipeline.tables.words import not_text

# kinds of rows between the steps; arrays of a block have the kinds of rows.py
KEYS = "keys"  # (n,) int64 keys of the nodes of block TARGET, ascending
REQUEST = "request"  # (k,) int64 keys of nodes of block TARGET that block SOURCE needs for pulled edges, ascending
REQUEST_REST = "request rest"  # (k,) int64 those that it needs beside them if no edge is pushed, ascending
QUESTION = "question"  # (k,) int64 keys that block SOURCE will request if they are there, ascending
ASKED = "asked"  # the same, kept by the block itself
BOTH = "both"  # (k,) int32 of each of these, how many edges of the table have their reverse in it too; kept likewise
MISSING = "missing"  # (m,) int64 positions in the question of block TARGET to block SOURCE that are no nodes
NO_KEYS: LongArray = np.empty(0, np.int64)
PUSHED = tuple(f"pushed {kind}" for kind in TILES)  # a tile for block TARGET; columns are rows of what SOURCE requests


# Two texts with the same hash (0.7 % likely among 5e8 nodes) get other hashes with another seed.
SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Preparation:
    """What every task of prepare knows."""

    layouts: tuple[Layout, ...]
    """Of all tables, those of nodes first."""
    blocks: int
    drop_dangling: bool = False

    @property
    def nodes(self) -> dict[str, Layout]:
        """Node type → the layout of its table."""
        return {layout.type: layout for layout in self.layouts if len(layout.keys) == 1}

    @property
    def edges(self) -> dict[EdgeType, Layout]:
        """Type of tiles → the layout of the table that they are made of."""
        return {type: layout for layout in self.layouts if len(layout.keys) > 1 for type in layout.edge_types}

    @property
    def given(self) -> list[EdgeType]:
        """The types of edges that have tables; others are the same edges against their direction."""
        return [type for type in self.edges if not type.is_reversed]


Step = Callable[[int, Iterable[Row], Preparation], Iterator[Row]]
LookUp = Callable[[Layout, str, list[int]], Mapping[int, str]]
"""(layout of an edge table, column, keys) → the texts of these keys, as far as they are there."""


def steps(plan: Preparation) -> list[Step]:
    """What each block does in turn; between two steps, rows go to their targets."""
    return [collect, find_missing, drop_edges, answer] if plan.drop_dangling else [build, answer]


# ---- the steps


def build(index: int, rows: Iterable[Row], plan: Preparation) -> Iterator[Row]:
    """From packed rows, in any order: the block's static rows, KEYS; REQUESTs to others; FINDINGs."""
    findings: list[Finding] = []
    keys, block, edges = yield from _unpacked(index, rows, plan, findings)
    yield from _key_rows(index, keys)
    counts = {
        part.type: {"dropped": part.dropped, "both_ways": sum(int(both.sum()) for both in part.both_ways.values())}
        for part in edges
    }
    yield from _cut(block, {part.type: part.wanted for part in edges}, counts, plan)
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
        for source, wanted in part.wanted.items():
            yield from array_rows(index, source, ASKED, str(part.type), wanted)
            if source in part.both_ways:
                yield from array_rows(index, source, BOTH, str(part.type), part.both_ways[source])
            yield from array_rows(source, index, QUESTION, str(part.type), wanted)
    yield from (finding_row(index, finding) for finding in findings)


def _key_rows(index: int, keys: Mapping[str, LongArray]) -> Iterator[Row]:
    for type, of_type in keys.items():
        yield from array_rows(index, index, KEYS, type, of_type)


@dataclass(frozen=True)
class _EdgesHere:
    """The edges of one type into a block."""

    type: EdgeType
    tiles: dict[int, Tile]
    wanted: dict[int, LongArray]
    """Source block → the keys of its tile's columns."""
    dangling: dict[int, LongArray]
    """Source block → the src keys of edges whose dst is no node."""
    both_ways: dict[int, IntArray]
    """Source block → of each column of its tile, how many edges of the table have their reverse in it too."""
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
    here: dict[int, Tile] = {}
    requests: dict[int, LongArray] = {}
    dangling: dict[int, LongArray] = {}
    both_ways: dict[int, IntArray] = {}
    for source, tile, wanted, both in tiles.make_tiles(
        dst[known], edges.where(known), len(targets), plan.blocks, loops
    ):
        if both is not None:
            both_ways[source] = both
        here[source] = dataclasses.replace(tile, values=split_values(tile.values[""], layout, widths))
        if source != LOOPS:
            requests[source] = wanted.astype(np.int64, copy=False)
    if dropped and not plan.drop_dangling and not edge_type.is_reversed:
        findings.append(_dangling(layout, 1, edges.dst[~known]))
        dangling = dict(tiles.by_block(edges.src[~known], plan.blocks))
    return _EdgesHere(edge_type, here, requests, dangling, both_ways, dropped)


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
    here = _keys_by_type(keys)
    for (name, asker), parts in sorted(questions.items()):
        _, missing = tiles.answer(here[EdgeType.parse(name).source], join(parts))
        if len(missing):
            yield from array_rows(asker, index, MISSING, name, missing)


def _keys_by_type(rows: Iterable[Row]) -> dict[str, LongArray]:
    """The keys of a block's nodes of each type."""
    of_type: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_type[row.name].append(row)
    return {type: join(parts) for type, parts in of_type.items()}


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
    yield from _cut(dataclasses.replace(block, tiles=kept), wanted, counts, plan)


def _cut(
    block: Block,
    wanted: Mapping[EdgeType, Mapping[int, LongArray]],
    counts: Mapping[EdgeType, Mapping[str, int]],
    plan: Preparation,
) -> Iterator[Row]:
    """The block's static rows, its tiles cut; REQUESTs and PUSHED to others. `counts`: what is known of its edges."""
    here: dict[EdgeType, dict[int, Tile]] = {}
    pulled: dict[EdgeType, int] = defaultdict(int)
    pushed: dict[EdgeType, int] = defaultdict(int)
    for edge_type, whole in block.tiles.items():
        here[edge_type] = dict(whole)
        for source, keys in wanted[edge_type].items():
            # a block alone has nobody to push to
            cut = tiles.cut(whole[source], keys) if plan.blocks > 1 else tiles.Cut(whole[source], None, keys, NO_KEYS)
            here[edge_type][source] = cut.tile
            pulled[edge_type] += len(cut.first)
            if cut.pushed:
                pushed[edge_type] += len(cut.pushed.rows)
                # the other end needs no rows: partial result j is of row j
                numbered = dataclasses.replace(cut.pushed, rows=np.arange(len(cut.pushed.rows), dtype=np.int32))
                yield from tile_rows(source, block.index, edge_type, numbered, PUSHED)
            for kind, part in ((REQUEST, cut.first), (REQUEST_REST, cut.then)):
                if len(part):
                    yield from array_rows(source, block.index, kind, str(edge_type), part)
    told = {
        type: {**own, "payload_rows_pulled": pulled[type], "payload_rows_pushed": pushed[type]}
        for type, own in counts.items()
    }
    yield from static_with_facts(dataclasses.replace(block, tiles=here), told, plan.given)


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
    keys, layouts = _keys_by_type(own), plan.edges
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
        yield finding_row(index, _dangling(layouts[edge_type], 0, np.concatenate(parts)))
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


# ---- what is wrong


def findings_of(rows: Iterable[Row]) -> list[Finding]:
    return merge(Finding.from_bytes(row.data.tobytes()) for row in rows if row.kind == FINDING)


def find_names(findings: list[Finding], plan: Preparation, look_up: LookUp) -> list[Finding]:
    """Findings about edges whose ends are text, with the texts instead of their keys."""
    named: list[Finding] = []
    for layout in dict.fromkeys(plan.edges.values()):
        texts = {name for name, text in zip(layout.keys, layout.texts, strict=True) if text}
        mine = [each for each in findings if each.table == layout.table and each.column in texts]
        findings = [each for each in findings if each not in mine]
        named += name_texts(mine, partial(look_up, layout))
    return [*findings, *named]


def texts_of(texts: pa.Array, keys: Sequence[int], layout: Layout) -> dict[int, str]:
    """Some of the texts by their keys."""
    texts = texts.drop_null()
    bad = not_text(texts)
    texts = texts if bad is None else texts.filter(pc.invert(bad))
    found = np.isin(layout.text_hash(texts, layout.seed), keys)
    named = texts.filter(pa.array(found)).unique()
    return dict(zip(layout.text_hash(named, layout.seed).tolist(), named.to_pylist(), strict=True))


def _dangling(layout: Layout, side: int, keys: LongArray) -> Finding:
    """Edge ends that are no nodes. The examples are keys: of texts the driver looks up what they stand for."""
    keys = tiles.distinct(np.sort(keys))
    return Finding(layout.table, layout.keys[side], "dangling", len(keys), tuple(keys[:EXAMPLES].tolist()))


# ---- all of it in one process, without Spark


def blocks_from_tables(
    nodes: pa.Table | Mapping[str, pa.Table],
    edges: pa.Table | Mapping[EdgeType, pa.Table],
    blocks: int = 1,
    features: Any = "x",
    edge_features: Any = (),
    undirected: bool = False,
    id: str = "id",
    src: str = "src",
    dst: str = "dst",
    drop_dangling: bool = False,
    text_hash: TextHash = text_keys,
    reverse: bool = False,
) -> list[Block]:
    """The blocks of a graph that fits in memory: the same functions, the same bits, as through Spark. Of several types
    nodes and edges are by type, and so may the columns be."""
    tables: dict[str, pa.Table] = {}
    found: dict[str | EdgeType, tuple[Layout, Mapping[str, str]]] = {}
    for each in given_tables(nodes, edges, features, edge_features, id, src, dst):
        tables[each.name] = each.given
        types = arrow_types(each.given.schema)
        if isinstance(each.type, EdgeType):
            src, dst = each.ids
            made = edge_layout(types, src, dst, each.values, undirected, reverse=reverse, type=each.type)
            for end, type in enumerate((each.type.source, each.type.target)):
                check_id_types(found[type][0], made, found[type][1], types, end=end)
        else:
            there = not each.optional or set(columns_of(each.values)) <= set(types)
            (id,) = each.ids
            made = node_layout(types, id, each.values if there else None, type=each.type)
        found[each.type] = made, types
    for seed in SEEDS:
        hashed = (dataclasses.replace(layout, seed=seed, text_hash=text_hash) for layout, _ in found.values())
        plan = Preparation(tuple(hashed), blocks, drop_dangling)
        rows: list[Row] = []
        for layout in plan.layouts:
            rows += pack(_batches(tables[layout.table], layout), layout, blocks)
        for step in steps(plan):
            arrived = _by_target(rows, blocks)
            rows = [row for index in range(blocks) for row in step(index, arrived.pop(index), plan)]
        findings = findings_of(rows)
        if not any(finding.what == "collision" for finding in findings):
            break

    def look_up(layout: Layout, column: str, keys: list[int]) -> dict[int, str]:
        return texts_of(tables[layout.table][column].combine_chunks(), keys, layout)

    refuse(find_names(findings, plan, look_up))
    return [block_from_rows(index, kept) for index, kept in _by_target(rows, blocks).items()]


def _by_target(rows: Iterable[Row], blocks: int) -> dict[int, list[Row]]:
    targets: dict[int, list[Row]] = {index: [] for index in range(blocks)}
    for row in rows:
        targets[row.target].append(row)
    return targets


def _batches(table: pa.Table, layout: Layout) -> list[pa.RecordBatch]:
    columns = [table[name] for name in layout.columns]
    names = list(map(str, range(len(columns))))
    batches: list[pa.RecordBatch] = pa.Table.from_arrays(columns, names).to_batches(max_chunksize=FLUSH_ROWS)
    return batches


def schema_of(blocks: Sequence[Block]) -> GraphSchema:
    """Columns and widths of a graph. Of edge values nothing is known if there is no edge."""
    edges: dict[EdgeType, dict[str, int]] = {}
    for block in blocks:
        for edge_type, here in block.tiles.items():
            for tile in here.values():
                edges.setdefault(edge_type, {}).update({name: v.shape[1] for name, v in tile.values.items()})
    nodes = {
        type: {name: matrix.shape[1] for name, matrix in columns.items()}
        for type, columns in blocks[0].features.items()
    }
    if list(nodes) == [NODE]:
        edges = {EDGE: {}} | edges
    return GraphSchema(nodes, edges)
