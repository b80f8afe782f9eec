"""All of prepare for a graph that fits in memory: the same steps, one after the other, without files and threads.

Comes in: Arrow tables. Goes out: blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.blocks.block import Block
from pipeline.blocks.rows import Row, block_from_rows
from pipeline.preparing.checks import refuse
from pipeline.preparing.findings import find_names, findings_of, texts_of
from pipeline.preparing.pack import FLUSH_ROWS, pack
from pipeline.preparing.preparation import SEEDS, Preparation
from pipeline.preparing.steps import steps
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
            rows += pack(_batches(tables[layout.table], layout), layout, plan)
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
