"""The block side of prepare: packed rows of one block become its nodes, tiles and send lists.

Comes in: rows of one block. Goes out: rows for the same and for other blocks; what one step gives, the next one takes.
Knows nothing of Spark: prepare.py moves the rows through shuffles, `blocks_from_tables` through memory.

    build    packed nodes and edges of block t → nodes, tiles, and for each source block the src keys that t needs
    answer   those keys, in block s            → send lists: local indices, in the order of the keys
    amend    keys that s does not have, in t   → tiles without these edges (only if dangling edges are to be dropped)
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import tiles
from pipeline.blocks import LOOPS, Block, IntArray, LongArray, Tile
from pipeline.checks import EXAMPLES, Finding, merge, refuse, spell
from pipeline.formula.spaces import Edges, Nodes
from pipeline.kernels.hash import positions
from pipeline.layout import Columned, Layout, TextHash, arrow_types, check_id_types, edge_layout, node_layout, text_keys
from pipeline.pack import FINDING, FLUSH_ROWS, PACKED, Packed, finding_row, pack, unpack
from pipeline.ranges import Range, merge_ranges, ranges_of
from pipeline.records import edges_of, nodes_of, split_values
from pipeline.rows import KINDS, Row, array_rows, block_from_rows, digest, edge_type_of, join, send_rows, static_rows
from pipeline.schema import EDGE, NODE, EdgeType, GraphSchema

# kinds of rows between the steps; arrays of a block have the kinds of rows.py
KEYS = "keys"  # (n,) int64 keys of the nodes of block TARGET, ascending
REQUEST = "request"  # (k,) int64 keys of nodes of block TARGET that block SOURCE needs, ascending
MISSING = "missing"  # (m,) int64 positions in the request of block TARGET to block SOURCE that are no nodes
FACTS = "facts"  # JSON: counts and a digest of what block TARGET has, for the manifest


# Two texts with the same hash (0.7 % likely among 5e8 nodes) get other hashes with another seed.
SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Plan:
    """What every task of prepare knows."""

    nodes: Layout
    edges: Layout
    blocks: int
    drop_dangling: bool = False


Step = Callable[[int, Iterable[Row], Plan], Iterator[Row]]


def steps(plan: Plan) -> list[Step]:
    """What each block does in turn; between two steps, rows go to their targets."""
    return [build, answer, amend] if plan.drop_dangling else [build, answer]


# ---- the steps


def build(index: int, rows: Iterable[Row], plan: Plan) -> Iterator[Row]:
    """From rows of kind PACKED, in any order: the block's static rows, KEYS, DROPPED; REQUESTs to others; FINDINGs."""
    packed: dict[str, list[Packed]] = defaultdict(list)
    for row in rows:
        if row.kind == PACKED:
            packed[row.name].append(unpack(row, plan.nodes if row.name == plan.nodes.type else plan.edges))
        elif row.kind == FINDING:
            yield row
    findings: list[Finding] = []
    keys, block = nodes_of(index, packed.pop(plan.nodes.type, []), plan.nodes, findings)
    edges = [_edges(index, keys, kind, packed.pop(str(kind), []), plan, findings) for kind in plan.edges.edge_types]
    block = dataclasses.replace(
        block, tiles={part.type: part.tiles for part in edges}, sends={part.type: part.sends for part in edges}
    )
    yield from _static(block, edges[0].dropped)
    yield from array_rows(index, index, KEYS, plan.nodes.type, keys)
    for part in edges:
        for source, wanted in sorted(part.requests.items()):
            yield from array_rows(source, index, REQUEST, str(part.type), wanted)
    yield from (finding_row(index, finding) for finding in findings)


@dataclass(frozen=True)
class _EdgesHere:
    """The edges of one type into a block."""

    type: EdgeType
    tiles: dict[int, Tile]
    sends: dict[int, IntArray]
    requests: dict[int, LongArray]
    dropped: int


def _edges(
    index: int, keys: LongArray, edge_type: EdgeType, packed: list[Packed], plan: Plan, findings: list[Finding]
) -> _EdgesHere:
    """Tiles of one type of edges, and what they ask of other blocks. Of what is wrong with edges, those in their own
    direction tell."""
    widths, edges = edges_of(index, packed, plan.edges)
    dst = positions(edges.dst, keys)
    known = dst >= 0
    dropped = len(dst) - int(np.count_nonzero(known))
    here: dict[int, Tile] = {}
    requests: dict[int, LongArray] = {}
    sends = {}
    for source, tile, wanted in tiles.make_tiles(dst[known], edges.where(known), len(keys), plan.blocks):
        here[source] = dataclasses.replace(tile, values=split_values(tile.values[""], plan.edges, widths))
        if source == LOOPS:
            sends[LOOPS] = tile.rows
        else:
            requests[source] = wanted.astype(np.int64, copy=False)
    if dropped and not plan.drop_dangling and not edge_type.is_reversed:
        findings.append(_dangling(plan, 1, edges.dst[~known]))
        # prepare is going to fail: the other ends are asked for all the same, so that it tells all there is to tell
        for source, wanted in tiles.by_block(edges.src[~known], plan.blocks):
            requests[source] = np.union1d(requests.get(source, wanted), wanted)
    return _EdgesHere(edge_type, here, sends, requests, dropped)


