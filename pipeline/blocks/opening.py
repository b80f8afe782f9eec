"""Blocks of a prepared graph, opened for a run, and known to be those that were prepared.

Comes in: rows, from files or from a shuffle, and what the manifest tells of the block. Goes out: a Block, or a
StorageError that names what is damaged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.blocks import storage
from pipeline.blocks.block import Block
from pipeline.blocks.content import Sums, check_sums
from pipeline.blocks.manifest import id_types_of
from pipeline.blocks.rows import EDGE_KINDS, FEATURES, KINDS, Row, block_from_rows
from pipeline.blocks.sound import check_block, check_columns, check_rows
from pipeline.errors import StorageError, shortened
from pipeline.schema import GraphSchema


@dataclass(frozen=True)
class Known:
    """What the manifest tells of the blocks of a graph; it travels to the tasks of a run."""

    where: str
    """The graph's path, for messages."""
    nodes: Mapping[str, tuple[int, ...]]
    """Node type → of each block."""
    text: Mapping[str, bool]
    """Node type → whether ids are text."""
    sums: tuple[Sums, ...]
    """Of each block, see content.py."""
    schema: GraphSchema
    """The columns of nodes and edges, and their widths."""

    @staticmethod
    def of(path: str, manifest: Mapping[str, Any]) -> Known:
        integers = ("tinyint", "smallint", "int", "bigint")
        text = {type: word not in integers for type, word in id_types_of(manifest).items()}
        nodes = {type: tuple(counts["nodes"]) for type, counts in manifest["node_types"].items()}
        return Known(path, nodes, text, tuple(manifest["sums"]), GraphSchema.from_json(manifest["schema"]))


def open_block(
    known: Known, folder: str, index: int, kinds: Collection[str] = KINDS, edges: Collection[str] | None = None
) -> Block:
    """A block in files, or of it what the kinds and the types of edges say; as storage.read_block."""
    return checked_block(known, index, storage.read_rows(folder, index, kinds, edges), kinds, edges)


def checked_block(
    known: Known, index: int, rows: Iterable[Row], kinds: Collection[str], edges: Collection[str] | None = None
) -> Block:
    """The block that is made of these rows; others than those of the kinds are passed over."""
    chosen = [row for row in rows if row.kind in kinds and _is_of(row, edges)]
    check_sums(known.where, index, chosen, kinds, edges, known.sums[index])
    try:
        check_rows(chosen, known.text)
        block = block_from_rows(index, chosen)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise StorageError(f"{known.where}: block {index} is not well formed: {shortened(error, 200)}") from None
    check_block(known.where, block, known.nodes, known.text)
    check_columns(known.where, block, known.schema, FEATURES in kinds)
    return block


def _is_of(row: Row, edges: Collection[str] | None) -> bool:
    return edges is None or row.kind not in EDGE_KINDS or row.name.partition("/")[0] in edges