def answer(index: int, rows: Iterable[Row], plan: Plan) -> Iterator[Row]:
    """From KEYS and REQUESTs to this block: its send lists, MISSING or FINDINGs. The rest passes."""
    chunks: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind in (KEYS, REQUEST):
            chunks[row.name, row.source].append(row)
        else:
            yield row
    keys = join(chunks.pop((plan.nodes.type, index)))
    sends: dict[EdgeType, dict[int, IntArray]] = {edge_type: {} for edge_type in plan.edges.edge_types}
    unknown: list[LongArray] = []
    for (name, asker), parts in sorted(chunks.items()):
        wanted, edge_type = join(parts), EdgeType.parse(name)
        found, missing = tiles.answer(keys, wanted)
        if len(found):
            sends[edge_type][asker] = found
        if len(missing) and plan.drop_dangling:
            yield from array_rows(asker, index, MISSING, name, missing)
        elif len(missing) and not edge_type.is_reversed:
            unknown.append(wanted[missing])
    if unknown:
        yield finding_row(index, _dangling(plan, 0, np.concatenate(unknown)))
    yield from _sent(Block(index, {}, {}, {}, sends))


def amend(index: int, rows: Iterable[Row], plan: Plan) -> Iterator[Row]:
    """From all rows of the block and MISSING: the block without the edges from what is missing."""
    own: list[Row] = []
    missing: dict[tuple[EdgeType, int], list[Row]] = defaultdict(list)
    dropped = 0
    for row in rows:
        if row.kind in KINDS:
            own.append(row)
        elif row.kind == MISSING:
            missing[EdgeType.parse(row.name), row.source].append(row)
        elif row.kind == FACTS:
            dropped += json.loads(row.data.tobytes()).get("dropped", 0)
        else:
            yield row
    block = block_from_rows(index, own)
    kept: dict[EdgeType, dict[int, Tile]] = {edge_type: {} for edge_type in plan.edges.edge_types}
    for edge_type, here in kept.items():
        for source, tile in block.tiles.get(edge_type, {}).items():
            gone = missing.get((edge_type, source))
            amended = tiles.without_columns(tile, join(gone)) if gone else tile
            if not edge_type.is_reversed:
                dropped += tile.edges - (amended.edges if amended else 0)
            if amended:
                here[source] = amended
    block = dataclasses.replace(block, tiles=kept)
    yield from _static(block, dropped)
    yield from _sent(block)


# ---- what is kept of a block, and what the manifest says of it


def _static(block: Block, dropped: int) -> Iterator[Row]:
    here = block.tiles[EDGE]
    degrees = np.zeros(block.nodes(NODE), np.int64)
    for tile in here.values():
        degrees[tile.rows] += np.diff(tile.offsets)
    rows = list(static_rows(block))
    yield from rows
    yield _facts(
        block.index,
        rows,
        "static",
        nodes=block.nodes(NODE),
        edges=sum(tile.edges for tile in here.values()),
        self_loops=here[LOOPS].edges if LOOPS in here else 0,
        payload_rows_loops=here[LOOPS].senders if LOOPS in here else 0,
        max_in_degree=int(degrees.max(initial=0)),
        payload_rows_in=sum(tile.senders for source, tile in here.items() if source != LOOPS),
        payload_rows_own=here[block.index].senders if block.index in here else 0,
        widths={name: matrix.shape[1] for name, matrix in block.features[NODE].items()},
        edge_widths={name: matrix.shape[1] for tile in here.values() for name, matrix in tile.values.items()},
        ranges=_ranges(block),
        payload_rows_in_reversed=sum(
            tile.senders for source, tile in block.tiles.get(EDGE.reversed, {}).items() if source != LOOPS
        ),
        static_bytes_reversed=sum(len(row.data) for row in rows if _is_reversed(row)),
        dropped=dropped,
    )


def _ranges(block: Block) -> dict[str, list[Range]]:
    nodes = {f"{Nodes(type)}.{name}": m for type, columns in block.features.items() for name, m in columns.items()}
    edges = [
        ranges_of({f"{Edges(type)}.{name}": m for name, m in tile.values.items()})
        for type, here in block.tiles.items()
        if not type.is_reversed  # the same edges
        for tile in here.values()
    ]
    return merge_ranges([ranges_of(nodes), *edges])


def _sent(block: Block) -> Iterator[Row]:
    rows = list(send_rows(block))
    yield from rows
    sends = block.sends.get(EDGE, {})
    yield _facts(
        block.index,
        rows,
        "sends",
        payload_rows_out=sum(len(to) for other, to in sends.items() if other != LOOPS),
        sends_bytes_reversed=sum(len(row.data) for row in rows if _is_reversed(row)),
    )


def _is_reversed(row: Row) -> bool:
    name = edge_type_of(row.kind, row.name)
    return bool(name) and EdgeType.parse(name).is_reversed


def _facts(index: int, rows: Sequence[Row], file: str, **facts: Any) -> Row:
    facts |= {f"{file}_bytes": sum(len(row.data) for row in rows), f"{file}_digest": digest(rows)}
    data = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    return Row(index, index, FACTS, file, "|u1", 0, 0, data)


# ---- what is wrong


def findings_of(rows: Iterable[Row]) -> list[Finding]:
    return merge(Finding.from_bytes(row.data.tobytes()) for row in rows if row.kind == FINDING)


def texts_of(texts: pa.Array, keys: Sequence[int], layout: Layout) -> dict[int, str]:
    """Some of the texts by their keys."""
    texts = texts.drop_null()
    found = np.isin(layout.text_hash(texts, layout.seed), keys)
    named = texts.filter(pa.array(found)).unique()
    return dict(zip(layout.text_hash(named, layout.seed).tolist(), named.to_pylist(), strict=True))


def _dangling(plan: Plan, side: int, keys: LongArray) -> Finding:
    """Edge ends that are no nodes. The examples are keys: of texts the driver looks up what they stand for."""
    keys = tiles.distinct(np.sort(keys))
    return Finding(plan.edges.table, plan.edges.keys[side], "dangling", len(keys), tuple(keys[:EXAMPLES].tolist()))


# ---- all of it in one process, without Spark


def blocks_from_tables(
    nodes: pa.Table,
    edges: pa.Table,
    blocks: int = 1,
    features: Columned = "x",
    edge_features: Columned = (),
    undirected: bool = False,
    id: str = "id",
    src: str = "src",
    dst: str = "dst",
    drop_dangling: bool = False,
    text_hash: TextHash = text_keys,
    reverse: bool = False,
) -> list[Block]:
    """The blocks of a graph that fits in memory: the same functions, the same bits, as through Spark."""
    node_types, edge_types = arrow_types(nodes.schema), arrow_types(edges.schema)
    node = node_layout(node_types, id, features)
    edge = edge_layout(edge_types, src, dst, edge_features, undirected, reverse=reverse)
    check_id_types(node, edge, node_types, edge_types)
    for seed in SEEDS:
        hashed = [dataclasses.replace(layout, seed=seed, text_hash=text_hash) for layout in (node, edge)]
        plan = Plan(hashed[0], hashed[1], blocks, drop_dangling)
        rows = [*pack(_batches(nodes, plan.nodes), plan.nodes, blocks)]
        rows += pack(_batches(edges, plan.edges), plan.edges, blocks)
        for step in steps(plan):
            targets: dict[int, list[Row]] = {index: [] for index in range(blocks)}
            for row in rows:
                targets[row.target].append(row)
            rows = [row for index in range(blocks) for row in step(index, targets.pop(index), plan)]
        findings = findings_of(rows)
        if not any(finding.what == "collision" for finding in findings):
            break
    if plan.edges.text:
        findings = spell(findings, lambda column, keys: texts_of(edges[column].combine_chunks(), keys, plan.edges))
    refuse(findings)
    return [block_from_rows(index, rows) for index in range(blocks)]


def _batches(table: pa.Table, layout: Layout) -> list[pa.RecordBatch]:
    columns = [table[name] for name in layout.columns]
    names = list(map(str, range(len(columns))))
    batches: list[pa.RecordBatch] = pa.Table.from_arrays(columns, names).to_batches(max_chunksize=FLUSH_ROWS)
    return batches


def schema_of(blocks: Sequence[Block]) -> GraphSchema:
    """Columns and widths of a graph. Of edge values nothing is known if there is no edge."""
    edges: dict[EdgeType, dict[str, int]] = {EDGE: {}}
    for block in blocks:
        for edge_type, here in block.tiles.items():
            for tile in here.values():
                edges.setdefault(edge_type, {}).update({name: v.shape[1] for name, v in tile.values.items()})
    return GraphSchema({NODE: {name: m.shape[1] for name, m in blocks[0].features[NODE].items()}}, edges)
